"""Long stretches of history at the resolution of a chart."""

import pytest
from cube_data import NOON, measured, sample
from cubicweb.devtools.apptest_config import PostgresApptestConfiguration
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch.recording import keeping
from cubicweb_leakwatch.recording.coarse import read_coarse_samples
from cubicweb_leakwatch.recording.records import record_measured
from cubicweb_leakwatch.watch.thinning import DAY_S, parse_keep

MIB = 1024**2
HOUR_S = 3600


class CoarseTC(CubicWebTC):
    def write(self, act):
        """Act in a transaction of its own."""
        with self.repo.internal_cnx() as cnx:
            result = act(cnx)
            cnx.commit()
        return result

    def record(self, *samples, **of):
        """Record these samples of one process."""
        self.write(lambda cnx: record_measured(cnx, measured(*samples, **of)))

    def coarse(self, points=2, until=NOON + 2 * HOUR_S, **wanted):
        """Return the coarse samples of two hours."""
        return self.write(lambda cnx: read_coarse_samples(cnx, NOON, until, points, **wanted))

    def test_a_slice_is_the_mean_with_its_spread(self):
        """Each slice of time gives one sample of each process: mean, lowest, highest, of how many."""
        self.record(*(sample(NOON + 60 * i, rss=(100 + i) * MIB) for i in range(1, 120)))
        self.record(sample(NOON + 90, rss=7 * MIB), name="scheduler", pid=5)
        web = self.coarse(process="web-1")
        assert [row["merged"] for row in web] == [59, 60]
        assert [row["rss"] for row in web] == [130 * MIB, 189.5 * MIB]
        assert web[0]["spread"]["rss"] == [101 * MIB, 159 * MIB]
        assert [row["process"] for row in self.coarse()] == ["scheduler", "web-1", "web-1"]

    def test_other_numbers_are_those_of_the_last(self):
        """Counts that only rise are not averaged; what is not known is left out."""
        self.record(*(sample(NOON + 60 * i, requests=10 * i) for i in (1, 2, 3)))
        (row,) = self.coarse()
        assert (row["requests"], row["t"]) == (30, NOON + 180)
        assert "pss" not in row

    def test_peaks_of_thinned_snapshots_are_kept(self):
        """The peak of an hour that was thinned to one row is still the highest of its slice."""
        self.record(*(sample(NOON + 60 * i, rss=rss * MIB) for i, rss in enumerate((100, 100, 400, 100), start=1)))
        keep = parse_keep("fine=1d,hourly=10d,daily=30d")
        keeping.thin_all(self.write, keep, NOON + 3 * DAY_S)
        (row,) = self.coarse()
        assert (row["rss"], row["merged"]) == (175 * MIB, 4)
        assert row["spread"]["rss"] == [100 * MIB, 400 * MIB]

    def test_a_note_is_not_lost(self):
        """What someone wrote beside a snapshot stands beside its slice, and only there."""
        self.write(lambda cnx: record_measured(cnx, measured(sample(NOON + 60)), "before the fix"))
        self.record(sample(NOON + 60), sample(NOON + 120), sample(NOON + 4000))
        assert [row.get("note") for row in self.coarse()] == ["before the fix", None]

    def test_lives_are_not_mixed(self):
        """A process and its successor in one slice of time stay two samples."""
        self.record(sample(NOON + 60, rss=400 * MIB))
        self.record(sample(NOON + 120, rss=80 * MIB), pid=4712, started_at=NOON + 61)
        assert [(row["pid"], row["rss"] // MIB) for row in self.coarse(points=1)] == [(4711, 400), (4712, 80)]

    def test_a_process_is_named_as_everywhere(self):
        """By its slot, its pid, or its slot with the host; nothing an asker writes becomes SQL."""
        self.record(sample(NOON + 60))
        for name in ("web-1", "4711", "host-a:web-1"):
            assert len(self.coarse(process=name)) == 1
        for name in ("web-2", "host-b:web-1", "' OR 1=1 --", "%(since)s"):
            assert self.coarse(process=name) == []


@pytest.mark.timeout(300)  # the first one starts the cluster
@pytest.mark.usefixtures("postgres")
class CoarseOnPostgresTC(CoarseTC):
    """All of the above on PostgreSQL."""

    configcls = PostgresApptestConfiguration
