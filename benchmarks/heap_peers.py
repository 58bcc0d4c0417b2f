"""What the peers' ways of looking into a heap take, on one heap in one run: wall time, longest freeze, extra memory.

    python benchmarks/heap_peers.py [OBJECTS]        (default: 1000000; wants guppy3, pympler, objgraph, refcycle)

Each way runs in a fork of its own of the process that has the heap, for at most two minutes, so that what one leaves
behind is not laid to the next. The longest freeze is the longest time that another thread could not run.
"""

import collections
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

LIMIT_S = 120.0


class Request:
    """What a page keeps by mistake."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.path = f"/page/{number}"
        self.rows = [f"row {number}"]
        self.form = {"values": [number], "pair": (number, f"text {number}")}


def ways(kept: dict[int, Request]) -> dict[str, Callable[[], Any]]:
    """Return each way to look, by name."""

    def module(name: str) -> Any:
        return importlib.import_module(name)

    return {
        "Counter(map(type, gc.get_objects()))": lambda: collections.Counter(map(type, gc.get_objects())),
        "objgraph.typestats()": lambda: module("objgraph").typestats(),
        "objgraph.growth()": lambda: module("objgraph").growth(),
        "objgraph.find_backref_chain()": lambda: module("objgraph").find_backref_chain(
            kept[17], module("objgraph").is_proper_module
        ),
        "guppy3 hpy().heap()": lambda: str(module("guppy").hpy().heap()),
        "pympler muppy + summary": lambda: module("pympler.summary").summarize(module("pympler.muppy").get_objects()),
        "refcycle snapshot, components": lambda: module("refcycle").snapshot().strongly_connected_components(),
        "leakwatch counts in a copy": lambda: module("cubicweb_leakwatch.heap.counts").take_counts(),
        "leakwatch dump in a copy": lambda: module("cubicweb_leakwatch.heap.dump").take_dump(
            f"/tmp/peers-{os.getpid()}.dump", header={}, time_limit_s=LIMIT_S
        ),
    }


def measured(way: Callable[[], Any]) -> dict[str, float]:
    """Do it once here; return ms and MiB."""
    longest, wanted = 0.0, True

    def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while wanted:
            time.sleep(0.0005)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    time.sleep(0.05)
    longest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    way()
    took = time.perf_counter() - started
    wanted = False
    ticker.join()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"wall_ms": took * 1000, "freeze_ms": longest * 1000, "extra_mib": (after - before) / 1024}


def apart(way: Callable[[], Any]) -> dict[str, float] | None:
    """Measure in a fork; None when it took too long or failed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(measured(way)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    ready = select.select([reader], [], [], LIMIT_S)[0]
    answer = os.read(reader, 4096) if ready else b""
    os.close(reader)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else None


def main(words: list[str]) -> None:
    """Print a table."""
    kept = {number: Request(number) for number in range(int(words[0] if words else 1_000_000) // 4)}
    gc.collect()
    print(f"{len(gc.get_objects()):,} tracked objects; Python {sys.version.split()[0]}")
    print("| way | wall ms | longest freeze ms | extra peak MiB |\n|---|---|---|---|")
    for name, way in ways(kept).items():
        found = apart(way)
        told = [f"{found[key]:,.0f}" for key in ("wall_ms", "freeze_ms", "extra_mib")] if found else ["> 120 s", "", ""]
        print(f"| {name} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
