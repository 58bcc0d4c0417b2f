"""What watching costs a worker: the same requests with the cube and without it, in turn, and the memory of both.

    python benchmarks/watch_cost.py [--rounds N] [--requests N] [--every SECONDS]

Two instances, one with CubicWeb's web cube alone and one with this cube too, are each loaded into a process that serves
requests in itself, as a WSGI server's thread would; anew, with another seed of Python's hashes, ``--starts`` times: the
order of sets decides how CubicWeb plans a query, and alone makes a page a fifth dearer or cheaper. They take turns, in
an order that is drawn; the one with the cube is sampled all the while as the looping task would do it, type counts from
a forked copy among them, and what that takes in the process counts. The figure is processor time a request, of the
process and what it forked: the host may be busy.
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

    def __init__(self, instance: Instance, cube: str, seed: int, served_s: float) -> None:
        """``served_s``: for how long the process before it has served since its last sample."""
        self.watched = cube == "leakwatch"
        self.samples = 0
        self.served_s = served_s
        self.meter = Meter(instance.home / "run" / "leakwatch", cube, types=50, interval_s=60.0)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("watch_cost_worker.py")), cube],
            env={**instance.environment(), "PYTHONHASHSEED": str(seed)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
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
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=6, help="rounds a start")
    parser.add_argument("--requests", type=int, default=120, help="requests a round")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two samples")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leakcost-") as folder:
        instances = {}
        for cube in ("web", "leakwatch"):
            instances[cube] = Instance(Path(folder) / cube, traffic.free_port(), name=cube, cubes=(cube,))
            instances[cube].create()
        taken: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        samples, served_s = 0, 0.0
        for seed in range(options.starts):
            workers = [Worker(instance, cube, seed, served_s) for cube, instance in instances.items()]
            for worker in workers:
                worker.round(options.requests, options.every)
            for _ in range(options.rounds):
                for worker in random.sample(workers, 2):
                    taken[worker.watched].append(worker.round(options.requests, options.every))
            for worker in workers:
                worker.process.communicate()
                samples += worker.samples
            served_s = workers[1].served_s
        report(taken, options.requests, options.rounds)
        print(f"{samples} samples were taken meanwhile.")


def report(taken: dict[bool, list[dict[str, Any]]], requests: int, rounds: int) -> None:
    """Print the table; what is drawn for the interval is starts, as the rounds of one are alike."""
    print("| | processor time a request | resident memory |\n| --- | --- | --- |")
    for watched, name in ((False, "without the cube"), (True, "with it")):
        each = statistics.median(told["cpu_s"] for told in taken[watched]) / requests
        rss = statistics.median(told["rss"] for told in taken[watched])
        print(f"| {name} | {each * 1000:.2f} ms | {rss / MIB:.1f} MiB |")
    pairs = np.array([a["cpu_s"] / b["cpu_s"] for a, b in zip(taken[True], taken[False], strict=True)])
    starts = np.median(pairs.reshape(-1, rounds), axis=1)
    drawn = np.random.default_rng(1).choice(starts, (2000, len(starts)))
    low, high = np.quantile(np.mean(drawn, axis=1), [0.025, 0.975])
    print(f"\nRatio of a pair of starts: mean {np.mean(starts):.4f} (95 %: {low:.4f} to {high:.4f}).")


if __name__ == "__main__":
    main()
