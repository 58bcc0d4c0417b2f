"""Thinning: what is old becomes coarse, and no peak, note or end is lost by it."""

from datetime import UTC, datetime

import pytest
from cube_data import HOST, NOON, measured, sample
from cubicweb.devtools.apptest_config import PostgresApptestConfiguration
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch.recording import history, keeping
from cubicweb_leakwatch.recording.records import forget, record_ends, record_measured
from cubicweb_leakwatch.watch.thinning import DAY_S, HOUR_S, parse_keep

KEEP = parse_keep("fine=1d,hourly=10d,daily=30d")
MIB = 1024**2


class ThinningTC(CubicWebTC):
    def record(self, *samples, note=None, **of):
        """Record these samples of one process."""
        with self.repo.internal_cnx() as cnx:
            created = record_measured(cnx, measured(*samples, **of), note)
            cnx.commit()
        forget(self.repo, created)

    def thin(self, now, **limits):
        """Thin as the task does."""

        def write(act):
            with self.repo.internal_cnx() as cnx:
                result = act(cnx)
                cnx.commit()
            return result

        return keeping.thin_all(write, KEEP, now, **limits).gone

    def recorded(self, read=history.read_samples):
        """Return what is recorded."""
        with self.repo.internal_cnx() as cnx:
            return read(cnx, 0, NOON + 1000 * DAY_S)

    def test_an_hour_becomes_one_snapshot_with_its_peak(self):
        """Mean, lowest and highest of the hour stay; what is recent stays as it is."""
        self.record(*(sample(NOON + 60 * i, rss=rss * MIB) for i, rss in enumerate((100, 100, 400, 100))))
        self.record(sample(NOON + 2 * DAY_S))
        assert self.thin(NOON + 2 * DAY_S) == 3
        merged, recent = self.recorded()
        assert merged["rss"] == 175 * MIB
        assert merged["spread"]["rss"] == [100 * MIB, 400 * MIB]
        assert (merged["merged"], "merged" in recent) == (4, False)

    def test_thinning_again_does_nothing(self):
        """A second run finds nothing to do."""
        self.record(*(sample(NOON + 60 * i) for i in range(5)))
        assert self.thin(NOON + 3 * DAY_S) == 4
        assert self.thin(NOON + 3 * DAY_S) == 0

    def test_hours_become_days_and_keep_their_peaks(self):
        """A day's row has the peak of its hours, and stands for all that they stood for."""
        for hour, rss in enumerate((100, 300, 200)):
            start = NOON + hour * HOUR_S
            self.record(sample(start, rss=rss * MIB), sample(start + 60, rss=(rss + 20) * MIB))
        self.thin(NOON + 3 * DAY_S)
        assert len(self.recorded()) == 3
        self.thin(NOON + 15 * DAY_S)
        (day,) = self.recorded()
        assert day["merged"] == 6
        assert day["spread"]["rss"] == [100 * MIB, 320 * MIB]
        assert day["rss"] == 210 * MIB

    def test_nothing_is_merged_across_a_restart(self):
        """Two processes of one slot in one hour stay two rows."""
        self.record(sample(NOON + 60), sample(NOON + 120))
        self.record(sample(NOON + 700), sample(NOON + 760), pid=4712, started_at=NOON + 650)
        self.thin(NOON + 2 * DAY_S)
        assert [row["pid"] for row in self.recorded()] == [4711, 4712]

    def test_a_long_work_is_done_in_pieces(self):
        """Thinning stops when its time is over, and goes on the next time where it stopped."""
        for hour in range(3):
            self.record(*(sample(NOON + hour * HOUR_S + 60 * i) for i in range(4)))
        assert [self.thin(NOON + 2 * DAY_S, time_s=0) for _piece in range(4)] == [3, 3, 3, 0]

    def test_thinning_fills_no_cache(self):
        """Neither the repository's cache of queries nor its map of entities grows with what is thinned."""
        for hour in range(6):
            self.record(*(sample(NOON + hour * HOUR_S + 60 * i, types={"a": 1}) for i in range(4)))
        self.thin(NOON + 2 * DAY_S - 4 * HOUR_S)
        queries = len(self.repo.querier.rql_cache)
        self.thin(NOON + 2 * DAY_S)
        assert len(self.recorded()) == 6
        assert len(self.repo.querier.rql_cache) - queries <= 1
        assert "MemorySnapshot" not in self.repo._type_cache.values()

    def test_what_carries_a_note_stays(self):
        """A snapshot that someone asked for, and wrote a note beside, is never merged."""
        self.record(sample(NOON + 60))
        self.record(sample(NOON + 120), note="before the deployment")
        self.record(sample(NOON + 180))
        self.thin(NOON + 3 * DAY_S)
        assert [row.get("note") for row in self.recorded()] == [None, "before the deployment"]

    def test_past_a_day_one_snapshot_an_hour_keeps_its_types(self):
        """Types fill the database: the fine snapshots of earlier days keep their numbers, and types once an hour."""
        old = [sample(NOON + 600 * i, types={"dict": i + 1}) for i in range(12)]
        self.record(*old, sample(NOON + DAY_S, types={"dict": 99}), sample(NOON + DAY_S + 60, types={"dict": 100}))
        keep = parse_keep("fine=7d,daily=30d")
        with self.repo.internal_cnx() as cnx:
            for _again in range(2):
                keeping.thin_all(lambda act: act(cnx), keep, NOON + DAY_S + 12 * HOUR_S)
            cnx.commit()
            found = history.read_samples(cnx, 0, NOON + 10 * DAY_S, types=True)
        assert [(row["types"]["dict"]) for row in found if "types" in row] == [1, 7, 99, 100]
        assert len(found) == 14

    def test_the_oldest_go_and_their_processes_too(self):
        """Past the last level the snapshots go, then the processes that ended; one that lives stays."""
        self.record(sample(NOON + 60))
        self.record(sample(NOON + 60), pid=5, name="scheduler")
        with self.repo.internal_cnx() as cnx:
            record_ends(cnx, HOST, present=[5])
            cnx.commit()
        assert self.thin(NOON + 31 * DAY_S) == 2
        assert self.recorded() == []
        assert [process["pid"] for process in self.recorded(history.read_processes)] == [5]


@pytest.mark.timeout(300)  # the first one starts the cluster
@pytest.mark.usefixtures("postgres")
class ThinningOnPostgresTC(ThinningTC):
    """All of the above on PostgreSQL."""

    configcls = PostgresApptestConfiguration


@pytest.mark.parametrize("text", [
    "2026-11-23 04:05:06", "2026-11-23 04:05:06.123456",
    "2026-11-23 04:05:06+00", "2026-11-23 04:05:06.123+00", "2026-11-23 04:05:06.12+05:30",
])  # fmt: skip
def test_the_times_of_both_databases_are_told_alike(text):
    """SQLite writes UTC without a zone, PostgreSQL the zone of the connection, and both as few digits as they need."""
    moment = datetime.fromisoformat(text)
    assert history._iso_text(text) == history.iso(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
