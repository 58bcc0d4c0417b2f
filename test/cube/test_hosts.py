"""What keeps several hosts from harming one another: wishes, clocks, budgets."""

import datetime
import json
import tempfile
import time
from pathlib import Path
from unittest import mock

import pytest
from cube_data import HOST, NOON, measured, restart, sample
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.recording import requests
from cubicweb_leakwatch.recording.elsewhere import FILE, SILENT_S, STALE_S, Elsewhere, read_elsewhere
from cubicweb_leakwatch.recording.records import budget_spent_s, record_ends, record_measured, record_restarts
from cubicweb_leakwatch.recording.shared import Turn
from cubicweb_leakwatch.serve.control import LauncherError

ASK = "cubicweb_leakwatch.recording.requests.ask_launcher"
KNOWN = [("beta", "web-1")]


def test_the_lock_is_taken_by_a_session_that_notices_the_end_of_its_host() -> None:
    """At rest by keepalives, while an answer is on its way by a limit of its own; both are set before it is taken."""
    repo = mock.MagicMock()
    asked = repo.internal_cnx.return_value.__enter__.return_value.system_sql
    asked.return_value.fetchone.return_value = (True,)
    assert Turn(repo).take()
    statements = [call.args[0] for call in asked.call_args_list]
    words = ("_idle", "_interval", "_count", "_user_timeout", "pg_try_advisory_lock")
    assert [word for word, statement in zip(words, statements, strict=True) if word not in statement] == []


class HostsTC(CubicWebTC):
    def setUp(self):
        """A runtime directory, and an internal connection."""
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.directory = Path(folder.name)
        self.cnx = self.enterContext(self.repo.internal_cnx())

    def test_a_wish_is_taken_up_once(self):
        """By the host that it is for, with who asked and why; a second look finds nothing to do."""
        (wish,) = requests.ask(self.cnx, KNOWN, "beta:web-1", "it grows", "ada")
        assert requests.take_up(self.cnx, "alpha", self.directory) == 0
        with mock.patch(ASK, return_value={"requested": [{"id": "1-000007", "process": "web-1"}]}) as ask:
            assert requests.take_up(self.cnx, "beta", self.directory) == 1
            assert requests.take_up(self.cnx, "beta", self.directory) == 0
        ask.assert_called_once_with(str(self.directory), "restart", process="web-1", reason="it grows", by="ada")
        assert requests.progress(self.cnx, wish["id"])["stage"] == "taken up"
        record_restarts(self.cnx, "beta", [restart(7, id="1-000007")])
        assert requests.progress(self.cnx, wish["id"])["outcome"] == "replaced"

    def test_a_wish_that_is_refused_says_why(self):
        """What the other host's launcher answers reaches who asked."""
        (wish,) = requests.ask(self.cnx, KNOWN, "beta:web-1", "", "ada")
        with mock.patch(ASK, side_effect=LauncherError("no launcher is running", code="no-launcher")):
            requests.take_up(self.cnx, "beta", self.directory)
        told = requests.progress(self.cnx, wish["id"])
        assert (told["stage"], told["outcome"], told["detail"]) == ("done", "refused", "no launcher is running")

    def test_an_old_wish_is_void(self):
        """A host that comes back does not act on what was wished while it was away; who asked is told."""
        (wish,) = requests.ask(self.cnx, KNOWN, "beta:web-1", "", "ada")
        later = time.time() + requests.VALID_S + 1
        with mock.patch("cubicweb_leakwatch.recording.requests.database_now", return_value=later):
            assert requests.take_up(self.cnx, "beta", self.directory) == 0
            assert requests.progress(self.cnx, wish["id"])["outcome"] == "not-taken"

    def test_the_button_writes_the_wish_down(self):
        """What a manager asks of another host's process waits for that host; one that nobody knows is refused."""
        record_measured(self.cnx, measured(sample()))
        self.cnx.commit()
        with self.admin_access.cnx() as cnx:
            cnx.call_service("leakwatch_restart", process=f"{HOST}:web-1", reason="it grows")
            with pytest.raises(ConfigurationError):
                cnx.call_service("leakwatch_restart", process=f"{HOST}:web-9")
        rql = "Any H, P, R, B WHERE X is RestartRequest, X host H, X process P, X reason R, X asked_by B"
        assert self.cnx.execute(rql).rows == [[HOST, "web-1", "it grows", "admin"]]

    def test_a_wish_for_nobody_is_refused_at_once(self):
        """With those that there are."""
        with pytest.raises(ConfigurationError) as caught:
            requests.ask(self.cnx, KNOWN, "gamma:web-1", "", "ada")
        assert caught.value.hint == "there are: beta:web-1"

    def test_a_process_that_was_taken_for_ended_lives_again(self):
        """A host whose clock is a day ahead may close another's processes; their next sample takes that back."""
        record_measured(self.cnx, measured(sample(t=NOON + 60)))
        record_ends(self.cnx, HOST, [])
        record_measured(self.cnx, measured(sample(t=NOON + 120)))
        assert self.cnx.execute("Any E, R WHERE P is LeakwatchProcess, P ended_at E, P end_reason R").rows == [
            [None, None]
        ]

    def test_the_budget_goes_by_the_databases_clock(self):
        """A restart whose host believes it is next year counts now; one by hand, or that failed, does not."""
        ahead = NOON + 365 * 86400
        for number, changes in enumerate(({"by": "worker"}, {"by": "policy", "t": ahead}, {"by": "ada"})):
            record_restarts(self.cnx, HOST, [restart(number, **changes)])
        record_restarts(self.cnx, HOST, [restart(9, by="worker", outcome="successor-failed")])
        assert 3590.0 < budget_spent_s(self.cnx, 2, 3600.0) <= 3600.0
        assert budget_spent_s(self.cnx, 3, 3600.0) == 0.0
        assert budget_spent_s(self.cnx, 1, -1.0) == 0.0

    def test_the_others_are_told_as_they_were_recorded(self):
        """With their limit and what their own host concluded; ours are not among them."""
        other = measured(sample(t=NOON + 600, rss=7, requests=3))
        record_measured(self.cnx, other)
        self.cnx.create_entity(
            "LeakFinding",
            host=HOST,
            process="web-1",
            kind="native",
            leak=True,
            rate_bytes_per_h=5.0,
            culprits=json.dumps([{"type": "a.B", "objects_per_h": 1.0, "bytes_per_h": None}]),
            opened_at=datetime.datetime.fromtimestamp(NOON, datetime.UTC),
        )
        assert Elsewhere(HOST, self.directory).update(self.cnx) == []
        (row,) = Elsewhere("alpha", self.directory).update(self.cnx)
        assert (row["name"], row["rss"], row["age_s"], row["limit"]) == (f"{HOST}:web-1", 7, 600.0, None)
        assert (row["verdict"], row["leak"], row["culprits"]) == ("native", True, ["a.B"])
        assert read_elsewhere(self.directory) == [row]

    def test_a_process_of_which_nothing_comes_any_more_is_told_no_more(self):
        """Whatever the clocks say: what counts is that this host sees new snapshots arrive."""
        follower = Elsewhere("alpha", self.directory)
        record_measured(self.cnx, measured(sample(t=NOON + 60)))
        with mock.patch("cubicweb_leakwatch.recording.elsewhere.time.monotonic") as now:
            now.return_value = 0.0
            assert len(follower.update(self.cnx)) == 1
            now.return_value = STALE_S + 1
            assert follower.update(self.cnx) == []
            record_measured(self.cnx, measured(sample(t=NOON + 120)))
            assert len(follower.update(self.cnx)) == 1

    def test_a_host_that_died_is_soon_called_silent(self):
        """After three intervals, two minutes at least: it is not known to serve."""
        followers = [Elsewhere("alpha", self.directory, interval_s) for interval_s in (5.0, 600.0)]
        record_measured(self.cnx, measured(sample(t=NOON + 60)))
        with mock.patch("cubicweb_leakwatch.recording.elsewhere.time.monotonic") as now:
            states = []
            for now.return_value in (0.0, SILENT_S - 1, SILENT_S, 1800.0):
                states.append([row["silent"] for follower in followers for row in follower.update(self.cnx)])
        assert states == [[False, False], [False, False], [True, False], [True]]

    def test_a_damaged_file_about_them_tells_of_nobody(self):
        """Whatever is in it: a number that no float holds, a thousand brackets."""
        for text in ("{", "[]", '{"t": 1' + "0" * 400 + ', "processes": []}', "[" * 100_000):
            (self.directory / FILE).write_text(text)
            assert read_elsewhere(self.directory) == []
