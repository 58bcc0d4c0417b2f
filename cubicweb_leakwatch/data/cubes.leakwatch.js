/* The pages of leakwatch work without this; with it, tables sort by a button in each header, panels change by themselves,
   and a restart shows its stages live. The chart is in cubes.leakwatch.chart.js, and how
   long a look is at work already in cubes.leakwatch.progress.js. */
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

    var TIMEOUT_MS = 30000;

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

    var REACHED = "a, button, input, select, summary, [tabindex]";

    /* Who reads or has the keyboard in a panel stays where they were when a fresh one takes its place. */
    function takePlace(section, fresh) {
        var reached = Array.prototype.slice.call(section.querySelectorAll(REACHED));
        var place = reached.indexOf(document.activeElement);
        var unfolded = Array.prototype.map.call(section.querySelectorAll("details"), function (part) {
            return part.open;
        });
        section.parentNode.replaceChild(fresh, section);
        prepare(fresh);
        Array.prototype.forEach.call(fresh.querySelectorAll("details"), function (part, index) {
            part.open = part.open || unfolded[index] === true;
        });
        var target = place < 0 ? null : fresh.querySelectorAll(REACHED)[place];
        if (target) {
            target.focus({ preventScroll: true });
        }
    }

    function ask(name, address, done) {
        var request = new XMLHttpRequest();
        request.open("GET", panelAddress(address, name));
        request.timeout = TIMEOUT_MS;
        request.onloadend = function () {
            var page = request.status === 200 && new DOMParser().parseFromString(request.responseText, "text/html");
            done((page && page.getElementById("lw-" + name)) || null);
        };
        request.send();
    }

    function refresh(name, address, done) {
        var section = document.getElementById("lw-" + name);
        if (!section) {
            return;
        }
        section.setAttribute("aria-busy", "true");
        section.setAttribute("data-busy", words(section, "loading"));
        ask(name, address, function (fresh) {
            section = document.getElementById("lw-" + name);  // another answer may have come first
            section.removeAttribute("aria-busy");
            if (fresh) {
                takePlace(section, fresh);
            } else {
                say(section, words(section, "failed"));
            }
            done(fresh);
        });
    }

    function focusIn(section, selector) {
        var target = section && section.querySelector(selector);
        if (target) {
            target.focus();
        }
    }

    function wentTo(name, address) {
        window.history.pushState({ leakwatch: name }, "", address);
        if (name === "chart") {
            refreshEach(OF_THE_TIME, address);
        }
    }

    function show(name, address, selector) {
        refresh(name, address, function (fresh) {
            if (fresh) {
                wentTo(name, without(address, "panel"));
                focusIn(fresh, selector);
            }
        });
    }

    /* The panels beneath the chart show the same time as it. */

    var OF_THE_TIME = ["growth", "restarts", "snapshots"];

    function refreshEach(names, address) {
        if (names.length) {
            refresh(names[0], address, function () {
                refreshEach(names.slice(1), address);
            });
        }
    }

    function zoomTo(from, to) {
        var address = ["span", "from", "to", "a", "b"].reduce(without, window.location.href.split("#")[0]);
        var separator = address.indexOf("?") < 0 ? "?" : "&";
        show("chart", address + separator + "from=" + from + "&to=" + to, ".lw-plot");
    }

    window.addEventListener("popstate", function () {
        refreshEach(["chart"].concat(OF_THE_TIME), window.location.href);
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
            wentTo(name, address);
            Array.prototype.forEach.call(fresh.querySelectorAll("a[data-panel]"), function (link) {
                if (link.textContent === label) {
                    link.focus();
                }
            });
        });
    }

    /* A restart under way is asked for again until the server says how it ended. An answer that fails is no end, nor is
       one in which the restart is missing: the launcher may have been busy, or the worker that was asked have left. */

    var POLL_MS = 1000, SLOWEST_MS = 10000, MISSING = 5, UNANSWERED = 60;
    var following;

    function follow(missed) {
        window.clearTimeout(following);  // whoever put the panel there: it is asked for by one alone
        following = window.setTimeout(function () {
            ask("restarts", window.location.href, function (fresh) {
                var section = document.getElementById("lw-restarts");
                if (section) {
                    followed(section, fresh, missed);
                }
            });
        }, Math.min(SLOWEST_MS, POLL_MS * (1 + missed)));
    }

    function followed(section, fresh, missed) {
        var told = fresh && (fresh.querySelector(".lw-moving") || missed >= MISSING);
        if (!told && missed >= UNANSWERED) {
            say(section, words(section, "failed"));
        } else if (!told) {
            follow(missed + 1);
        } else {
            takePlace(section, fresh);
            if (!fresh.querySelector("[data-poll]")) {
                refresh("verdict", window.location.href, function () {});
                refresh("processes", window.location.href, function () {});
            }
        }
    }

    function followIn(section) {
        if (section.querySelector("[data-poll]")) {
            follow(0);
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
        each(root, "form.lw-action", window.LeakwatchProgress.ofForm);
        each(root, ".lw-looks a", window.LeakwatchProgress.ofLink);
        each(root, "svg.lw-chart", function (svg) {
            new window.LeakwatchChart(svg.closest("section"), svg, zoomTo);
        });
        if (root.id === "lw-restarts") {
            followIn(root);
        } else {
            each(root, "#lw-restarts", followIn);
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
