"""The panels of the dashboard: what each shows, in every state, and its JSON twin."""

import time
from unittest import mock

from cubicweb_web.devtools.testlib import PyramidWebCWTC, WebCWTC
from face_answers import Answers
from face_data import HANDLER, HOSTILE, catalogue, finding, process, restart, sample, status

from cubicweb_leakwatch import sobjects
from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.views.panels import PANELS
from cubicweb_leakwatch.watch.finding import iso_utc

MIB = 1024**2
NO_PROBE = ConfigurationError("no probe answers in /run/x", hint="is the instance running?", code="no-probe")


class DriverError(Exception):
    """Stands for psycopg2.Error and sqlite3.Error."""


DriverError.__name__ = "Error"


def away(*_args, **_kwargs):
    """Fail as a driver does whose server has gone."""
    raise type("OperationalError", (DriverError,), {})("could not connect to server\nis it running?")


class PanelsTC(WebCWTC):
    """Each panel alone, by ``panel=NAME``."""

    def setUp(self):
        """A manager and an instance of two processes."""
        super().setUp()
        self.answers = Answers()
        self.answers.start(self)
        self.now = time.time()

    def panel(self, name, lang=None, **parameters):
        """Return the text of one panel."""
        with self.admin_access.web_request(vid="leakwatch", panel=name, **parameters) as req:
            if lang:
                words = {message: told for (_context, message), told in catalogue(lang).items()}
                translate = lambda message: words.get(message, message)  # noqa: E731
                self.config.translations[lang] = (translate, lambda _context, message: translate(message))
                req.set_language(lang)
            return self.view("leakwatch", req=req).source.decode()

    def test_a_panel_alone_leaves_the_others_out(self):
        """So that a script can ask for that part which changed."""
        text = self.panel("restarts")
        assert 'id="lw-restarts"' in text
        assert 'id="lw-chart"' not in text

    def test_the_verdict_leads_on(self):
        """To the process, to the evidence, and to the restart of the one that is at its limit."""
        leaking = process("web-2", verdict="native", leak=True, seconds_to_limit=7200.0, since="2026-01-02T02:00:00Z")
        full = process("web-1", uss=395 * MIB)
        self.answers.status = status(full, leaking)
        text = self.panel("verdict")
        for told in (
            "web-2 leaks (native)",
            "It has grown since 2026-01-02",
            "in 2 h",
            "Look into web-2",
            "Restart web-1",
        ):
            assert told in text

    def test_a_calm_that_nobody_watches_is_no_calm(self):
        """Where no conclusion is drawn any more the page says since when, in the reader's language."""
        assert "lw-alarm" not in self.panel("verdict")
        with mock.patch.object(sobjects, "overdue_since", return_value=1_700_000_000.0):
            assert "Nothing was concluded since 2023-11-14" in self.panel("verdict")
            assert "Rien n&#x27;a été conclu depuis 14/11/2023" in self.panel("verdict", lang="fr")

    def test_a_limit_that_is_reached_is_now(self):
        """Nobody waits 0 ms."""
        self.answers.status = status(process(verdict="native", leak=True, seconds_to_limit=0.0))
        assert "It reaches its limit now." in self.panel("verdict")

    def test_the_most_urgent_leak_comes_first(self):
        """The one at its limit, the one that will be there, the fastest."""
        fast, slow = (
            process(name, verdict="native", leak=True, rate_bytes_per_h=r) for name, r in (("a", 9e8), ("b", 1.0))
        )
        later, now = (
            process(name, verdict="native", leak=True, seconds_to_limit=left)
            for name, left in (("c", 7200.0), ("d", 0.0))
        )
        self.answers.status = status(slow, fast, later, now)
        text = self.panel("verdict")
        places = [text.index(f"{name} leaks") for name in "dcab"]
        assert places == sorted(places)
        assert "Look into d" in text

    def test_fifty_leaks_are_no_fifty_sentences(self):
        """The worst one whole, some by name and rate, the rest by number; their findings stand in that order."""
        leak = {"verdict": "native", "leak": True, "since": "2026-01-02T02:00:00Z"}
        lefts = {f"web-{number}": 90000.0 - 1000 * number for number in range(1, 51)}
        self.answers.status = status(*(process(name, seconds_to_limit=left, **leak) for name, left in lefts.items()))
        found = [finding(process=name, seconds_to_limit=left, closed_at=None) for name, left in lefts.items()]
        self.answers.findings = found
        text = self.panel("verdict")
        assert text.count("It has grown since") == 1
        assert text.index("web-50 leaks") < text.index("It has grown since") < text.index("web-49 leaks")
        assert "web-45 leaks" in text and "web-44 leaks" not in text
        assert "And 44 more." in text
        text = self.panel("findings")
        assert text.index(">web-50: ") < text.index(">web-2: ") < text.index(">web-1: ")

    def test_a_slot_is_named_once(self):
        """While its worker is replaced there are two processes of that name."""
        self.answers.status = status(
            process(pid=1, state="draining", verdict="native", leak=True), process(pid=2, verdict="native", leak=True)
        )
        assert self.panel("verdict").count("web-1 leaks") == 1
        assert self.panel("processes").count(">web-1</th>") == 2

    def test_too_few_snapshots_are_counted(self):
        """How many there are, and how many it takes."""
        self.answers.status = status(process(verdict="not-enough-data", samples=4))
        assert "4 of 12 snapshots" in self.panel("verdict")
        self.answers.status = status(process(verdict="not-enough-data", samples=27))
        assert "after 27 snapshots a leak and a warm-up look alike" in self.panel("verdict")

    def test_one_process_and_fifty(self):
        """A row each; a name however long is there in full and may break."""
        for count in (1, 50):
            self.answers.status = status(*(process(f"web-{index}", pid=index) for index in range(count)))
            assert self.panel("processes").count('/leakwatch-restart" method') == count

    def test_without_a_scheduler_it_says_what_is_missing(self):
        """Nothing is recorded then."""
        self.answers.status = status(process())
        assert "No scheduler answers on this host" in self.panel("processes")

    def test_what_grows_between_two_snapshots(self):
        """Counts before and after, the share of all growth, and a choice of snapshots."""
        times = [self.now - 300 + 60 * index for index in range(5)]
        self.answers.lives = [("web-1", 4242)]
        self.answers.counts = [(t, {HANDLER: 100 * (i + 1), "builtins.dict": 1000 + i}) for i, t in enumerate(times)]
        text = self.panel("growth", a=str(times[1]), b=str(times[4]))
        for told in (HANDLER, ">200<", ">500<", "+300", "99.0", "<polyline", "<select"):
            assert told in text
        assert "What grows in web-1" in text

    def test_nothing_to_compare_is_said(self):
        """No process, no snapshot, nothing that grew."""
        assert "No snapshot with type counts" in self.panel("growth")
        self.answers.lives = [("web-1", 4242)]
        assert "Two snapshots are needed" in self.panel("growth")
        self.answers.counts = [(self.now - 60, {HANDLER: 5}), (self.now, {HANDLER: 5})]
        assert "No recorded type grew" in self.panel("growth")

    def test_a_finding_says_why(self):
        """Its meaning, its figures, its evidence, and the same as text for a ticket."""
        self.answers.findings = [finding(), finding(process="web-2", closed_at="2026-01-02T04:00:00Z")]
        text = self.panel("findings")
        for told in (
            "Objects that the collector tracks are made and kept.",
            "+30.0 MiB/h (95 %: +20.0 MiB/h to +40.0 MiB/h)",
            "Why do you say so?",
            "Confidence 97 %, from 60 snapshots of one process.",
            "objects tracked by the collector grow with the memory",
            "changeset (90 %)",
            "As text for a ticket",
            "web-1: python-objects leak.",
            "Findings that no longer hold",
        ):
            assert told in text

    def test_a_task_that_keeps_memory_is_no_view(self):
        """A scheduler has looping tasks."""
        kept = {"view": "task shop.poll", "bytes_per_request": 1024.0, "share": 0.8}
        self.answers.findings = [finding(process="scheduler", views=[kept])]
        text = self.panel("findings")
        assert "<dt>Task</dt><dd>shop.poll (80 %)</dd>" in text
        assert "Looping tasks that keep memory" in text
        assert "A run keeps" in text
        assert "Views whose requests" not in text
        assert "task shop.poll<" not in text
        assert "  task        shop.poll: 80% of the growth" in text

    def test_no_finding_is_said(self):
        """It takes some time."""
        assert "Nothing was concluded yet" in self.panel("findings")

    def test_a_restart_shows_its_stages(self):
        """The one that it is in is marked; the script asks again until it is over."""
        moving = restart(stage="draining", outcome=None, old_pid=4242, exited_at=None, drained_at=None)
        self.answers.status = status(process(pid=4242, state="draining", in_flight=3), process(pid=4300))
        self.answers.launcher = {"flags": [], "restarts": [{**moving, "requested_at": iso_utc(self.now - 5)}]}
        text = self.panel("restarts")
        assert 'data-poll="1"' in text
        assert 'aria-current="step">draining (3)<' in text
        self.answers.status = status(process(pid=4242, state="stopping", in_flight=0), process(pid=4300))
        assert 'aria-current="step">draining (0), stopping<' in self.panel("restarts")

    def test_the_scheduler_leaves_before_its_successor_starts(self):
        """Its stages stand in that order, and it has no requests to lose."""
        begun = restart(process="scheduler", stage="starting", outcome=None, ready_at=None, exited_at=None)
        self.answers.launcher = {"flags": [], "restarts": [{**begun, "requested_at": iso_utc(self.now - 5)}]}
        text = self.panel("restarts")
        assert text.index(">draining<") < text.index(">starting<") < text.index(">ready<")
        assert 'class="lw-step-done">draining<' in text
        times = {"requested_at": iso_utc(self.now - 5), "exited_at": iso_utc(self.now - 1)}
        self.answers.launcher = {"flags": [], "restarts": [restart(process="scheduler", abandoned=None, **times)]}
        assert "scheduler: replaced." in self.panel("restarts")

    def test_the_one_that_leaves_is_looked_at_by_its_pid(self):
        """Its name is its successor's."""
        self.answers.status = status(process(pid=4242, state="draining"), process(pid=4300))
        text = self.panel("processes")
        assert "process=4242" in text and "process=web-1" in text

    def test_a_restart_under_way_is_not_offered_again(self):
        """The verdict leads to its stages."""
        self.answers.status = status(process(uss=400 * 1024**2))
        assert "Restart web-1" in self.panel("verdict")
        moving = restart(stage="starting", outcome=None, ready_at=None, exited_at=None)
        self.answers.launcher = {"flags": [], "restarts": [moving]}
        assert "Restart web-1" not in self.panel("verdict")
        assert "web-1 is being replaced" in self.panel("verdict")

    def test_many_calm_findings_are_folded(self):
        """Those that matter stand open, before them."""
        names = [f"web-{number}" for number in range(1, 9)]
        calm = [finding(process=name, kind="steady", leak=False) for name in names]
        self.answers.findings = [*calm, finding(process="web-9")]
        text = self.panel("findings")
        assert "<summary>steady: web-1, web-2" in text
        assert text.index("web-9: python-objects") < text.index("<summary>steady")

    def test_a_restart_ends_with_what_happened(self):
        """Outcome and lost requests, 0 too; nothing is asked again."""
        times = {"requested_at": iso_utc(self.now - 5), "exited_at": iso_utc(self.now - 1)}
        self.answers.launcher = {"flags": [], "restarts": [restart(**times)]}
        text = self.panel("restarts")
        assert "web-1: replaced, requests lost: 0." in text
        assert "data-poll" not in text

    def test_a_restart_that_was_recorded_meanwhile_is_told_all_the_same(self):
        """Whoever follows it reads how it ended, whether the page or the collector asked the launcher first."""
        times = {"requested_at": iso_utc(self.now - 5), "exited_at": iso_utc(self.now - 1)}
        recorded = restart(**times)
        del recorded["stage"]
        self.answers.restarts = [recorded]
        assert "web-1: replaced, requests lost: 0." in self.panel("restarts")

    def test_a_restart_that_failed_says_why(self):
        """The old worker goes on."""
        times = {"requested_at": iso_utc(self.now - 5), "ready_at": iso_utc(self.now - 1), "exited_at": None}
        failed = restart(**times, outcome="successor-failed", detail="exited with status 4", abandoned=None)
        self.answers.launcher = {"flags": [], "restarts": [failed]}
        text = self.panel("restarts")
        assert "successor-failed" in text
        assert "exited with status 4" in text

    def test_the_newest_restart_comes_first_with_what_it_lost(self):
        """The sum of what was lost stands above."""
        late = restart(process="web-2", requested_at="2026-01-02T04:00:00Z", abandoned=3, outcome="drain-timeout")
        self.answers.restarts = [restart(), late]
        text = self.panel("restarts")
        assert text.index(">web-2</td>") < text.index(">web-1</td>")
        assert "lost: 3." in text

    def test_the_settings_in_force(self):
        """Each option with its origin; a token is not told."""
        text = self.panel("settings")
        for told in ("leakwatch-interval", "Snapshots recorded", "1 min"):
            assert told in text

    def test_the_database_away_is_a_state(self):
        """What needs no database is shown all the same."""
        from cubicweb_leakwatch.recording import history, kept_chart

        for module, name in ((kept_chart, "chart_tracks"), (history, "read_findings")):
            self.patch(module, name)
        text = self.panel("chart")
        assert "the database does not answer: could not connect to server is it running?" in text
        assert "web-1" in self.panel("processes")

    def patch(self, module, name):
        """Let a function fail as a database does that is away."""
        from unittest import mock

        patch = mock.patch.object(module, name, away)
        patch.start()
        self.addCleanup(patch.stop)

    def test_failures_are_told_in_french(self):
        """The sentence and the hint; the details stay as they were said."""
        self.answers.status = NO_PROBE
        text = self.panel("processes", lang="fr")
        assert "Aucun processus de cette instance ne répond." in text
        assert "no probe answers in /run/x" in text

    def test_every_panel_reads_french(self):
        """With everything that it can show."""
        self.answers.findings = [finding(), finding(kind="plateau", leak=False, ceiling=5e8)]
        self.answers.samples = [sample(self.now - 60 * i) for i in range(10, 0, -1)]
        self.answers.restarts = [restart(host="here")]
        self.answers.lives = [("web-1", 4242)]
        self.answers.counts = [(self.now - 60, {HANDLER: 5}), (self.now, {HANDLER: 7})]
        texts = {panel.name: self.panel(panel.name, lang="fr") for panel in PANELS}
        assert "Pourquoi dites-vous cela" in texts["findings"]
        assert "web-1\u00a0: objets Python" in texts["findings"]
        assert "web-1\u00a0: plafond" in texts["chart"]
        assert "Part de la croissance" in texts["growth"]
        assert "02/01/2026" in texts["restarts"]

    def test_hostile_words_are_text_in_every_panel(self):
        """Type names, holders, reasons, notes, hosts: wherever they come from."""
        self.answers.status = status(process(HOSTILE, state=HOSTILE, verdict=HOSTILE, leak=True, holder=HOSTILE))
        evidence = {"why": HOSTILE, "notes": [HOSTILE], "meters": {HOSTILE: {"unit": HOSTILE}}}
        culprits = [{"type": HOSTILE, "objects_per_h": 1.0}]
        self.answers.findings = [finding(process=HOSTILE, holder=HOSTILE, evidence=evidence, culprits=culprits)]
        self.answers.samples = [sample(self.now - 5, process=HOSTILE, note=HOSTILE)]
        self.answers.restarts = [restart(host=HOSTILE, process=HOSTILE, reason=HOSTILE, outcome=HOSTILE)]
        self.answers.launcher = {
            "flags": [HOSTILE],
            "restarts": [restart(process=HOSTILE, detail=HOSTILE, stage=HOSTILE)],
        }
        self.answers.lives = [(HOSTILE, 4242)]
        self.answers.counts = [(self.now - 60, {HOSTILE: 5}), (self.now, {HOSTILE: 7})]
        for panel in PANELS:
            text = self.panel(panel.name)
            assert "<script>alert" not in text, panel.name
            assert "\x1b" not in text, panel.name


class TwinsTC(PyramidWebCWTC):
    """``/_leakwatch/NAME.json``."""

    def setUp(self):
        """One user who is no manager."""
        super().setUp()
        self.answers = Answers()
        self.answers.start(self)
        self.answers.findings = [finding(culprits=[{"type": HOSTILE, "objects_per_h": 1.0}])]
        with self.admin_access.cnx() as cnx:
            self.create_user(cnx, "ada", groups=("users",), password="ada12345")
            cnx.commit()

    def test_every_panel_has_its_twin(self):
        """The envelope of a command's --json, and never a page of markup."""
        self.login()
        for panel in PANELS:
            answer = self.webapp.get(f"/_leakwatch/{panel.name}.json", status=200)
            assert answer.content_type == "application/json"
            assert answer.json["ok"] is True
            assert {"generated_at", "instance", "data"} <= set(answer.json)
            assert answer.headers["Cache-Control"] == "no-cache, private"
            assert "<script>" not in answer.text or panel.name == "findings"

    def test_the_shapes_are_those_of_the_commands(self):
        """leak-status, leak-history, leak-findings, leak-restart."""
        self.login()
        self.answers.samples = [sample(time.time() - 5)]
        shapes = {name: self.webapp.get(f"/_leakwatch/{name}.json").json for name in ("processes", "chart", "findings")}
        assert shapes["processes"]["data"]["processes"][0]["name"] == "web-1"
        assert {"t", "process", "rss"} <= set(shapes["chart"]["data"][0])
        assert {"events", "restarts", "since", "until"} <= set(shapes["chart"])
        assert shapes["findings"]["data"][0]["kind"] == "python-objects"

    def test_what_has_not_changed_is_not_sent_again(self):
        """By its ETag; when something changes it is."""
        self.login()
        first = self.webapp.get("/_leakwatch/findings.json", status=200)
        again = {"If-None-Match": first.headers["ETag"]}
        assert self.webapp.get("/_leakwatch/findings.json", headers=again, status=304).body == b""
        self.answers.findings = []
        self.webapp.get("/_leakwatch/findings.json", headers=again, status=200)

    def test_what_is_away_is_told_as_data(self):
        """503: ask again."""
        self.login()
        self.answers.status = NO_PROBE
        answer = self.webapp.get("/_leakwatch/processes.json", status=503)
        assert (answer.json["ok"], answer.json["error"]["code"]) == (False, "no-probe")

    def test_twins_are_for_managers(self):
        """A user and a visitor get nothing of it."""
        for login in (None, "ada"):
            if login:
                self.login(login, "ada12345")
            for panel in PANELS:
                answer = self.webapp.get(f"/_leakwatch/{panel.name}.json", expect_errors=True)
                assert answer.status_int in (303, 403), (login, panel.name)
                assert "web-1" not in answer.text
