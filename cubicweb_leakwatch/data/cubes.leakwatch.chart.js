/* The chart of the dashboard tells values under the pointer or the arrow keys, and is zoomed by the server: a stretch
   that was chosen is asked for anew. cubes.leakwatch.js makes one of each svg.lw-chart, and gives it its zoom. */
(function () {
    "use strict";

    function svgElement(name, css) {
        var made = document.createElementNS("http://www.w3.org/2000/svg", name);
        made.setAttribute("class", css);
        return made;
    }

    function seriesOf(svg) {
        return Array.prototype.map.call(svg.querySelectorAll(".lw-series"), function (group) {
            return {
                name: group.getAttribute("data-name"),
                points: group.getAttribute("data-points").split(" ").filter(Boolean).map(function (pair) {
                    return pair.split(":").map(Number);
                })
            };
        });
    }

    function nearest(points, t) {
        var low = 0, high = points.length - 1;
        while (high - low > 1) {
            var middle = (low + high) >> 1;
            if (points[middle][0] < t) {
                low = middle;
            } else {
                high = middle;
            }
        }
        return Math.abs(points[low][0] - t) <= Math.abs(points[high][0] - t) ? low : high;
    }

    function Chart(section, svg, zoomTo) {
        this.section = section;
        this.zoomTo = zoomTo;
        this.svg = svg;
        this.values = section.querySelector(".lw-values");
        this.series = seriesOf(svg);
        this.from = Number(svg.getAttribute("data-from"));
        this.to = Number(svg.getAttribute("data-to"));
        this.left = Number(svg.getAttribute("data-left"));
        this.right = Number(svg.getAttribute("data-right"));
        this.times = this.allTimes();
        this.cross = svgElement("line", "lw-cross");
        this.chosen = svgElement("rect", "lw-chosen");
        [this.chosen, this.cross].forEach(function (made) {
            made.setAttribute("visibility", "hidden");
            svg.appendChild(made);
        });
        this.cross.setAttribute("y1", svg.getAttribute("data-top"));
        this.cross.setAttribute("y2", svg.getAttribute("data-bottom"));
        this.chosen.setAttribute("y", svg.getAttribute("data-top"));
        this.chosen.setAttribute("height", svg.getAttribute("data-bottom") - svg.getAttribute("data-top"));
        this.listen();
    }

    Chart.prototype.allTimes = function () {
        var found = {};
        this.series.forEach(function (line) {
            line.points.forEach(function (point) {
                found[point[0]] = true;
            });
        });
        return Object.keys(found).map(Number).sort(function (a, b) {
            return a - b;
        });
    };

    Chart.prototype.pixelOf = function (t) {
        return this.left + (t - this.from) / (this.to - this.from) * (this.right - this.left);
    };

    Chart.prototype.timeAt = function (event) {
        var box = this.svg.getBoundingClientRect();
        var x = (event.clientX - box.left) / box.width * this.svg.viewBox.baseVal.width;
        var share = (x - this.left) / (this.right - this.left);
        return this.from + Math.min(1, Math.max(0, share)) * (this.to - this.from);
    };

    Chart.prototype.moment = function (t) {
        var offset = Number(this.values.getAttribute("data-offset"));
        var local = new Date((t + offset) * 1000).toISOString();
        var day = this.values.getAttribute("data-day").replace("%Y", local.slice(0, 4)).replace("%m", local.slice(5, 7));
        return day.replace("%d", local.slice(8, 10)) + " " + local.slice(11, 19) + " " +
            this.values.getAttribute("data-zone");
    };

    Chart.prototype.point = function (t) {
        var page = this.section.closest(".lw-page");
        var shown = new Intl.NumberFormat(page.lang || "en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
        var reach = (this.to - this.from) / 40, unit = this.values.getAttribute("data-unit"), told = [];
        this.at = t;
        this.cross.setAttribute("x1", this.pixelOf(t));
        this.cross.setAttribute("x2", this.pixelOf(t));
        this.cross.setAttribute("visibility", "visible");
        this.series.forEach(function (line) {
            var point = line.points[nearest(line.points, t)];
            if (point && Math.abs(point[0] - t) <= reach) {
                told.push(line.name + " " + shown.format(point[1] / 1048576) + " " + unit);
            }
        });
        Array.prototype.forEach.call(this.svg.querySelectorAll(".lw-event"), function (mark) {
            if (Math.abs(Number(mark.getAttribute("data-t")) - t) <= reach / 8) {
                told.push(mark.querySelector("title").textContent);
            }
        });
        this.values.textContent = this.moment(t) + " · " + told.join(" · ");
    };

    Chart.prototype.select = function (one, other) {
        var left = this.pixelOf(Math.min(one, other)), right = this.pixelOf(Math.max(one, other));
        this.chosen.setAttribute("x", left);
        this.chosen.setAttribute("width", Math.max(0, right - left));
        this.chosen.setAttribute("visibility", "visible");
    };

    Chart.prototype.leave = function () {
        this.anchor = undefined;
        this.chosen.setAttribute("visibility", "hidden");
        this.cross.setAttribute("visibility", "hidden");
        this.values.textContent = "";
    };

    Chart.prototype.zoom = function (one, other) {
        this.zoomTo(Math.min(one, other).toFixed(0), Math.ceil(Math.max(one, other)).toFixed(0));
    };

    Chart.prototype.step = function (by) {
        var points = this.times.map(function (t) { return [t]; });
        var index = this.at === undefined ? (by > 0 ? -1 : points.length) + by : nearest(points, this.at) + by;
        return this.times[Math.min(this.times.length - 1, Math.max(0, index))];
    };

    Chart.prototype.key = function (event) {
        var moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -1e9, End: 1e9 };
        var before = this.at;
        if (event.key in moves) {
            this.point(this.step(moves[event.key]));
            if (event.shiftKey) {
                this.anchor = this.anchor === undefined ? before : this.anchor;
                if (this.anchor !== undefined) {
                    this.select(this.anchor, this.at);
                }
            } else if (this.anchor !== undefined) {
                this.anchor = undefined;
                this.chosen.setAttribute("visibility", "hidden");
            }
        } else if (event.key === "Enter" && this.anchor !== undefined && this.anchor !== this.at) {
            this.zoom(this.anchor, this.at);
        } else if (event.key === "Escape") {
            if (this.anchor !== undefined) {
                this.leave();
            } else {
                this.zoom(1.5 * this.from - 0.5 * this.to, 1.5 * this.to - 0.5 * this.from);
            }
        } else {
            return;
        }
        event.preventDefault();
    };

    Chart.prototype.hasKeyboard = function () {
        return document.activeElement === this.section.querySelector(".lw-plot");
    };

    Chart.prototype.listen = function () {
        var chart = this, svg = this.svg;
        svg.addEventListener("pointermove", function (event) {
            chart.point(chart.timeAt(event));
            if (chart.dragged !== undefined) {
                chart.select(chart.dragged, chart.at);
            }
        });
        svg.addEventListener("pointerleave", function () {
            if (chart.dragged === undefined && !chart.hasKeyboard()) {
                chart.leave();
            }
        });
        svg.addEventListener("pointerdown", function (event) {
            if (event.button === 0) {
                chart.dragged = chart.timeAt(event);
                svg.setPointerCapture(event.pointerId);
                event.preventDefault();
            }
        });
        svg.addEventListener("pointerup", function (event) {
            var from = chart.dragged, to = chart.timeAt(event);
            chart.dragged = undefined;
            if (from !== undefined && Math.abs(chart.pixelOf(to) - chart.pixelOf(from)) > 5) {
                chart.zoom(from, to);
            } else {
                chart.chosen.setAttribute("visibility", "hidden");
            }
        });
        this.section.querySelector(".lw-plot").addEventListener("keydown", function (event) {
            chart.key(event);
        });
    };

    window.LeakwatchChart = Chart;
}());
