/* The pages of leakwatch work without this; with it, tables sort by a button in each header. */
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

    function start() {
        Array.prototype.forEach.call(document.querySelectorAll("table.lw-table"), makeSortable);
    }

    if (document.readyState === "loading") {
        document.addEventListener("DOMContentLoaded", start);
    } else {
        start();
    }
}());
