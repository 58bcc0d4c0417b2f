"""How long a process stands still for a look at its heap, beside what a walk in the process itself takes.

``python benchmarks/pause.py [--objects 1000000] [--rounds 7]`` makes that many tracked objects, then in turns counts
types with ``collections.Counter(map(type, gc.get_objects()))``, in this process, and takes counts and a whole heap dump
in a forked copy. For each it prints the median ``pause_ms`` as leakwatch reports it, and the longest time that another
thread of the process could not run meanwhile, which also holds what copying shared pages costs afterwards.
"""

import argparse
import collections
import gc
import json
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cubicweb_leakwatch.heap.counts import take_counts
from cubicweb_leakwatch.heap.dump import take_dump
from cubicweb_leakwatch.probe.meters import private_bytes

TICK_S = 0.0005
GOAL = 1 / 5


class Record:
    """An object such as a program has many of: an instance with a dictionary and a list."""

    def __init__(self, number: int, before: "Record | None") -> None:
        self.number = number
        self.before = before
        self.tags = [number, before]


class Ticker(threading.Thread):
    """A thread that wants to run all the time, and notes the longest time that it could not."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest_s = 0.0
        self.wanted = True

    def run(self) -> None:
        """Tick until it is no longer wanted."""
        last = time.perf_counter()
        while self.wanted:
            time.sleep(TICK_S)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last - TICK_S)
            last = now


def fill(objects: int) -> list[Record]:
    """Return records that hold about ``objects`` tracked objects: each is an instance, its dictionary and a list."""
    held: list[Record] = []
    for number in range(objects // 3):
        held.append(Record(number, held[-1] if number % 100 else None))
        vars(held[-1])  # makes the dictionary, which is made late since Python 3.11
    return held


def in_the_process() -> float:
    """Count types where the process stands; return how long that took, in milliseconds."""
    start = time.perf_counter()
    collections.Counter(map(type, gc.get_objects()))
    return (time.perf_counter() - start) * 1000


def counts_in_a_copy() -> float:
    """Count types in a forked copy; return the reported pause, in milliseconds."""
    return take_counts().pause_ms


def dump_in_a_copy() -> float:
    """Write a whole heap dump in a forked copy; return the reported pause, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        return take_dump(str(Path(folder) / "heap.dump"), header={}).pause_ms


def measured(look: Callable[[], float]) -> tuple[float, float]:
    """Return what ``look`` reports, and the longest time that another thread could not run, in milliseconds."""
    ticker = Ticker()
    ticker.start()
    time.sleep(20 * TICK_S)
    reported = look()
    ticker.wanted = False
    ticker.join()
    return reported, ticker.longest_s * 1000


def main() -> int:
    """Print the figures as JSON; return 1 when the pause is longer than the goal."""
    parser = argparse.ArgumentParser(description="the pause of a look at the heap, beside a walk in the process")
    parser.add_argument("--objects", type=int, default=1_000_000, help="tracked objects (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the median is taken")
    options = parser.parse_args()
    held = fill(options.objects)
    looks = (in_the_process, counts_in_a_copy, dump_in_a_copy)
    rounds = [[measured(look) for look in looks] for _ in range(options.rounds)]
    medians = {
        look.__name__: {
            "ms": round(statistics.median(turn[index][0] for turn in rounds), 2),
            "longest_gap_ms": round(statistics.median(turn[index][1] for turn in rounds), 2),
        }
        for index, look in enumerate(looks)
    }
    walk = medians["in_the_process"]["ms"]
    shares = {name: round(figures["ms"] / walk, 3) for name, figures in medians.items() if name != "in_the_process"}
    result = {
        "python": platform.python_version(),
        "tracked_objects": len(gc.get_objects()),
        "private_bytes": private_bytes(),
        "records": len(held),
        "rounds": options.rounds,
        "medians": medians,
        "share_of_the_walk": shares,
        "goal": GOAL,
    }
    json.dump(result, sys.stdout, indent=2)
    print()
    return int(max(shares.values()) > GOAL)


if __name__ == "__main__":
    sys.exit(main())
