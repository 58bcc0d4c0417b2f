"""What recording and reading cost: a snapshot's time, a year's space on SQLite, the time of a chart of thirty days.

    python benchmarks/watch_history.py

Makes an instance, records snapshots of eight processes through CubicWeb as the looping task does, with fifty types and
the requests of twenty views each, and times it. A year, thinned as by default, is then copied from these rows in SQL:
every row in every table that CubicWeb keeps for it. Needs some 300 MB of disk for a minute.
"""

import json
import os
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from cubicweb_leakdemo.runner import traffic
from cubicweb_leakdemo.runner.instance import Instance

from cubicweb_leakwatch.recording.records import NUMBERS

PROCESSES = 8
RECORDED = 60
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
# as thinned by default: a week a minute, to ninety days an hour, to a year a day; types for a day, then one an hour
LEVELS = ((7 * DAY, MINUTE), (90 * DAY, HOUR), (365 * DAY, DAY))
POINTS = 480
RELATIONS = ("is_relation", "is_instance_of_relation", "cw_source_relation")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        instance = Instance(Path(folder) / "home", traffic.free_port(), name="history", cubes=("leakwatch",))
        instance.create()
        os.environ.update(instance.variables())
        now = time.time()
        wall, cpu = (seconds * 1000 for seconds in record(instance.name, now))
        print(f"recording a snapshot of a process: {wall:.1f} ms ({cpu:.1f} ms of processor time)")
        database = instance.home / "database.sqlite"
        empty = database.stat().st_size
        rows = fill(database, now)
        size = database.stat().st_size - empty
        print(f"a year of {PROCESSES} processes: {rows} snapshots, {size / 1024**2:.0f} MiB")
        read(instance.name, now)


def repository(name: str) -> Any:
    """Return the instance's repository."""
    from cubicweb.cwconfig import CubicWebConfiguration

    return CubicWebConfiguration.config_for(name).repository()


def record(name: str, now: float) -> tuple[float, float]:
    """Record the last hour, all processes at once as the looping task does.

    Return the medians of seconds a snapshot, its share of the transaction included, and of its processor time.
    """
    from cubicweb_leakwatch.probe.sample import Sample
    from cubicweb_leakwatch.recording.measuring import Identity, Measured
    from cubicweb_leakwatch.recording.records import record_measured

    repo = repository(name)
    types = {f"application.models.package.Class{number:02}": 1000 + number for number in range(50)}
    views = {f"?vid=view-number-{number:02}": 500 + number for number in range(20)}
    seconds, cpu = [], []
    for minute in range(RECORDED):
        started, used = time.perf_counter(), time.process_time()
        with repo.internal_cnx() as cnx:
            for number in range(PROCESSES):
                t = now - (RECORDED - minute) * MINUTE
                sample = Sample(
                    t=t, rss=10**8 + minute, uss=9 * 10**7, pss=9 * 10**7, python_blocks=500_000, malloc_used=10**7,
                    malloc_free=10**6, gc_objects=10**5, garbage=0, requests=100 * minute, in_flight=1, fds=20,
                    threads=6, types=types, views=views,
                )  # fmt: skip
                identity = Identity("host", 100 + number, now - DAY, f"web-{number + 1}", "web", 1)
                record_measured(cnx, Measured(identity, (sample,)))
            cnx.commit()
        seconds.append((time.perf_counter() - started) / PROCESSES)
        cpu.append((time.process_time() - used) / PROCESSES)
    repo.shutdown()
    return statistics.median(seconds), statistics.median(cpu)


def fill(database: Path, now: float) -> int:
    """Copy a year before what was recorded; return how many snapshots there are then."""
    with sqlite3.connect(database) as cnx:
        columns = [row[1] for row in cnx.execute("PRAGMA table_info(cw_memorysnapshot)")]
        last = cnx.execute("SELECT MAX(eid) FROM entities").fetchone()[0]
        models = cnx.execute(f"SELECT {', '.join(columns)} FROM cw_memorysnapshot ORDER BY cw_eid DESC LIMIT ?", (8,))
        for model in models.fetchall():
            row = dict(zip(columns, model, strict=True))
            times = list(thinned(now))
            eids = range(last + 1, last + 1 + len(times))
            last = eids[-1]
            copies = [
                [*({**row, "cw_eid": eid, "cw_t": t, **lighter(row, now - t)}[name] for name in columns)]
                for eid, t in zip(eids, times, strict=True)
            ]
            marks = ", ".join("?" * len(columns))
            cnx.executemany(f"INSERT INTO cw_memorysnapshot ({', '.join(columns)}) VALUES ({marks})", copies)
            copy_rows(cnx, "entities", "eid", row["cw_eid"], eids)
            for relation in RELATIONS:
                copy_rows(cnx, relation, "eid_from", row["cw_eid"], eids)
    cnx.execute("VACUUM")
    return int(cnx.execute("SELECT COUNT(*) FROM cw_memorysnapshot").fetchone()[0])


def thinned(now: float) -> Any:
    """Yield the times at which a process has a snapshot, newest first, from an hour ago on."""
    t = now - HOUR - MINUTE
    for age, apart in LEVELS:
        while now - t < age:
            yield t
            t -= apart


def lighter(row: dict[str, Any], age: float) -> dict[str, Any]:
    """Return what differs in an older snapshot: no types but once an hour, and the spread of what was merged."""
    kept = age < DAY or (age < 90 * DAY and int(age // MINUTE) % 60 == 0) or age >= 90 * DAY
    spread = json.dumps({name: [10**8, 10**8] for name in NUMBERS}) if age > 7 * DAY else None
    return {"cw_types": row["cw_types"] if kept else None, "cw_spread": spread, "cw_merged": 60 if spread else 1}


def copy_rows(cnx: sqlite3.Connection, table: str, key: str, model: int, eids: range) -> None:
    """Copy the row that one entity has in a table for others."""
    columns = [row[1] for row in cnx.execute(f"PRAGMA table_info({table})")]
    found = cnx.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE {key} = ?", (model,)).fetchall()
    for values in found:
        row = dict(zip(columns, values, strict=True))
        cnx.executemany(
            f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
            [[eid if name == key else row[name] for name in columns] for eid in eids],
        )


def read(name: str, now: float) -> None:
    """Time the chart of thirty days: all processes, and one."""
    from cubicweb_leakwatch.recording.coarse import read_coarse_samples

    repo = repository(name)
    with repo.internal_cnx() as cnx:
        for process in (None, "web-1"):
            wall, cpu = [], []
            for _ in range(5):
                started, used = time.perf_counter(), time.process_time()
                found = read_coarse_samples(cnx, now - 30 * DAY, now, POINTS, process=process)
                wall.append(time.perf_counter() - started)
                cpu.append(time.process_time() - used)
            told = f"{statistics.median(wall) * 1000:.0f} ms ({statistics.median(cpu) * 1000:.0f} ms of processor time)"
            print(f"thirty days of {process or 'all processes'}: {told}, {len(found)} points")
    repo.shutdown()


if __name__ == "__main__":
    main()
