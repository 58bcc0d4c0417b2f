"""Feed every parser of outside input millions of broken inputs: ``python benchmarks/fuzz.py --inputs 1000000``.

Each input is an example of what the parser takes, with bytes changed, cut out, doubled or put in. Reported for each:
how many inputs, the processor time of the slowest one, how far the process's memory went up meanwhile (peak) and stayed
up (grown), and every error that is not the parser's. Exits with 1 for such an error, for an input that takes over two
seconds, a peak of more than 64 MiB, or a growth of more than 4 MiB.
"""

import argparse
import random
import signal
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "helpers"))

from fuzz_targets import TARGETS, Target

SLOW_S, PEAK_KIB, GROWN_KIB = 2.0, 64 * 1024, 4 * 1024
HANGS_S = 20

TOKENS = (
    b"\0",
    b"\xff",
    b'"',
    b"\\",
    b"{",
    b"[",
    b"}",
    b",",
    b":",
    b"-",
    b"1e999",
    b"NaN",
    b"null",
    b"9" * 25,
    b"\n",
    b"\xc2\xb2",
)


def mutated(random_: random.Random, seed: bytes) -> bytes:
    """Return the seed with one to six changes."""
    data = bytearray(seed)
    for _ in range(random_.randint(1, 6)):
        at = random_.randrange(len(data) + 1)
        kind = random_.randrange(5)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] = random_.randrange(256)
        elif kind == 1:
            del data[at : at + random_.randint(1, 12)]
        elif kind == 2:
            data[at:at] = random_.choice(TOKENS)
        elif kind == 3:
            data[at:at] = data[at : at + random_.randint(1, 40)]
        else:
            data[at:at] = random_.randbytes(random_.randint(1, 8))
    return bytes(data)


class Hangs(Exception):
    """An input keeps its parser at work."""


class Watch:
    """Looks every HANGS_S seconds whether the same input is still at work; costs an input nothing."""

    def __init__(self) -> None:
        self.number = self.seen = 0
        signal.signal(signal.SIGALRM, self.look)
        signal.setitimer(signal.ITIMER_REAL, HANGS_S, HANGS_S)

    def end(self) -> None:
        """Look no more: an interpreter that ends has no handler left."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def look(self, _signum: int, _frame: object) -> None:
        """End an input that takes for ever; a signal handler."""
        same, self.seen = self.seen == self.number, self.number
        if same:
            raise Hangs


def forget_peak() -> None:
    """Have the kernel measure the peak of our memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_kib() -> int:
    """Return the highest RSS since then."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def fuzz(target: Target, inputs: int, seed: int, at_most_s: float, watch: Watch) -> tuple[int, float, float, list[str]]:
    """Return how many inputs were fed, processor seconds in all, the slowest one's, and the faults."""
    random_, clock = random.Random(seed), time.process_time
    feed, allowed, seeds, choice = target.feed, target.allowed, target.seeds, random_.choice
    slowest, faults, fed = 0.0, [], 0
    now = began = clock()
    while fed < inputs and now - began < at_most_s:
        fed += 1
        watch.number += 1
        data = mutated(random_, choice(seeds))
        try:
            feed(data)
        except allowed:
            pass
        except Exception as error:  # the fault that is looked for
            faults.append(f"{type(error).__name__}: {error} for {data[:200]!r}")
        before, now = now, clock()
        slowest = max(slowest, now - before)
    return fed, now - began, slowest, faults


def main() -> int:
    """Fuzz all parsers; return 1 when there was a fault."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--inputs", type=int, default=10_000, help="inputs a parser (10000)")
    options.add_argument("--seconds", type=float, default=15.0, help="processor time for each parser at most (15)")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", help="a parser's name, or a part of it")
    asked = options.parse_args()
    watch, process, failed, total = Watch(), psutil.Process(), False, 0
    print(
        f"{'parser':<28}{'inputs':>10}{'a second':>10}{'slowest ms':>12}{'peak KiB':>10}{'grown KiB':>11}{'faults':>8}"
    )
    for target in TARGETS:
        if asked.only and asked.only not in target.name:
            continue
        fuzz(target, 200, asked.seed + 1, asked.seconds, watch)
        forget_peak()
        before = process.memory_info().rss // 1024
        fed, seconds, slowest, faults = fuzz(target, asked.inputs, asked.seed, asked.seconds, watch)
        peak, grown = peak_kib() - before, process.memory_info().rss // 1024 - before
        rate, total = fed / max(seconds, 1e-9), total + fed
        print(
            f"{target.name:<28}{fed:>10}{rate:>10.0f}{slowest * 1000:>12.1f}{peak:>10}{grown:>11}{len(faults):>8}",
            flush=True,
        )
        for fault in faults[:3]:
            print(f"    {fault}")
        failed = failed or bool(faults) or slowest > SLOW_S or peak > PEAK_KIB or grown > GROWN_KIB
    watch.end()
    print(f"{total} inputs in all")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
