"""What opening the pages costs the worker that serves them, with thirty days of history of eight processes.

    python benchmarks/page_cost.py [--visits N]

Makes an instance with the history of ``watch_history.py``, restarts and findings in it, serves it with leak-serve (one
worker, the scheduler) and gives it six more processes that have a probe. Then visits each page as a manager does, by
HTTP, and reads from ``/proc`` what processor time the worker took for it. Before each visit of a row that says so
everybody has been recorded anew, so that no visit finds what the one before it left. An empty page of CubicWeb stands
beside, and what it costs is in each figure.
"""

import argparse
import contextlib
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import watch_history

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test" / "helpers"))

from cubicweb_leakdemo.runner import traffic  # noqa: E402
from cubicweb_leakdemo.runner.instance import Instance  # noqa: E402
from probed import process  # noqa: E402
from sites import Site, Visitor, served  # noqa: E402

from cubicweb_leakwatch.probe.runtime import runtime_path  # noqa: E402

MORE_PROCESSES = 6
RESTARTS, FINDINGS = 100, 10
DAY = 86400.0
PAGES = {
    "an empty page of CubicWeb": "/?vid=null&rql=Any+X+WHERE+X+is+CWGroup+LIMIT+0",
    "dashboard, 24 hours": "/?vid=leakwatch",
    "dashboard, 1 hour": "/?vid=leakwatch&span=1h",
    "dashboard, 7 days": "/?vid=leakwatch&span=7d",
    "dashboard, 30 days": "/?vid=leakwatch&span=30d",
    "chart alone, 30 days": "/?vid=leakwatch&span=30d&panel=chart&__notemplate=1",
    "JSON of the chart, 30 days": "/_leakwatch/chart.json?span=30d",
    "gc page": "/?vid=gc",
}
FRESH = ("dashboard, 24 hours", "dashboard, 30 days")
"""Visited once more, each time after everybody was recorded."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--visits", type=int, default=20, help="of each page (default: 20)")
    visits = parser.parse_args().visits
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        instance = Instance(Path(folder) / "home", traffic.free_port(), name="history", cubes=("leakwatch",))
        instance.create()
        os.environ.update(instance.variables())
        rows = make_history(instance)
        print(f"{rows} snapshots, {RESTARTS} restarts, {FINDINGS} findings\n")
        site = stack.enter_context(served(instance, "--workers", "1"))
        directory = runtime_path(instance.home / "data" / instance.name)
        for number in range(MORE_PROCESSES):
            stack.enter_context(process(directory, f"more-{number}", instance.name))
        print("| page | processor ms, median / p95 | wall ms, median / p95 | KiB |\n|---|---|---|---|")
        measure(site, Visitor(site.address).log_in(), visits)


def make_history(instance: Instance) -> int:
    """Record thirty days of eight processes, restarts and findings; return how many snapshots there are."""
    now = time.time()
    watch_history.record(instance.name, now - 2 * watch_history.HOUR)
    watch_history.LEVELS = ((7 * DAY, watch_history.MINUTE), (30 * DAY, watch_history.HOUR))
    database = instance.home / "database.sqlite"
    watch_history.fill(database, now - 2 * watch_history.HOUR)
    with sqlite3.connect(database) as cnx:  # the copies took numbers; those of days ago lie far back
        cnx.execute("UPDATE entities_id_seq SET last = (SELECT MAX(eid) FROM entities) + 5000")
    watch_history.record(instance.name, now)
    repo = watch_history.repository(instance.name)
    with repo.internal_cnx() as cnx:
        happen(cnx, now)
        cnx.commit()
    repo.shutdown()
    with sqlite3.connect(database) as cnx:
        return int(cnx.execute("SELECT COUNT(*) FROM cw_memorysnapshot").fetchone()[0])


def happen(cnx: Any, now: float) -> None:
    """Record restarts and findings of the month."""
    from face_data import finding, restart

    from cubicweb_leakwatch.recording.findings import fields
    from cubicweb_leakwatch.recording.records import record_restarts, utc
    from cubicweb_leakwatch.watch.finding import iso_utc

    for number in range(RESTARTS):
        t = now - number * 30 * DAY / RESTARTS - 600
        times = {name: iso_utc(t + 1) for name in ("requested_at", "ready_at", "drained_at", "exited_at")}
        record_restarts(cnx, "host", [restart(id=f"1-{number}", process=f"web-{number % 7 + 1}", **times)])
    for number in range(FINDINGS):
        t = now - number * 3 * DAY - 300
        opened = {"opened_at": utc(t), "closed_at": utc(t + 60) if number else None}
        cnx.create_entity("LeakFinding", host="host", process="web-1", **opened, **fields(finding(since=iso_utc(t))))


def measure(site: Site, visitor: Visitor, visits: int) -> None:
    """Print a row a page."""
    (worker,) = [row["pid"] for row in site.ask("leak-status")["processes"] if row["name"] == "web-1"]
    for name, path in PAGES.items():
        row(name, path, visitor, worker, visits, lambda: None)
    for name in FRESH:
        row(f"{name}, recorded anew before each", PAGES[name], visitor, worker, visits,
            lambda: visitor.post("/leakwatch-snapshot", {}))  # fmt: skip


def row(name: str, path: str, visitor: Visitor, worker: int, visits: int, before: Callable[[], object]) -> None:
    """Visit one page so often, and print what it took."""
    for _warm_up in range(3):
        size = len(visitor.get(path).text)
    cpu, wall = [], []
    for _visit in range(visits):
        before()
        used, started = processor_s(worker), time.perf_counter()
        assert visitor.get(path).status == 200
        wall.append((time.perf_counter() - started) * 1000)
        cpu.append((processor_s(worker) - used) * 1000)
    print(f"| {name} | {shown(cpu)} | {shown(wall)} | {size / 1024:.0f} |", flush=True)


def processor_s(pid: int) -> float:
    """Return the processor time of all threads of a process, in seconds (proc(5): schedstat counts nanoseconds)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def shown(values: list[float]) -> str:
    """Return median and 95th percentile."""
    return f"{statistics.median(values):.0f} / {sorted(values)[int(len(values) * 0.95) - 1]:.0f}"


if __name__ == "__main__":
    main()
