/* A look takes seconds, in which a browser shows nothing: tell how many, until the page changes, or the dump that was
   asked for arrives, which the server says by a cookie. */
(function () {
    "use strict";

    function work(near) {
        var told = document.createElement("span"), begun = Date.now();
        var sentence = near.closest(".lw-page").getAttribute("data-working");
        told.className = "lw-working";
        told.setAttribute("role", "status");
        near.appendChild(told);
        function tell() {
            var seconds = Math.round((Date.now() - begun) / 1000);
            told.textContent = sentence.replace("%s", seconds);
        }
        tell();
        return { told: told, timer: window.setInterval(tell, 1000) };
    }

    function rest(working) {
        window.clearInterval(working.timer);
        working.told.remove();
    }

    function workOnSubmit(form) {
        form.addEventListener("submit", function () {
            var button = form.querySelector("button.lw-do"), working = work(form);
            var sign = form.action.indexOf("leakwatch-dump") < 0 ? "" : Math.random().toString(36).slice(2);
            if (sign) {
                form.querySelector("input[name=sign]").value = sign;
            }
            window.setTimeout(function () { button.disabled = true; });
            function over() {
                rest(working);
                button.disabled = false;
                window.removeEventListener("pageshow", over);
            }
            window.addEventListener("pageshow", over);  // by the way back
            if (sign) {
                whenSent(sign, over);
            }
        });
    }

    function whenSent(sign, over) {
        var asked = window.setInterval(function () {
            if (document.cookie.indexOf("leakwatch-sent=" + sign) >= 0) {
                window.clearInterval(asked);
                over();
            }
        }, 300);
    }

    function workOnClick(link) {
        link.addEventListener("click", function (event) {
            if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
                var working = work(link.parentNode);
                window.addEventListener("pageshow", function () { rest(working); }, { once: true });
            }
        });
    }

    window.LeakwatchProgress = { ofForm: workOnSubmit, ofLink: workOnClick };
}());
