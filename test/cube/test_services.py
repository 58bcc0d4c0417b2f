"""The services: what each gives, and that only managers get it."""

import inspect
import os
import tempfile
from unittest import mock

from cube_data import HOST, NOON, measured, restart, sample
from cubicweb import NoSelectableObject, Unauthorized
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch import live, sobjects
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.recording.records import record_measured, record_restarts

OURS = [
    each
    for each in vars(sobjects).values()
    if inspect.isclass(each) and issubclass(each, sobjects.ManagersService) and each is not sobjects.ManagersService
]
REPORT = {"process": {"name": "web-1", "pid": 1}, "taken_at": "2026-11-22T12:00:00Z"}


class ServicesTC(CubicWebTC):
    def setUp(self):
        """A runtime directory in which no process answers."""
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        patch = mock.patch.dict(os.environ, {"CW_RUNTIME_DIR": folder.name})
        patch.start()
        self.addCleanup(patch.stop)

    def setup_database(self):
        """One user who is no manager; a process with two snapshots and a restart."""
        with self.admin_access.cnx() as cnx:
            self.create_user(cnx, "ada", groups=("users",))
            cnx.commit()
        with self.repo.internal_cnx() as cnx:
            web = measured(
                sample(NOON + 60, types={"dict": 5}), sample(NOON + 120), versions={"cubicweb": "5.0.1"}, generation=2
            )
            record_measured(cnx, web)
            later = measured(
                sample(NOON + 700), pid=4712, started_at=NOON + 602, versions={"cubicweb": "5.0.2"}, generation=3
            )
            record_measured(cnx, later)
            record_restarts(cnx, HOST, [restart()])
            cnx.commit()

    def call(self, name, login="admin", **parameters):
        """Call a service as someone."""
        with self.new_access(login).cnx() as cnx:
            return cnx.call_service(name, **parameters)

    def test_others_find_no_service(self):
        """To a user who is no manager, and to a visitor, none of our services exists."""
        for login in ("ada", "anon"):
            for service in OURS:
                with self.assertRaises(NoSelectableObject):
                    self.call(service.__regid__, login)

    def test_others_are_refused_even_without_the_selector(self):
        """A caller that builds the service itself, and so skips its selector, is refused by the service."""
        with self.new_access("ada").cnx() as cnx:
            for service in OURS:
                with self.assertRaises(Unauthorized):
                    service(cnx).call()

    def test_there_are_services_to_test(self):
        """Every service of the cube is one for managers."""
        registered = {name for name in self.vreg["services"] if name.startswith("leakwatch")}
        assert registered == {service.__regid__ for service in OURS}
        assert len(registered) >= 7

    def test_history(self):
        """Samples in their time, each with its process; restarts and events beside them."""
        found = self.call("leakwatch_history", since=NOON, until=NOON + 3600)
        assert [row["t"] - NOON for row in found["samples"]] == [60, 120, 700]
        assert [row["host"] for row in found["samples"]] == [HOST] * 3
        assert "types" not in found["samples"][0]
        assert [row["outcome"] for row in found["restarts"]] == ["replaced"]
        assert [(event["kind"], event["text"]) for event in found["events"]] == [
            ("start", "pid 4711"),
            ("restart", "replaced: memory limit"),
            ("start", "pid 4712"),
            ("deployment", "cubicweb 5.0.1 → 5.0.2"),
        ]

    def test_history_of_one_process_with_types(self):
        """A slot, a pid, or a slot with its host names a process; types come when they are asked for."""
        for name in ("web-1", f"{HOST}:web-1"):
            assert len(self.call("leakwatch_history", since=NOON, until=NOON + 3600, process=name)["samples"]) == 3
        found = self.call("leakwatch_history", since=NOON, until=NOON + 3600, process="4711", types=True)
        assert [row.get("types") for row in found["samples"]] == [{"dict": 5}, None]
        for name in ("web-2", "elsewhere:web-1", "1"):
            nothing = self.call("leakwatch_history", since=NOON, until=NOON + 3600, process=name)
            assert (nothing["samples"], nothing["restarts"], nothing["processes"]) == ([], [], [])

    def test_history_keeps_to_its_time(self):
        """Nothing from before or after what was asked for; both ends belong to it."""
        found = self.call("leakwatch_history", since=NOON + 120, until=NOON + 699)
        assert [row["t"] - NOON for row in found["samples"]] == [120]
        assert [event["kind"] for event in found["events"]] == ["restart", "start", "deployment"]

    def test_a_fresh_report_is_given_again(self):
        """Within its freshness a report costs the process nothing; after that a new look is taken."""
        with (
            mock.patch("cubicweb_leakwatch.reports.last_reports", return_value=[REPORT]),
            mock.patch("cubicweb_leakwatch.reports.age_s", side_effect=[9.0, 11.0]),
            mock.patch("cubicweb_leakwatch.reports.new_reports", return_value=live.Look(["new"])) as new,
        ):
            assert self.call("leakwatch_gc", process="web-1") == [REPORT]
            new.assert_not_called()
            assert self.call("leakwatch_gc", process="web-1") == ["new"]

    def test_without_a_look_only_what_is_kept(self):
        """A page can show the last reports without touching any process."""
        with mock.patch("cubicweb_leakwatch.reports.new_reports") as new:
            assert self.call("leakwatch_gc", look=False) == []
        new.assert_not_called()

    def test_nobody_answers(self):
        """Where nothing runs, the services say so in one sentence."""
        for name in ("leakwatch_processes", "leakwatch_gc", "leakwatch_types", "leakwatch_restart"):
            with self.assertRaises(LeakwatchError) as caught:
                self.call(name)
            assert caught.exception.code in ("no-probe", "no-launcher"), name

    def test_a_snapshot_of_nobody(self):
        """A snapshot where no process answers records none, and is no error."""
        assert self.call("leakwatch_snapshot", note="x") == {"recorded": [], "failures": []}
