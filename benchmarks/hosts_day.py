"""A day of two hosts with eight processes each, a snapshot a minute, recorded into one database in a few minutes.

``python benchmarks/hosts_day.py [--minutes 1440] [--postgres]`` prints how many snapshots are missing or doubled, what
the database (a SQLite file, or PostgreSQL) has grown by, and what a round takes. A tenth of the rounds fails half-way
on purpose, as with a database that is away; a collector is replaced by a new one every six hours, as with a restart.
"""

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "helpers"))

from clusters import postgresql, program
from cubicweb_leakdemo.runner.instance import Instance
from cubicweb_leakdemo.runner.traffic import free_port

HOSTS, PROCESSES, TYPES = ("alpha", "beta"), 8, 50
START = 1_795_000_000.0


def simulated(host: str, minute: int) -> object:
    """Return what a round of a host measures in a minute of the day."""
    from cubicweb_leakwatch.probe.sample import Sample
    from cubicweb_leakwatch.recording.measuring import Identity, Measured, Measurement

    random_ = random.Random(minute)
    found = []
    for number in range(PROCESSES):
        name = "scheduler" if number == 0 else f"web-{number}"
        identity = Identity(host, 1000 + number, START, name, "web" if number else "scheduler")
        size = 10**8 + minute * 2000 + random_.randrange(10**5)
        types = {f"package.module.Type{index}": 1000 + minute + index for index in range(TYPES)}
        numbers = dict.fromkeys(("uss", "pss", "python_blocks", "malloc_used", "malloc_free", "gc_objects"), size)
        t = START + 60.0 * minute + random_.random()
        sample = Sample(
            t, size, name, 1000 + number, garbage=0, requests=minute, fds=30, threads=5, types=types, **numbers
        )
        found.append(Measured(identity, (sample,)))
    return Measurement(tuple(found), frozenset(each.identity.pid for each in found), ())


def main() -> int:
    """Simulate the day; return 1 when a snapshot is missing or doubled."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--minutes", type=int, default=1440)
    options.add_argument("--postgres", action="store_true")
    asked = options.parse_args()
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
        source = {**stack.enter_context(postgresql(program)), "db-name": "day"} if asked.postgres else {}
        instance = Instance(home, free_port(), name="day", cubes=("leakwatch",), database=source)
        instance.create()
        os.environ.update(instance.environment())
        return day("day", home / "database.sqlite", asked.minutes)


def size_of(repo: Any, file: Path) -> int:
    """Return the bytes of the database."""
    if file.exists():
        return file.stat().st_size
    with repo.internal_cnx() as cnx:
        return int(cnx.system_sql("SELECT pg_database_size(current_database())").fetchone()[0])


def day(appid: str, database: Path, minutes: int) -> int:
    """Record the day into an instance; return 1 when a snapshot is missing or doubled."""
    from cubicweb.cwconfig import CubicWebConfiguration

    from cubicweb_leakwatch.recording.collect import Collector
    from cubicweb_leakwatch.settings import read_settings

    repo = CubicWebConfiguration.config_for(appid).repository()
    settings = read_settings(repo.config)
    before, rounds, slowest = size_of(repo, database), 0.0, 0.0
    collectors: dict[str, Collector] = {}
    random_ = random.Random(1)
    for minute in range(minutes):
        for host in HOSTS:
            if minute % 360 == 0:
                collectors[host] = Collector(repo, settings, host=host)
            collector = collectors[host]
            began = time.perf_counter()
            with mock.patch.object(
                collector.meter, "measure", lambda host=host, minute=minute: simulated(host, minute)
            ):
                if random_.random() < 0.1 and minute % 360 not in (358, 359) and minute < minutes - 1:
                    away = mock.patch.object(repo, "clear_caches", side_effect=OSError("the database is away"))
                    with away, contextlib.suppress(OSError):
                        collector.collect()
                else:
                    collector.collect()
            took = time.perf_counter() - began
            rounds, slowest = rounds + took, max(slowest, took)
    with repo.internal_cnx() as cnx:
        rows = cnx.execute("Any H, N, COUNT(S) GROUPBY H, N WHERE S snapshot_of P, P host H, P name N").rows
        (processes,) = cnx.execute("Any COUNT(P) WHERE P is LeakwatchProcess").rows[0]
    grown = (size_of(repo, database) - before) / 2**20
    repo.shutdown()
    wrong = [row for row in rows if row[2] != minutes]
    print(f"{minutes} minutes, {len(HOSTS)} hosts x {PROCESSES} processes: {sum(row[2] for row in rows)} snapshots")
    print(
        f"expected {minutes * len(HOSTS) * PROCESSES}; processes recorded {processes}; wrong counts: {wrong or 'none'}"
    )
    mean_ms = rounds / minutes / len(HOSTS) * 1000
    print(f"database +{grown:.1f} MiB; a round {mean_ms:.1f} ms, the slowest {slowest * 1000:.0f} ms")
    return int(bool(wrong) or processes != len(HOSTS) * PROCESSES)


if __name__ == "__main__":
    sys.exit(main())
