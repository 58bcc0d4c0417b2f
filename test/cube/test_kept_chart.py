"""The chart's file: what it gives is what the database has, whatever came, went or was broken meanwhile."""

import json
import stat
import tempfile
import time
from pathlib import Path
from unittest import mock

import pytest
from cube_data import measured, sample
from cubicweb.devtools.apptest_config import PostgresApptestConfiguration
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch.recording import keeping, kept_chart
from cubicweb_leakwatch.recording.coarse import read_slices, told
from cubicweb_leakwatch.recording.records import record_measured
from cubicweb_leakwatch.recording.tracks import samples_of
from cubicweb_leakwatch.watch.thinning import DAY_S, parse_keep

MIB = 1024**2
WIDTH_S = 7200
"""Of a chart of thirty days."""


class KeptChartTC(CubicWebTC):
    def setUp(self):
        """A folder for the files; the moment that counts as now, at the middle of a slice."""
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.directory = Path(folder.name)
        self.now = (time.time() // WIDTH_S) * WIDTH_S - WIDTH_S / 2

    def write(self, act):
        """Act in a transaction of its own."""
        with self.repo.internal_cnx() as cnx:
            result = act(cnx)
            cnx.commit()
        return result

    def record(self, *ages_s, rss=100 * MIB, note=None, **of):
        """Record samples of one process, taken so many seconds ago."""
        taken = [sample(self.now - age, rss=rss + round(age)) for age in sorted(ages_s, reverse=True)]
        self.write(lambda cnx: record_measured(cnx, measured(*taken, started_at=self.now - 40 * DAY_S, **of), note))

    def chart(self, **changes):
        """Return the chart of thirty days, by way of the file."""
        asked = {"since": self.now - 30 * DAY_S, "until": self.now, **changes}
        with mock.patch.object(kept_chart.time, "time", return_value=self.now):
            return samples_of(self.write(lambda cnx: kept_chart.chart_tracks(cnx, self.directory, points=360, **asked)))

    def true_chart(self):
        """Return the same from the database alone."""
        first = int((self.now - 29.5 * DAY_S) // WIDTH_S) * WIDTH_S
        slices = self.write(lambda cnx: read_slices(cnx, first, self.now, WIDTH_S))
        return sorted((told(row) for row in slices.values()), key=lambda row: (row["t"], row["process"]))

    def check(self):
        """The file gives what the database has, twice in a row."""
        for _time in range(2):
            assert sorted(self.chart(), key=lambda row: (row["t"], row["process"])) == self.true_chart()

    def test_what_comes_is_there(self):
        """A minute later, a day later, a second process: nothing is missing, nothing is counted twice."""
        self.record(29.5 * DAY_S, 20 * DAY_S, 19.99 * DAY_S, note="before the fix")
        self.check()
        self.record(60)
        self.record(3 * DAY_S, 90, 60, name="scheduler", pid=5)
        self.check()
        self.now += DAY_S
        self.record(30)
        assert self.chart()[-1]["t"] == self.now - 30
        assert [row["note"] for row in self.chart() if "note" in row] == ["before the fix"]

    def test_what_comes_late_is_there(self):
        """A host that could not reach the database writes what it measured hours ago."""
        self.record(29.5 * DAY_S, 60)
        self.check()
        self.record(*(5 * DAY_S + 60 * minute for minute in range(90)), pid=5, name="web-2")
        self.check()

    def test_a_clock_that_is_ahead_is_believed_when_its_time_has_come(self):
        """What it recorded is not told before, and not forgotten."""
        self.record(29.5 * DAY_S, 60, -5 * 3600)
        assert max(row["t"] for row in self.chart()) <= self.now
        self.now += 6 * 3600
        assert self.chart()[-1]["t"] == self.now - 3600

    def test_what_was_thinned_keeps_its_peaks(self):
        """An hour that becomes one row is drawn as before."""
        self.record(29.5 * DAY_S, *(20 * DAY_S + 60 * minute for minute in range(40)), 60)
        before = self.chart()
        keeping.thin_all(self.write, parse_keep("fine=1d,hourly=40d,daily=90d"), self.now)
        assert [row["rss"] for row in self.chart()] == [row["rss"] for row in before]

    def test_another_database_is_not_mixed_in(self):
        """After a restore the file is made anew: the snapshot that it ends with is not there, or is another."""
        self.record(29.5 * DAY_S, 60)
        self.chart()
        (path,) = self.directory.glob("chart-*.json")
        document = json.loads(path.read_text())
        for last in ([document["last"][0], 1.0], [10**9, document["last"][1]]):
            document["last"], document["tracks"] = last, []
            path.write_text(json.dumps(document))
            self.check()

    def test_a_broken_file_is_made_anew(self):
        """Cut off, of another version, not JSON, a folder: the chart is drawn all the same."""
        self.record(29.5 * DAY_S, 60)
        self.chart()
        (path,) = self.directory.glob("chart-*.json")
        whole = path.read_text()
        for broken in (whole[:100], "", "[]", "null", whole.replace('"format": 2', '"format": 1'), '{"format": 2}',
                       whole.replace('"columns": ["', '"columns": ["AAAA'), "\x00\xff"):  # fmt: skip
            path.write_text(broken)
            self.check()
            assert path.read_text() == whole
        path.unlink()
        path.mkdir()
        self.check()

    def test_it_is_private_and_bounded(self):
        """For the instance's user alone; the looping task keeps three, none of which outgrows its time."""
        self.record(*(DAY_S * day for day in range(29)), 60)
        with mock.patch.object(kept_chart.time, "time", return_value=self.now):
            self.write(lambda cnx: kept_chart.refresh(cnx, self.directory))
        files = sorted(self.directory.iterdir())
        assert 1 <= len(files) <= 3
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        self.now += 100 * DAY_S
        self.record(60)
        self.chart()
        assert max(len(path.read_text()) for path in files if "7200" not in path.name) < 20_000
        assert len(self.chart()) == 1

    def test_without_a_runtime_directory_it_is_drawn(self):
        """Every visitor then reads it all."""
        self.record(29.5 * DAY_S, 60)
        self.directory /= "gone"
        assert len(self.chart()) == 2


@pytest.mark.timeout(300)  # the first one starts the cluster
@pytest.mark.usefixtures("postgres")
class KeptChartOnPostgresTC(KeptChartTC):
    """All of the above on PostgreSQL."""

    configcls = PostgresApptestConfiguration
