"""The routes: one word of health for everybody, actions for managers, nothing for others."""

from unittest import mock

from cubicweb_web.devtools.testlib import PyramidWebCWTC
from pyramid.request import Request

from cubicweb_leakwatch.counting import served_by
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.metrics.text import OPENMETRICS_TYPE, PROMETHEUS_TYPE
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.routes import HEALTH, METRICS, has_token
from cubicweb_leakwatch.serve.control import LauncherError

ASK_LAUNCHER = "cubicweb_leakwatch.serve.control.ask_launcher"
JSON = {"Accept": "application/json"}


def wire(text):
    """Return text as a header carries its UTF-8."""
    return text.encode().decode("latin-1")


def bearer(token):
    """Return the header of a client that sends a token."""
    return {"Authorization": f"Bearer {wire(token)}"}


class RoutesTC(PyramidWebCWTC):
    def setUp(self):
        """A launcher that takes every wish, and one user who is no manager."""
        super().setUp()
        patch = mock.patch(ASK_LAUNCHER, return_value={"requested": [{"id": "1-000001", "process": "web-1"}]})
        self.launcher = patch.start()
        self.addCleanup(patch.stop)
        state = this_process()
        self.addCleanup(setattr, state, "state", state.state)
        with self.admin_access.cnx() as cnx:
            self.create_user(cnx, "ada", groups=("users",), password="ada12345")
            cnx.commit()

    def test_health_is_one_word_for_anybody(self):
        """A balancer learns whether the process serves, and nothing else."""
        for path in ("livez", "healthz"):
            assert self.webapp.get(f"/_leakwatch/{path}", status=200).text == "ok\n"
        this_process().state = "serving"
        assert self.webapp.get("/_leakwatch/readyz", status=200).text == "serving\n"

    def test_readyz_refuses_while_starting_or_draining(self):
        """A process that takes no new requests says so with 503; it is alive all the same."""
        for state in ("starting", "draining", "stopping"):
            this_process().state = state
            self.webapp.get("/_leakwatch/readyz", status=503)
            self.webapp.get("/_leakwatch/livez", status=200)

    def test_metrics_are_for_managers_and_who_has_the_token(self):
        """Visitors and users learn nothing, not even with the empty token of an instance that has none."""
        for headers in ({}, bearer(""), bearer("no"), {"Authorization": "Bearer"}):
            assert "leakwatch_" not in self.webapp.get(METRICS, headers=headers, status=401).text
        self.login("ada", "ada12345")
        self.webapp.get(METRICS, status=401)
        self.login()
        assert "leakwatch_launcher_up" in self.webapp.get(METRICS, status=200).text

    def test_the_metrics_token_is_compared_whole(self):
        """Neither a beginning of it, nor more than it, nor other schemes; its letters may be any."""
        for token in ("s3cret-tökèn", "x" * 200):
            self.config.global_set_option("leakwatch-metrics-token", token)
            for wrong in (token[:-1], token + "x", token.upper(), "\xff\xfe"):
                self.webapp.get(METRICS, headers=bearer(wrong), status=401)
            self.webapp.get(METRICS, headers={"Authorization": f"Basic {wire(token)}"}, status=401)
            self.webapp.get(f"{METRICS}?token={wire(token)}", status=401)
            assert "leakwatch_launcher_up" in self.webapp.get(METRICS, headers=bearer(token), status=200).text

    def test_the_comparison_of_tokens_takes_constant_time(self):
        """It is hmac's own that compares, and it compares even where no token is set."""
        for token in ("right", None):
            with mock.patch("cubicweb_leakwatch.routes.hmac.compare_digest", return_value=True) as compare:
                assert has_token(Request.blank("/", headers=bearer("wrong")), token) is (token is not None)
            compare.assert_called_once_with(b"wrong", (token or "").encode())

    def test_metrics_come_in_the_format_that_is_asked_for(self):
        """OpenMetrics for who names it, Prometheus' text for all others; nothing is cached."""
        self.login()
        plain = self.webapp.get(METRICS, status=200)
        assert plain.headers["Content-Type"] == PROMETHEUS_TYPE
        assert plain.headers["Cache-Control"] == "no-store"
        asked = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
        told = self.webapp.get(METRICS, headers=asked, status=200)
        assert told.headers["Content-Type"] == OPENMETRICS_TYPE
        assert told.text.endswith("# EOF\n")

    def test_a_manager_has_a_worker_replaced(self):
        """The button reaches the launcher with the process, the reason and who asked, and leads back to the page."""
        self.login()
        answer = self.webapp.post("/leakwatch-restart", {"process": "web-1", "reason": "it grows"}, status=303)
        assert "vid=leakwatch" in answer.location
        (_directory, question), asked = self.launcher.call_args
        assert (question, asked) == ("restart", {"process": "web-1", "reason": "it grows", "by": self.admlogin})

    def test_no_process_means_all(self):
        """An empty process field asks for the replacement of every worker."""
        self.login()
        document = self.webapp.post("/leakwatch-restart", {"process": ""}, headers=JSON, status=200).json
        assert document == {"ok": True, "data": [{"id": "1-000001", "process": "web-1"}]}
        assert self.launcher.call_args.kwargs["process"] is None

    def test_a_refusal_is_a_sentence(self):
        """When no launcher runs, the page and the JSON say so; nothing is a server error."""
        self.launcher.side_effect = LauncherError("no launcher is running", "start leak-serve", "no-launcher")
        self.login()
        document = self.webapp.post("/leakwatch-restart", {}, headers=JSON, status=409).json
        assert document["error"] == {
            "code": "no-launcher",
            "message": "no launcher is running",
            "hint": "start leak-serve",
        }
        page = self.webapp.post("/leakwatch-restart", {}, status=303).follow()
        assert "no launcher is running" in page.text

    def test_a_snapshot_on_request(self):
        """The button records a snapshot of every process, with the note."""
        with mock.patch("cubicweb_leakwatch.recording.collect.Collector") as collector:
            collector.return_value.collect.return_value = {"recorded": ["web-1"], "failures": []}
            self.login()
            document = self.webapp.post("/leakwatch-snapshot", {"note": "now"}, headers=JSON, status=200).json
        collector.return_value.collect.assert_called_once_with("now")
        assert document["data"]["recorded"] == ["web-1"]

    def test_actions_need_the_token(self):
        """A form from elsewhere, without the token, changes nothing."""
        self.login()
        for path in ("/leakwatch-restart", "/leakwatch-snapshot"):
            self.webapp.post(path, {}, do_not_grab_the_crsf_token=True, status=400)
        self.launcher.assert_not_called()

    def test_actions_are_posts(self):
        """A link that is followed changes nothing."""
        self.login()
        for path in ("/leakwatch-restart", "/leakwatch-snapshot"):
            assert self.webapp.get(path, expect_errors=True).status_int in (400, 404)
        self.launcher.assert_not_called()

    def test_others_may_not_act(self):
        """A user who is no manager is refused; so is a visitor, who is sent to log in or refused."""
        for path in ("/leakwatch-restart", "/leakwatch-snapshot"):
            self.webapp.post(path, {}, status=(303, 403))
        self.login("ada", "ada12345")
        for path in ("/leakwatch-restart", "/leakwatch-snapshot"):
            self.webapp.post(path, {}, status=403)
        self.launcher.assert_not_called()

    def test_no_route_of_ours_tells_others_anything(self):
        """Each that there is, by each method: a visitor or user is refused, or led to log in; none is forgotten."""
        ours = [route for route in self.pyramid_config.get_routes_mapper().get_routes() if "leakwatch" in route.name]
        paths = [route.pattern.replace("{form}", "svg") for route in ours if route.pattern not in HEALTH.values()]
        assert len(paths) > 10
        for login in (None, "ada"):
            if login:
                self.login(login, "ada12345")
            for path in paths:
                for method in (self.webapp.get, self.webapp.post):
                    answer = method(path, expect_errors=True)
                    assert answer.status_int in (303, 401, 403, 404, 405), (login, path, answer.status)
                    assert "leakwatch_" not in answer.text
        self.launcher.assert_not_called()

    def test_requests_are_counted_by_what_served_them(self):
        """Views, entity pages and routes are counted apart; names that visitors invent share one count."""
        self.login()
        before = dict(this_process().views)
        paths = ("?vid=index", "cwuser/admin", "_leakwatch/livez", "?vid=made-up", "nowhere/1", "nowhere/2")
        for path in (*paths, "ajax?fname=view&vid=index"):
            self.webapp.get(f"/{path}", expect_errors=True)
        after = this_process().views
        new = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
        assert new == {"?vid=index": 2, "/cwuser": 1, "route leakwatch-livez": 1, "/": 1, "(other)": 2}

    def test_what_a_visitor_sends_breaks_no_count(self):
        """Bytes that are no text are counted like any unknown name."""
        request = Request.blank("/?vid=%ff%fe")
        assert served_by(request, self.vreg) == "(other)"
        assert served_by(Request.blank("/%ff%fe"), self.vreg) == "(other)"


def test_the_action_errors_are_leakwatch_errors():
    """What the launcher's client raises is what the routes turn into a sentence."""
    assert issubclass(LauncherError, LeakwatchError)
