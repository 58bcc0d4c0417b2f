"""Commands that read or write the instance's records, on a real schema."""

import contextlib
import io
import json
import os
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from cube_data import HOST, measured, sample
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch.commands import leak_collect, leak_findings, leak_history, leak_purge
from cubicweb_leakwatch.commands.leak_collect import LeakCollect
from cubicweb_leakwatch.commands.leak_findings import LeakFindings
from cubicweb_leakwatch.commands.leak_history import LeakHistory
from cubicweb_leakwatch.commands.leak_purge import LeakPurge
from cubicweb_leakwatch.recording import records

DAY_S = 86400.0


class RecordedTC(CubicWebTC):
    def setUp(self):
        """An instance on disk whose repository is the test's."""
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        (Path(folder.name) / "site").mkdir()
        self.patch(mock.patch.dict(os.environ, {"CW_INSTANCES_DIR": folder.name, "CW_RUNTIME_DIR": folder.name}))
        for module in (leak_purge, leak_findings, leak_history, leak_collect):
            self.patch(mock.patch.object(module, "connection", self.connection))

    def patch(self, patch):
        """Patch until the end of the test."""
        patch.start()
        self.addCleanup(patch.stop)

    @contextlib.contextmanager
    def connection(self, _instance):
        """Stand in for opening the repository."""
        with self.repo.internal_cnx() as cnx:
            yield cnx

    def record(self, *ages_s):
        """Record a snapshot of one process at each age."""
        now = time.time()
        with self.repo.internal_cnx() as cnx:
            records.record_measured(cnx, measured(*(sample(now - age) for age in ages_s)))
            cnx.commit()

    def snapshots(self):
        """Return how many there are."""
        with self.repo.internal_cnx() as cnx:
            return cnx.execute("Any COUNT(S) WHERE S is MemorySnapshot").rows[0][0]

    def run_command(self, command, *words):
        """Run a command; return its exit code and what it printed."""
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(io.StringIO()):
            code = command(None).main_run(["site", *words])
        return code, out.getvalue()

    def test_purge_says_what_would_go_and_leaves_it(self):
        """A dry run changes nothing."""
        self.record(40 * DAY_S, 10.0)
        assert self.run_command(LeakPurge, "--keep", "30d", "--dry-run") == (
            0,
            "1 of 2 snapshots would go, older than 30 d\n",
        )
        assert self.snapshots() == 2

    def test_purge_drops_what_is_older(self):
        """And keeps the rest."""
        self.record(40 * DAY_S, 35 * DAY_S, 10.0)
        code, out = self.run_command(LeakPurge, "--keep", "30d", "--json")
        assert code == 0
        assert json.loads(out)["data"] == {"snapshots": 3, "gone": 2, "dry_run": False}
        assert self.snapshots() == 1

    def test_history_reads_what_was_recorded(self):
        """The samples of the time asked for, oldest first."""
        self.record(7200.0, 60.0, 10.0)
        code, out = self.run_command(LeakHistory, "--since", "1h", "--json")
        samples = json.loads(out)["data"]
        assert code == 0
        assert len(samples) == 2
        assert samples[0]["t"] < samples[1]["t"]
        assert {item["host"] for item in samples} == {HOST}

    def test_recorded_findings_have_the_documented_shape(self):
        """JSON texts become lists again, times ISO 8601."""
        with self.repo.internal_cnx() as cnx:
            cnx.create_entity(
                "LeakFinding",
                host=HOST,
                process="web-1",
                kind="native",
                leak=True,
                opened_at=records.utc(1_700_000_000.0),
                culprits=json.dumps([{"type": "a.B", "objects_per_h": 1.0, "bytes_per_h": None}]),
            )
            cnx.commit()
        code, out = self.run_command(LeakFindings, "--all", "--json")
        (finding,) = json.loads(out)["data"]
        assert code == 0
        assert finding["opened_at"] == "2023-11-14T22:13:20.000Z"
        assert finding["closed_at"] is None
        assert finding["culprits"][0]["type"] == "a.B"
        assert finding["evidence"] == {}

    def test_a_round_without_any_process_records_nothing(self):
        """leak-collect --once says so."""
        assert self.run_command(LeakCollect, "--once") == (0, "recorded: no process answers\n")
        assert self.snapshots() == 0
