"""What a look into a heap costs, beside what the plain ways cost, on the same heap in the same run.

    python benchmarks/heap_walk.py [OBJECTS …]        (default: 200000 1000000)

For each size: a process with about that many tracked objects measures ``collections.Counter(map(type,
gc.get_objects()))``, ``objgraph.typestats()`` and ``os.fork()`` alone, counts and dumps itself in a forked copy, then
has the dump analysed in a process of its own (types, garbage, trash, cycles, retained sizes, suspects, and the holders
of the five types that grew most). ``page_p99`` is that of a task of 3 ms that another thread does all the time, quiet
and during the dump. Times in ms, wall and processor; memory in MiB (peak of the process that does it).
"""

import collections
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

_ANALYSIS = """
import json, resource, sys, time
started = time.monotonic()
from cubicweb_leakwatch.heap.analyze import analyze
report = analyze(sys.argv[1])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "wall_ms": (time.monotonic() - started) * 1000,
    "cpu_ms": (used.ru_utime + used.ru_stime) * 1000,
    "peak_mib": used.ru_maxrss / 1024,
    "first_suspect": report["suspects"][0]["type"],
    "holder": report["suspects"][0]["holder"],
    "growing_types_with_holders": len(report["growing"]),
}))
"""


class Request:
    """What a page keeps by mistake: attributes, a list, nested dictionaries, a tuple, strings."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.path = f"/page/{number}"
        self.rows = [f"row {number}"]
        self.form = {"values": [number], "pair": (number, f"text {number}")}


def timed(job: Callable[[], Any]) -> float:
    """Return the wall time of one call in ms."""
    started = time.perf_counter()
    job()
    return (time.perf_counter() - started) * 1000


def fork_alone() -> None:
    """Fork a child that ends at once."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


class Pages(threading.Thread):
    """A thread that answers a page of 3 ms all the time, and notes how long each took."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.times: list[float] = []
        self.wanted = True

    def run(self) -> None:
        """Work until it is no longer wanted."""
        while self.wanted:
            started = time.perf_counter()
            while time.perf_counter() - started < 0.0005:
                sum(range(200))
            time.sleep(0.0025)
            self.times.append((time.perf_counter() - started) * 1000)

    def p99(self) -> float:
        """Stop, and return the 99th percentile in ms."""
        self.wanted = False
        self.join()
        return sorted(self.times)[int(len(self.times) * 0.99)]


def pages_during(job: Callable[[], Any]) -> tuple[Any, float]:
    """Return what the job returned, and the 99th percentile of the pages meanwhile."""
    pages = Pages()
    pages.start()
    return job(), pages.p99()


def rss_mib() -> float:
    """Return what this process has resident now."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * 4096 / (1 << 20)


def measure(objects: int) -> dict[str, Any]:
    """Build a heap of about ``objects`` tracked objects here and measure everything on it."""
    import objgraph

    from cubicweb_leakwatch.heap.counts import take_counts
    from cubicweb_leakwatch.heap.dump import take_dump

    kept = {number: Request(number) for number in range(objects // 4)}
    gc.collect()
    counter = min(timed(lambda: collections.Counter(map(type, gc.get_objects()))) for _ in range(3))
    stats = timed(objgraph.typestats)
    fork = min(timed(fork_alone) for _ in range(3))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = min((take_counts() for _ in range(3)), key=lambda taken: taken.pause_ms)
    baseline = {"tracked": {name: count // 2 for name, count in counts.tracked.items()}, "everything": None}
    _, quiet = pages_during(lambda: time.sleep(3))
    resident = rss_mib()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "heap.dump")  # noqa: PTH118
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        asked = time.monotonic()
        dump, busy = pages_during(lambda: take_dump(path, header={}, baseline=baseline, time_limit_s=600))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", _ANALYSIS, path], capture_output=True, text=True, check=True)
        whole = (time.monotonic() - asked) * 1000
    return {
        "whole_answer_ms": whole,
        "page_p99_quiet_ms": quiet,
        "page_p99_during_ms": busy,
        "rss_change_mib": rss_mib() - resident,
        "tracked": len(gc.get_objects()),
        "kept": len(kept),
        "rss_mib": rss,
        "counter_ms": counter,
        "objgraph_typestats_ms": stats,
        "fork_ms": fork,
        "counts_pause_ms": counts.pause_ms,
        "counts_ms": counts.elapsed_ms,
        "dump_pause_ms": dump.pause_ms,
        "dump_ms": dump.elapsed_ms,
        "dump_cpu_ms": (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000,
        "dump_mib": dump.bytes / (1 << 20),
        "copy_peak_mib": after.ru_maxrss / 1024,
        **{f"analysis_{name}": value for name, value in json.loads(done.stdout).items()},
    }


def main(sizes: list[str]) -> None:
    """Measure each size in a process of its own and print the figures."""
    if len(sizes) == 2 and sizes[0] == "--one":
        print(json.dumps(measure(int(sizes[1]))))
        return
    for size in sizes or ["200000", "1000000"]:
        done = subprocess.run([sys.executable, __file__, "--one", size], capture_output=True, text=True, check=True)
        for name, value in json.loads(done.stdout).items():
            print(f"{name:>24}  {value:,.1f}" if isinstance(value, float) else f"{name:>24}  {value}")
        print()


if __name__ == "__main__":
    main(sys.argv[1:])
