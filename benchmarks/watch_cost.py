"""What watching costs a worker: the same requests with the cube and without it, in turn, and the memory of both.

    python benchmarks/watch_cost.py [--rounds N] [--requests N] [--every SECONDS]

Two instances, one with CubicWeb's web cube alone and one with this cube too, are each loaded into a process that serves
requests in itself, as a WSGI server's thread would. They take turns, in an order that is drawn; the one with the cube
is sampled all the while as the looping task would do it, type counts from a forked copy among them, and what that takes
in the process counts. The figure is processor time a request, of the process and what it forked: the host may be busy.
"""

import argparse
import json
import random
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from cubicweb_leakdemo.runner import traffic
from cubicweb_leakdemo.runner.instance import Instance

from cubicweb_leakwatch.recording.measuring import Meter

MIB = 1024**2


class Worker:
    """An instance in a process of its own."""

    def __init__(self, home: Path, cube: str) -> None:
        self.watched = cube == "leakwatch"
        self.instance = Instance(home / cube, traffic.free_port(), name=cube, cubes=(cube,))
        self.instance.create()
        self.samples = 0
        self.served_s = 0.0
        self.meter = Meter(self.instance.home / "run" / "leakwatch", cube, types=50, interval_s=60.0)
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("watch_cost_worker.py")), cube],
            env=self.instance.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def round(self, requests: int, every: float) -> dict[str, Any]:
        """Have it serve so many requests, sampled every so many seconds where it is watched; return what they took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{requests}\n")
        self.process.stdin.flush()
        if self.watched:
            self._sample(every)
        return dict(json.loads(self.process.stdout.readline()))

    def _sample(self, every: float) -> None:
        """Sample whenever it has served for so long since the last time, until it has answered."""
        while True:
            started = time.monotonic()
            answered = select.select([self.process.stdout], [], [], max(0.0, every - self.served_s))[0]
            self.served_s += time.monotonic() - started
            if answered:
                return
            self.served_s = 0.0
            self.samples += len(self.meter.measure().processes)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--requests", type=int, default=120, help="requests a round")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two samples")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leakcost-") as folder:
        workers = [Worker(Path(folder), cube) for cube in ("web", "leakwatch")]
        for worker in workers:
            worker.round(5 * options.requests, options.every)
        taken: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for _ in range(options.rounds):
            for worker in random.sample(workers, 2):
                taken[worker.watched].append(worker.round(options.requests, options.every))
        for worker in workers:
            worker.process.communicate()
        report(taken, options.requests)
        print(f"{workers[1].samples} samples were taken meanwhile.")


def report(taken: dict[bool, list[dict[str, Any]]], requests: int) -> None:
    """Print the table."""
    print("| | processor time a request | resident memory |\n| --- | --- | --- |")
    for watched, name in ((False, "without the cube"), (True, "with it")):
        each = statistics.median(told["cpu_s"] for told in taken[watched]) / requests
        print(f"| {name} | {each * 1000:.2f} ms | {taken[watched][-1]['rss'] / MIB:.1f} MiB |")
    ratios = np.array([a["cpu_s"] / b["cpu_s"] for a, b in zip(taken[True], taken[False], strict=True)])
    drawn = np.random.default_rng(1).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    print(f"\nRatio of a pair of rounds: median {np.median(ratios):.4f} (95 %: {low:.4f} to {high:.4f}).")


if __name__ == "__main__":
    main()
