/* The pages of leakwatch work without this; with it, tables sort by a button in each
   header, the chart tells values and is zoomed by the server, and a restart shows its stages live. */
(function () {
    "use strict";

    function valueOf(row, index) {
        var cell = row.cells[index];
        var raw = cell.getAttribute("data-value");
        if (raw !== null) {
            var number = Number(raw);
            return isNaN(number) ? raw : number;
        }
        return cell.textContent.trim().toLowerCase();
    }

    /* Unknown values, shown as n/a, carry no number: they stay at the end in both directions. */
    function compare(a, b, direction) {
        if (typeof a !== typeof b) {
            return typeof a === "number" ? -1 : 1;
        }
        return a < b ? -direction : a > b ? direction : 0;
    }

    function sortBy(table, index, header) {
        var ascending = header.getAttribute("aria-sort") === "descending";
        var body = table.tBodies[0];
        var rows = Array.prototype.slice.call(body.rows);
        rows.sort(function (one, other) {
            return compare(valueOf(one, index), valueOf(other, index), ascending ? 1 : -1);
        });
        Array.prototype.forEach.call(table.tHead.rows[0].cells, function (cell) {
            cell.removeAttribute("aria-sort");
        });
        header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        rows.forEach(function (row) {
            body.appendChild(row);
        });
    }

    function makeSortable(table) {
        Array.prototype.forEach.call(table.tHead.rows[0].cells, function (header, index) {
            if (header.querySelector("button")) {
                return;
            }
            var button = document.createElement("button");
            button.type = "button";
            button.className = "lw-sort";
            button.textContent = header.textContent;
            header.textContent = "";
            header.appendChild(button);
            button.addEventListener("click", function () {
                sortBy(table, index, header);
            });
        });
    }

    /* Panels: one is asked of the server alone, and takes the place of what the page has. */

    function without(address, name) {
        return address.replace(new RegExp("([?&])" + name + "=[^&#]*&?"), "$1").replace(/[?&](#|$)/, "$1");
    }

    function panelAddress(address, name) {
        var plain = without(without(address.split("#")[0], "panel"), "__message");
        var separator = plain.indexOf("?") < 0 ? "?" : "&";
        return plain + separator + "panel=" + name + "&__notemplate=1";
    }

    function say(section, text) {
        var told = section.querySelector(".lw-told");
        if (!told) {
            told = document.createElement("p");
            told.className = "lw-told lw-alarm";
            told.setAttribute("role", "alert");
            section.appendChild(told);
        }
        told.textContent = text;
    }

    function words(section, name) {
        var page = section.closest(".lw-page");
        return page ? page.getAttribute("data-" + name) : "";
    }

    function refresh(name, address, done) {
        var section = document.getElementById("lw-" + name);
        var request = new XMLHttpRequest();
        if (!section) {
            return;
        }
        section.setAttribute("aria-busy", "true");
        section.setAttribute("data-busy", words(section, "loading"));
        request.open("GET", panelAddress(address, name));
        request.timeout = 30000;
        request.onloadend = function () {
            var page = request.status === 200 && new DOMParser().parseFromString(request.responseText, "text/html");
            var fresh = page && page.getElementById("lw-" + name);
            section.removeAttribute("aria-busy");
            if (!fresh) {
                say(section, words(section, "failed"));
                done(null);
                return;
            }
            section.parentNode.replaceChild(fresh, section);
            prepare(fresh);
            done(fresh);
        };
        request.send();
    }

    function focusIn(section, selector) {
        var target = section && section.querySelector(selector);
        if (target) {
            target.focus();
        }
    }

    function show(name, address, selector) {
        refresh(name, address, function (fresh) {
            if (fresh) {
                window.history.pushState({ leakwatch: name }, "", without(address, "panel"));
                focusIn(fresh, selector);
            }
        });
    }

    window.addEventListener("popstate", function () {
        refresh("chart", window.location.href, function () {});
    });

    /* Links and forms that name a panel change that panel alone. */

    function changePanel(element) {
        var name = element.getAttribute("data-panel");
        if (element.tagName === "FORM") {
            element.addEventListener("submit", function (event) {
                event.preventDefault();
                show(name, element.action.split("#")[0] + "?" + new URLSearchParams(new FormData(element)).toString(),
                    "select");
            });
        } else {
            element.addEventListener("click", function (event) {
                if (event.ctrlKey || event.metaKey || event.shiftKey) {
                    return;
                }
                event.preventDefault();
                refreshLink(name, element.href, element.textContent);
            });
        }
    }

    /* The focus goes to the link of the same words in the fresh panel: the old one is gone. */
    function refreshLink(name, address, label) {
        refresh(name, address, function (fresh) {
            if (!fresh) {
                return;
            }
            window.history.pushState({ leakwatch: name }, "", address);
            Array.prototype.forEach.call(fresh.querySelectorAll("a[data-panel]"), function (link) {
                if (link.textContent === label) {
                    link.focus();
                }
            });
        });
    }

    /* The chart: a line under the pointer or moved by arrow keys; a stretch that is dragged over is zoomed into. */

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

    function Chart(section, svg) {
        this.section = section;
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
        return local.slice(0, 10) + " " + local.slice(11, 19) + " " + this.values.getAttribute("data-zone");
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
                told.push(mark.getAttribute("data-label"));
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
        var address = without(without(without(window.location.href.split("#")[0], "span"), "from"), "to");
        var separator = address.indexOf("?") < 0 ? "?" : "&";
        show("chart", address + separator + "from=" + Math.min(one, other).toFixed(0) +
            "&to=" + Math.ceil(Math.max(one, other)).toFixed(0), ".lw-plot");
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

    Chart.prototype.listen = function () {
        var chart = this, svg = this.svg;
        svg.addEventListener("pointermove", function (event) {
            chart.point(chart.timeAt(event));
            if (chart.dragged !== undefined) {
                chart.select(chart.dragged, chart.at);
            }
        });
        svg.addEventListener("pointerleave", function () {
            if (chart.dragged === undefined) {
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

    /* Restarts under way are asked for again until they are over. */

    var POLL_MS = 1000;

    function follow(section) {
        if (section.querySelector("[data-poll]")) {
            window.setTimeout(function () {
                refresh("restarts", window.location.href, function (fresh) {
                    if (!fresh) {
                        follow(document.getElementById("lw-restarts"));
                    } else if (!fresh.querySelector("[data-poll]")) {
                        refresh("verdict", window.location.href, function () {});
                        refresh("processes", window.location.href, function () {});
                    }
                });
            }, POLL_MS);
        }
    }

    /* Text for a ticket: where the browser forbids the clipboard, the text is marked for Ctrl-C. */

    function copyFrom(button) {
        button.addEventListener("click", function () {
            var text = button.parentNode.querySelector("pre");
            var range = document.createRange();
            range.selectNodeContents(text);
            window.getSelection().removeAllRanges();
            window.getSelection().addRange(range);
            if (document.execCommand("copy")) {
                button.textContent = button.getAttribute("data-done");
            }
        });
    }

    function each(root, selector, act) {
        Array.prototype.forEach.call(root.querySelectorAll(selector), act);
    }

    function prepare(root) {
        each(root, "table.lw-table", makeSortable);
        each(root, "[data-panel]", changePanel);
        each(root, "button.lw-copy", copyFrom);
        each(root, "svg.lw-chart", function (svg) {
            new Chart(svg.closest("section"), svg);
        });
        if (root.id === "lw-restarts") {
            follow(root);
        } else {
            each(root, "#lw-restarts", follow);
        }
    }

    /* What CubicWeb's frame of the page leaves without a name for those who do not see it. */

    function nameTheFrame(page) {
        var names = { "a#logo": "home", "input.rqlsubmit": "search", "input.norql": "search", "input[name=rql]": "search" };
        Object.keys(names).forEach(function (selector) {
            each(document, selector, function (element) {
                if (!element.hasAttribute("aria-label")) {
                    element.setAttribute("aria-label", page.getAttribute("data-" + names[selector]));
                }
            });
        });
    }

    function start() {
        each(document, ".lw-page", nameTheFrame);
        document.documentElement.classList.add("lw-script");
        prepare(document);
    }

    if (document.readyState === "loading") {
        document.addEventListener("DOMContentLoaded", start);
    } else {
        start();
    }
}());
