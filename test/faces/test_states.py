"""The dashboard in each of its states, as a person sees it: told, accessible, not too wide; each has its picture."""

import re
import time
from pathlib import Path
from unittest import mock

import pytest
from browsing import chromium, narrow, open_all, seen, shoot, too_wide, violations, wait_for
from cubicweb_web.devtools.testlib import PyramidWebCWTC
from face_answers import Answers
from face_data import HANDLER, HOSTILE, finding, process, restart, sample, status

from cubicweb_leakwatch import sobjects
from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.recording import growth, history, kept_chart
from cubicweb_leakwatch.serve.control import LauncherError
from cubicweb_leakwatch.watch.finding import iso_utc

MIB = 1024**2
LONG = "application.models." + "VeryLongPackageName." * 12 + "AbstractSingletonProxyFactoryBean" * 3
READ = (
    (kept_chart, "chart_tracks"), (history, "read_samples"), (history, "read_restarts"), (history, "read_findings"),
    (history, "read_processes"), (growth, "read_counts"), (sobjects.SettingsInForce, "_cost"),
)  # fmt: skip
"""What asks the database."""


ANSWERED = """
var answers = arguments[0], after = window.setTimeout;
window.asked = [];
window.setTimeout = function (act) { return after(act, 20); };  // nobody waits for the pauses between two questions
window.XMLHttpRequest = function () {
    this.open = function (method, address) { this.address = address; };
    this.send = function () {
        window.asked.push(/panel=(\\w+)/.exec(this.address)[1]);
        var text = answers.shift();
        this.status = text ? 200 : 0;
        this.responseText = text || "";
        after(this.onloadend.bind(this), 5);
    };
};
"""
"""Stands for the server: each question gets the next of these answers, or none."""

NOW = "return (document.querySelector('#lw-restarts .lw-step-now') || document.body).textContent"


class DriverError(Exception):
    """Stands for psycopg2.Error and sqlite3.Error."""


DriverError.__name__ = "Error"


def away(*_args, **_kwargs):
    """Fail as a driver does whose server has gone."""
    raise type("OperationalError", (DriverError,), {})("could not connect to server\nis it running?")


class StatesTC(PyramidWebCWTC):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def browser(cls, needs_program, tmp_path_factory):
        """Start Chromium without a screen, for all states."""
        with chromium(needs_program, tmp_path_factory.mktemp("chromium")) as browser:
            cls.chromium = browser
            yield

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def setUp(self):
        """An instance that is well, and a manager."""
        super().setUp()
        self.now = time.time()
        self.answers = Answers()
        self.answers.start(self)
        self.answers.lives = [("web-1", 4242)]
        self.answers.counts = [(self.now - 3600 * i, {HANDLER: 100 - i, LONG: 90 - i}) for i in range(20, -1, -1)]
        self.answers.samples = self.history("web-1", "scheduler")
        self.login()

    def history(self, *names):
        """Return a day of each of these processes."""
        return [
            sample(self.now - 900 * i, rss=(90 + 7 * number + (96 - i) // 4) * MIB, process=name, pid=100 + number)
            for i in range(96, 0, -1)
            for number, name in enumerate(names)
        ]

    def open(self):
        """Open the page as it is served, from files."""
        text = self.webapp.get("/view?vid=leakwatch", status=200).text
        page = self.folder / "page.html"
        page.write_text(re.sub(r'"[^"]*/data/(?:\w+/)?([\w.-]+\.(?:css|js))"', self._from_file, text))
        self.chromium.get(page.as_uri())
        return self.chromium

    def show(self, name, *told, prepare=""):
        """Open the page; check that a person can read it, and take its picture."""
        browser = self.open()
        browser.execute_script(prepare)
        for words in told:
            assert words in seen(browser), words
        assert too_wide(browser) == []
        shoot(browser, f"state-{name}")
        open_all(browser)
        assert violations(browser) == []
        with narrow(browser):
            assert too_wide(browser) == []
            shoot(browser, f"state-{name}-320")
        assert browser.execute_script("return window.hacked") is None

    def _from_file(self, found):
        folder = self.config.locate_resource(found[1])
        return f'"{Path(folder[0], folder[1]).as_uri()}"' if folder and folder[0] else found[0]

    def test_nothing_yet(self):
        """An instance that has just got the cube: what there will be, and what makes it come."""
        self.answers.status = status(process(verdict="not-enough-data", samples=4, age_s=40.0, rate_bytes_per_h=None))
        self.answers.samples, self.answers.lives = [], []
        self.show("empty", "4 of 12 snapshots", "Nothing was recorded in this time", "No restart in this time")

    def test_no_process_answers(self):
        """An error of the whole, told in each panel that it concerns; the history stands all the same."""
        told = ("no process of site answers in /run/x", "is it running? start it with: cubicweb-ctl leak-serve site")
        self.answers.status = ConfigurationError(*told, code="no-probe")
        self.answers.launcher = LauncherError("no launcher runs", "start one")
        self.show("error", *told, "Recorded memory")

    def test_one_process(self):
        """A site that has one worker and records by leak-collect: no scheduler answers, and it says so."""
        self.answers.status = status(process())
        self.answers.samples = self.history("web-1")
        self.show("one-process", "No leak seen.", "No scheduler answers on this host")

    def test_fifty_processes(self):
        """All have their row; the lines are named as far as there is room."""
        names = [f"web-{number}" for number in range(1, 50)]
        rows = [process(name, pid=100 + number) for number, name in enumerate(names)]
        self.answers.status = status(*rows, process("scheduler", role="scheduler", limit=None))
        self.answers.samples = self.history(*names, "scheduler")
        self.answers.findings = [finding(process=name, kind="steady", leak=False, closed_at=None) for name in names]
        self.show("fifty-processes", "web-49", "scheduler", "steady: web-1, web-2")

    def test_fifty_leaks(self):
        """What leaks in one view leaks in every worker that serves it: the worst is told, the others are counted."""
        names = [f"web-{number}" for number in range(1, 50)]
        leak = {"verdict": "python-objects", "leak": True, "culprits": [LONG], "uss": 99 * MIB, "limit": 100 * MIB}
        self.answers.status = status(*(process(name, seconds_to_limit=7200.0, **leak) for name in names))
        self.answers.samples = self.history(*names)
        self.answers.findings = [finding(process=name, closed_at=None) for name in names]
        self.show("fifty-leaks", "And 43 more.", "And 44 more.")

    def test_a_leak(self):
        """Names as long as a book, and hostile ones: text, that breaks where it must."""
        leaking = {"verdict": "python-objects", "leak": True, "culprits": [LONG], "holder": f"{LONG}.cache[…]"}
        self.answers.status = status(
            process(since=iso_utc(self.now - 7200), seconds_to_limit=7200.0, **leaking),
            process("scheduler", role="scheduler", limit=None),
        )
        culprits = [{"type": name, "objects_per_h": 720.0, "bytes_per_h": 1e6} for name in (LONG, HOSTILE)]
        self.answers.findings = [finding(culprits=culprits, holder=f"{LONG}.cache[…]", closed_at=None)]
        self.answers.restarts = [
            restart(reason=f"memory limit {HOSTILE} {LONG}", requested_at=iso_utc(self.now - 3600))
        ]
        self.show("leak", "web-1 leaks (python-objects)", "It reaches its limit in 2 h", "Why do you say so?")

    def test_the_database_is_away(self):
        """What the processes say is shown; what is recorded says why it is not."""
        for where, name in READ:
            patch = mock.patch.object(where, name, away)
            patch.start()
            self.addCleanup(patch.stop)
        self.show("database-away", "No leak seen.", "the database does not answer", "web-1")

    def test_a_panel_that_loads(self):
        """It says so, and what it showed stays readable."""
        busy = "var s = document.getElementById('lw-chart'); s.setAttribute('aria-busy', 'true');"
        self.show("loading", "No leak seen.", prepare=busy + "s.setAttribute('data-busy', 'Loading…');")

    def restarts(self, **values):
        """Return what the server answers who follows a restart; no ``stage``: the launcher was too busy to say."""
        self.answers.launcher = {"flags": [], "restarts": [restart(**values)] if values else []}
        return self.webapp.get("/view?vid=leakwatch&panel=restarts&__notemplate=1", status=200).text

    def test_a_restart_is_followed_to_its_end(self):
        """One answer fails, in one the restart is missing: it is asked for again, until it is told how it ended."""
        asked, ended = iso_utc(self.now - 5), iso_utc(self.now - 1)
        moving = {"requested_at": asked, "exited_at": None, "outcome": None, "ready_at": asked}
        over = self.restarts(requested_at=asked, ready_at=asked, exited_at=ended)
        draining, missing = self.restarts(**moving, stage="draining"), self.restarts()
        self.restarts(**moving, stage="starting")
        browser = self.open()
        browser.execute_script(ANSWERED, [None, missing, draining, None, over])
        wait_for(browser, lambda: "web-1: replaced, requests lost: 0." in seen(browser), "the end")
        assert browser.execute_script("return window.asked.slice(0, 5)") == ["restarts"] * 5
        wait_for(browser, lambda: browser.execute_script("return window.asked.length") == 7, "the other panels")
        assert browser.execute_script("return window.asked.slice(5).sort()") == ["processes", "verdict"]

    def test_a_panel_that_changes_leaves_the_keyboard_where_it_was(self):
        """And open what was opened."""
        self.answers.restarts = [restart(requested_at=iso_utc(self.now - 3600))]
        moving = {"requested_at": iso_utc(self.now - 5), "exited_at": None, "outcome": None}
        fresh = self.restarts(**moving, stage="draining")
        browser = self.open()
        browser.execute_script("document.querySelector('#lw-restarts .lw-sort').focus();")
        browser.execute_script(ANSWERED, [fresh])
        wait_for(browser, lambda: "draining" in browser.execute_script(NOW), "the fresh panel")
        assert browser.execute_script("return document.activeElement.matches('#lw-restarts .lw-sort')")

    def test_a_button_tells_that_it_is_at_work(self):
        """And for how long; a browser alone shows nothing for seconds."""
        browser = self.open()
        browser.execute_script(
            "var form = document.querySelector('#lw-snapshots form');"
            "form.addEventListener('submit', function (event) { event.preventDefault(); }); form.requestSubmit();"
        )
        wait_for(browser, lambda: re.search(r"At work for [1-9]\d* s", seen(browser)), "the seconds")
        assert browser.execute_script("return document.querySelector('#lw-snapshots form button').disabled")
