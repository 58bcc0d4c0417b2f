"""The pages in a web application: who sees what, and what each state of the instance looks like."""

import time

from cubicweb_web.devtools.testlib import PyramidWebCWTC, WebCWTC
from face_answers import Answers
from face_data import HANDLER, HOSTILE, catalogue, process, report, restart, sample, status

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.serve.control import LauncherError

NO_PROBE = ConfigurationError("no probe answers in /run/x", hint="is the instance running?", code="no-probe")


class PagesTC(WebCWTC):
    """What a manager sees; each page is parsed as XML."""

    def setUp(self):
        """A manager and an instance of two processes."""
        super().setUp()
        self.answers = Answers()
        self.answers.start(self)

    def page(self, vid, **parameters):
        """Return the text of a page."""
        with self.admin_access.web_request(vid=vid, **parameters) as req:
            return self.view(vid, req=req).source.decode()

    def test_opening_the_gc_page_looks_at_nothing(self):
        """No heap is walked before somebody chooses a process; the cost is told first."""
        text = self.page("gc")
        assert self.answers.looks == []
        assert "process=scheduler" in text
        assert "stops the process for some milliseconds" in text

    def test_the_last_looks_are_shown_again_for_nothing(self):
        """What was found and when, without another look."""
        self.answers.kept = [report()]
        text = self.page("gc")
        assert self.answers.looks == []
        assert "Last looks" in text
        assert "2,000 cycles hold" in text

    def test_choosing_a_process_looks_at_it(self):
        """The scheduler too: handler, way round the cycle, what holds it."""
        text = self.page("gc", process="scheduler")
        assert self.answers.looks == ["scheduler"]
        assert HANDLER in text
        assert "POLLER.handlers" in text
        assert 'aria-current="page"' in text

    def test_what_to_do_next_stands_beside_what_was_found(self):
        """Who holds what piles up is asked with a click, as of every type; the process can be replaced here."""
        text = self.page("gc", process="scheduler")
        asked = f"show=kept&amp;type={HANDLER}#lw-holders"
        assert text.count(asked) == 2
        assert f'value="{HANDLER}"' in self.page("gc", process="scheduler", show="kept", type=HANDLER)
        assert "Restart scheduler" in text
        self.answers.launcher = LauncherError("no launcher runs", "start one")
        assert "Restart scheduler" not in self.page("gc", process="scheduler")

    def test_no_probe_is_a_state_of_the_page(self):
        """What failed and what to do, on both pages."""
        self.answers.status = NO_PROBE
        for vid in ("gc", "leakwatch"):
            text = self.page(vid)
            assert "no probe answers" in text
            assert "is the instance running?" in text

    def test_a_refused_copy_is_a_state_of_the_page(self):
        """The processes can still be chosen."""
        self.answers.reports = LeakwatchError("no room for a copy", "wait, or look at the counts alone", "copy-refused")
        text = self.page("gc", process="web-1")
        assert "no room for a copy" in text
        assert "process=scheduler" in text

    def test_the_dashboard_without_history_says_what_records(self):
        """And still shows the processes."""
        text = self.page("leakwatch")
        assert "leakwatch-interval" in text
        assert "web-1" in text
        assert "<svg" not in text

    def test_the_dashboard_draws_what_was_recorded(self):
        """A chart with a title, its numbers, the restarts, the latest snapshots."""
        now = time.time()
        self.answers.samples = [sample(now - 600 + 60 * i, note="before the fix") for i in range(10)]
        self.answers.restarts = [restart(host="here", reason="memory limit", abandoned=0)]
        text = self.page("leakwatch")
        for told in ('role="img"', "<title", "before the fix", "memory limit", "Lost (requests)"):
            assert told in text

    def test_the_restart_button_is_a_post_with_a_token(self):
        """One for each process, with a name of its own for who does not see the table."""
        text = self.page("leakwatch")
        assert text.count('/leakwatch-restart" method="post"') == 2
        assert text.count('name="csrf_token"') >= 2
        assert 'aria-label="Restart scheduler"' in text

    def test_without_a_launcher_there_is_no_restart_button(self):
        """A button that can only fail is not shown; the page says why."""
        self.answers.launcher = LauncherError("no launcher is running", code="no-launcher")
        text = self.page("leakwatch")
        assert '/leakwatch-restart"' not in text
        assert "No launcher serves this instance" in text

    def test_what_the_launcher_complains_of_stands_on_the_page(self):
        """A successor that failed is an alarm until it is solved."""
        self.answers.launcher = {"restarts": [], "flags": ["web-1: the successor died <at once>"]}
        assert "the successor died &lt;at once&gt;" in self.page("leakwatch")

    def test_hostile_names_are_text(self):
        """Wherever they come from."""
        self.answers.status = status(process(HOSTILE, state=HOSTILE, verdict=HOSTILE))
        self.answers.samples = [sample(time.time() - 5, process=HOSTILE, note=HOSTILE)]
        self.answers.restarts = [restart(host=HOSTILE, process=HOSTILE, reason=HOSTILE)]
        self.answers.reports = [report(process={"name": HOSTILE, "pid": 1, "role": HOSTILE})]
        for text in (self.page("leakwatch"), self.page("gc", process=HOSTILE)):
            assert "<script>alert" not in text

    def test_the_page_reads_french(self):
        """Words and numbers, for who prefers French."""
        with self.admin_access.web_request(vid="gc", process="scheduler") as req:
            words = {message: told for (_context, message), told in catalogue("fr").items()}
            translate = lambda message: words.get(message, message)  # noqa: E731
            self.config.translations["fr"] = (translate, lambda _context, message: translate(message))
            req.set_language("fr")
            text = self.view("gc", req=req).source.decode()
        assert "Chemin autour du cycle" in text
        assert "2\u202f000" in text

    def test_parameters_are_only_parameters(self):
        """Whatever stands in the address, there is a page."""
        for parameters in ({"process": [HOSTILE, "x"]}, {"span": HOSTILE}, {"from": HOSTILE, "to": "1"}):
            assert "lw-page" in self.page("leakwatch", **parameters)


class AccessTC(PyramidWebCWTC):
    """Who gets the pages."""

    def setUp(self):
        """One user who is no manager."""
        super().setUp()
        self.answers = Answers()
        self.answers.start(self)
        with self.admin_access.cnx() as cnx:
            self.create_user(cnx, "ada", groups=("users",), password="ada12345")
            cnx.commit()

    def test_a_manager_sees_the_pages(self):
        """Both of them."""
        self.login()
        assert HANDLER in self.webapp.get("/?vid=gc&process=scheduler", status=200).text
        assert "web-1" in self.webapp.get("/?vid=leakwatch", status=200).text

    def test_a_user_is_refused(self):
        """403, not the index page with a message."""
        self.login("ada", "ada12345")
        for vid in ("gc", "gc&process=scheduler", "leakwatch"):
            answer = self.webapp.get(f"/?vid={vid}", status=403)
            assert HANDLER not in answer.text
            assert "web-1" not in answer.text
        assert self.answers.looks == []

    def test_a_user_sees_no_gc_tab(self):
        """The page of the site's information stays open to users, without our tab."""
        self.login("ada", "ada12345")
        assert "vid=gc" not in self.webapp.get("/siteinfo", status=200).text

    def test_the_gc_tab_is_ours(self):
        """Where managers had CubicWeb's own."""
        self.login()
        assert "vid=gc" in self.webapp.get("/siteinfo", status=200).text
        text = self.webapp.get("/ajax?fname=view&vid=gc", status=200).text
        assert "lw-page" in text

    def test_a_visitor_is_sent_to_log_in(self):
        """Nothing before that."""
        for vid in ("gc", "leakwatch"):
            answer = self.webapp.get(f"/?vid={vid}", status=303)
            assert "/login?postlogin_path=" in answer.location
            assert f"vid%3D{vid}" in answer.location
            assert "web-1" not in answer.text
        assert self.answers.looks == []

    def test_a_user_gets_nothing_by_ajax(self):
        """The way round the page is closed as well."""
        self.login("ada", "ada12345")
        for vid in ("gc", "leakwatch"):
            answer = self.webapp.get(f"/ajax?fname=view&vid={vid}", expect_errors=True)
            assert answer.status_int >= 400
            assert "web-1" not in answer.text
