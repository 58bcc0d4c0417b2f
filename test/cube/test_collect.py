"""What the looping task records, and what it does when something is away."""

import contextlib
import dataclasses
import gc
import itertools
import os
import sys
import tempfile
import threading
from pathlib import Path
from unittest import mock

import psycopg2
import pytest
from cube_data import HOST, NOON, measured, measurement, restart, sample, write_journal
from cubicweb.devtools.apptest_config import PostgresApptestConfiguration
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.recording import history, records
from cubicweb_leakwatch.recording.collect import Collector
from cubicweb_leakwatch.settings import read_settings


class FakeMeter:
    """Gives the rounds it was made with, one after the other."""

    def __init__(self, *rounds):
        self.rounds = list(rounds)

    def measure(self):
        """Return the next round."""
        return self.rounds.pop(0)


class CollectTC(CubicWebTC):
    def setUp(self):
        """A runtime directory of its own."""
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        patch = mock.patch.dict(os.environ, {"CW_RUNTIME_DIR": folder.name})
        patch.start()
        self.addCleanup(patch.stop)
        self.directory = Path(folder.name) / "leakwatch"

    def collector(self, *rounds):
        """Return a collector that will find these rounds."""
        collector = Collector(self.repo, read_settings(self.config), host=HOST)
        collector.meter = FakeMeter(*rounds)
        return collector

    def recorded(self, read, **wanted):
        """Return what is recorded of the test's days."""
        with self.repo.internal_cnx() as cnx:
            return read(cnx, 0, NOON + 10 * 86400, **wanted)

    def test_a_snapshot_of_every_process(self):
        """One round records each process once, and each round a snapshot of each."""
        first = measurement(measured(sample(types={"dict": 9}, views={"?vid=x": 2})), measured(name="scheduler", pid=5))
        second = measurement(measured(sample(NOON + 120)), measured(sample(NOON + 121), name="scheduler", pid=5))
        collector = self.collector(first, second)
        assert collector.collect() == {"recorded": ["web-1", "scheduler"], "failures": []}
        collector.collect()
        samples = self.recorded(history.read_samples, types=True)
        assert [(s["process"], s["t"] - NOON) for s in samples if s["pid"] == 4711] == [("web-1", 60), ("web-1", 120)]
        assert [s["t"] - NOON for s in samples if s["process"] == "scheduler"] == [60, 121]
        assert (samples[0]["types"], samples[0]["views"]) == ({"dict": 9}, {"?vid=x": 2})
        assert len(self.recorded(history.read_processes)) == 2

    def test_unknown_is_not_zero(self):
        """A number that a process cannot tell is left out, not recorded as 0."""
        self.collector(measurement(measured(sample(malloc_used=None, garbage=0)))).collect()
        (row,) = self.recorded(history.read_samples)
        assert row["garbage"] == 0
        assert "malloc_used" not in row

    def test_nothing_is_recorded_twice(self):
        """A second collector that finds the same samples, with more of the past, adds only what is new."""
        early, late = sample(NOON + 60), sample(NOON + 120)
        self.collector(measurement(measured(early))).collect()
        self.collector(measurement(measured(early, late))).collect()
        assert [row["t"] - NOON for row in self.recorded(history.read_samples)] == [60, 120]

    def test_what_a_process_noted_by_itself_fills_holes_alone(self):
        """A new collector finds the last hour in the processes: only where nothing is recorded does it add a row."""
        self.collector(measurement(measured(sample(NOON + 60)))).collect()
        noted = [sample(NOON + t) for t in (20, 80, 140, 200, 240)]
        self.collector(measurement(dataclasses.replace(measured(*noted), apart_s=54.0))).collect()
        assert [row["t"] - NOON for row in self.recorded(history.read_samples)] == [60, 140, 200, 240]

    def test_a_process_that_came_back_with_the_same_pid_is_another(self):
        """Host, pid and start together name a process: a pid is used again."""
        again = measured(sample(NOON + 600), started_at=NOON + 500)
        collector = self.collector(measurement(measured()), measurement(again))
        collector.collect()
        collector.collect()
        first, second = self.recorded(history.read_processes)
        assert (first["pid"], second["pid"]) == (4711, 4711)
        assert first["started_at"] != second["started_at"]

    def test_the_database_away_loses_and_doubles_nothing(self):
        """What could not be written is written in the next round, once, and the task raises nothing."""
        rounds = [measurement(measured(sample(NOON + 60 * minute))) for minute in (1, 2, 3)]
        collector = self.collector(*rounds)
        with mock.patch.object(self.repo, "internal_cnx", side_effect=OSError("database is locked")):
            collector.round()
            collector.round()
        collector.round()
        assert [row["t"] - NOON for row in self.recorded(history.read_samples)] == [60, 120, 180]

    def test_a_collector_replaced_while_the_database_is_away_loses_and_doubles_nothing(self):
        """What waited is in a file, which the next one writes down first, and which is gone then."""
        first = self.collector(*(measurement(measured(sample(NOON + 60 * minute))) for minute in (1, 2)))
        with mock.patch.object(self.repo, "internal_cnx", side_effect=OSError("database is locked")):
            first.round()
            first.round()
        second = self.collector(measurement(measured(sample(NOON + 120), sample(NOON + 180))))
        second.round()
        assert [row["t"] - NOON for row in self.recorded(history.read_samples)] == [60, 120, 180]
        assert not (self.directory / "waiting.json").exists()

    def test_a_process_that_does_not_answer_stops_nobody(self):
        """The failure is told beside what was recorded, and the process is not taken for ended."""
        silent = measurement(measured(), failures=[LeakwatchError("web-2 did not answer", code="no-answer")])
        found = self.collector(silent).collect()
        assert found["recorded"] == ["web-1"]
        assert found["failures"][0]["code"] == "no-answer"
        assert [process["ended_at"] for process in self.recorded(history.read_processes)] == [None]

    def test_a_process_that_is_gone_has_ended_when_it_was_last_seen(self):
        """A process that left no trace of its end is closed at its last snapshot."""
        self.collector(measurement(measured())).collect()
        self.collector(measurement()).collect()
        (process,) = self.recorded(history.read_processes)
        assert process["ended_at"] == "2026-11-22T12:01:00.000Z"
        assert process["end_reason"] == "not seen any more"

    def test_each_restart_is_recorded_once_and_ends_its_process(self):
        """The launcher's journal may be read again and again: a restart is one record, tied to what it replaced."""
        self.collector(measurement(measured())).collect()
        write_journal(self.directory, restart(1))
        self.collector(measurement(measured(pid=4712, started_at=NOON + 601))).collect()
        write_journal(self.directory, restart(1), restart(2, NOON + 900, old_pid=4712, outcome="drain-timeout"))
        self.collector(measurement()).collect()
        restarts = self.recorded(history.read_restarts)
        assert [row["outcome"] for row in restarts] == ["replaced", "drain-timeout"]
        assert restarts[0]["requested_at"] == "2026-11-22T12:10:00.000Z"
        assert restarts[0]["accepted"] == restarts[0]["answered"] + restarts[0]["client_left"]
        first, second = self.recorded(history.read_processes)
        assert (first["ended_at"], first["end_reason"]) == ("2026-11-22T12:10:04.000Z", "memory limit")
        assert second["end_reason"] == "memory limit"

    def test_half_a_line_of_the_journal_is_skipped(self):
        """A journal cut by a full disk gives the restarts that are whole."""
        collector = self.collector(measurement())
        write_journal(self.directory, restart(1))
        with (self.directory / "restarts.jsonl").open("a") as journal:
            journal.write('{"id": "2", "process": "web')
        collector.collect()
        assert len(self.recorded(history.read_restarts)) == 1

    def test_a_note_stands_beside_the_snapshot(self):
        """What someone wrote when asking for a snapshot is kept with it."""
        self.collector(measurement(measured())).collect("before the deployment")
        assert [row["note"] for row in self.recorded(history.read_samples)] == ["before the deployment"]

    def test_rounds_do_not_pile_up(self):
        """While a round is at work the next one is left out; the task returns at once, and a stop waits for it."""
        begun, go_on = threading.Event(), threading.Event()
        collector = self.collector()

        def measure():
            begun.set()
            assert go_on.wait(30)
            return measurement(measured())

        collector.meter.measure = mock.Mock(side_effect=measure)
        collector.leakwatch_collect()
        assert begun.wait(30)
        collector.leakwatch_collect()
        go_on.set()
        collector.stop()
        assert collector.meter.measure.call_count == 1
        assert len(self.recorded(history.read_samples)) == 1

    def test_two_collectors_that_meet_record_a_process_once(self):
        """Another collector records the same process between our look and our write: ours joins it."""
        self.collector(measurement(measured())).collect()
        real, seen = records._find_process, []

        def late(cnx, identity):
            seen.append(identity)
            return None if len(seen) == 1 else real(cnx, identity)

        with mock.patch.object(records, "_find_process", late):
            self.collector(measurement(measured(sample(NOON + 120)))).collect()
        assert len(self.recorded(history.read_processes)) == 1
        assert [row["t"] - NOON for row in self.recorded(history.read_samples)] == [60, 120]

    def test_a_measurement_that_is_refused_blocks_no_other(self):
        """What the schema does not take is logged and left; what comes after it is recorded."""
        odd = measured(name="x" * 100)
        self.collector(measurement(odd, measured(pid=4712))).collect()
        assert [row["pid"] for row in self.recorded(history.read_samples)] == [4712]

    def test_processes_of_a_host_that_vanished_have_ended(self):
        """A container's host name goes with it: a day later its processes are closed where they were last seen."""
        self.collector(measurement(measured())).collect()
        with self.repo.internal_cnx() as cnx:
            assert records.record_ends_elsewhere(cnx, "host-b", NOON) == 0
            assert records.record_ends_elsewhere(cnx, HOST, NOON + 86400) == 0
            assert records.record_ends_elsewhere(cnx, "host-b", NOON + 86400) == 1
            cnx.commit()
        assert [row["ended_at"] for row in self.recorded(history.read_processes)] == ["2026-11-22T12:01:00.000Z"]

    def test_the_collector_does_not_grow_with_what_it_records(self):
        """After a warm-up, rounds leave nothing behind: no entry in the repository's maps, no block of memory."""
        moments = itertools.count(NOON + 1)
        collector = self.collector()
        collector.meter.measure = lambda: measurement(measured(sample(next(moments), types={"dict": 5})))
        blocks = []
        for _round in range(100):
            collector.collect()
            gc.collect()
            blocks.append(sys.getallocatedblocks())
        assert not [eid for eid, etype in self.repo._type_cache.items() if etype == "MemorySnapshot"]
        assert max(blocks[-10:]) - max(blocks[50:60]) < 200

    def test_rounds_leave_nothing_for_the_collector_to_find_hours_later(self):
        """CubicWeb's connections and queries are cycles: those of a round are collected with it, still young."""
        rounds = [measurement(measured(sample(NOON + 60 * minute))) for minute in range(1, 8)]
        collector = self.collector(*rounds)
        collector.round()
        collector.round()
        gc.collect()
        for _round in rounds[2:]:
            collector.round()
        assert gc.collect() < 100


@pytest.mark.timeout(300)  # the first one starts the cluster
@pytest.mark.usefixtures("postgres")
class CollectOnPostgresTC(CollectTC):
    """All of the above on PostgreSQL."""

    configcls = PostgresApptestConfiguration

    def cut_connections(self):
        """End every connection to the database, as its restart does."""
        source = self.config.system_source_config
        administrator = psycopg2.connect(
            host=source["db-host"], port=source["db-port"], user=source["db-user"], dbname="postgres"
        )
        with contextlib.closing(administrator), administrator, administrator.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [source["db-name"]]
            )

    def test_a_database_that_was_restarted(self):
        """Connections that broke while nobody looked cost at most a round: all that was measured arrives, once."""
        rounds = [measurement(measured(sample(NOON + 60 * minute))) for minute in (1, 2, 3)]
        collector = self.collector(*rounds)
        collector.round()
        self.cut_connections()
        collector.round()
        collector.round()
        assert [row["t"] - NOON for row in self.recorded(history.read_samples)] == [60, 120, 180]

    def test_a_database_that_is_restarted_in_the_middle_of_a_transaction(self):
        """What was written before it broke is lost with it: all of it is written again, none of it twice."""
        first = measurement(measured(), measured(name="web-2", pid=4712))
        second = measurement(measured(sample(NOON + 120)), measured(sample(NOON + 120), name="web-2", pid=4712))
        collector, real, written = self.collector(first, second), records._create_snapshot, []

        def broken(*told):
            eid = real(*told)
            written.append(eid)
            if len(written) == 1:
                self.cut_connections()
            return eid

        with mock.patch.object(records, "_create_snapshot", broken):
            collector.round()
            assert self.recorded(history.read_samples) == []
            collector.round()
        found = [(row["process"], row["t"] - NOON) for row in self.recorded(history.read_samples)]
        assert sorted(found) == [("web-1", 60), ("web-1", 120), ("web-2", 60), ("web-2", 120)]
