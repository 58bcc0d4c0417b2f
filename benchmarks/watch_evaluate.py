"""How often the conclusions are right, beside a Mann–Kendall test on RSS and the rule "grown by 20 %".

    python benchmarks/watch_evaluate.py [--from SEED] [--traces N] [--set NAME] [--failures]

The seeds of the published figures begin at 100000; those below 1000 were used while the code was written.
"""

import argparse
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product

# The matrices are small: threads would only wait for one another. NumPy reads this when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from watch_crossed import make_crossed_trace
from watch_formulas import make_formula_trace
from watch_stories import make_story_trace
from watch_traces import Trace, make_trace

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.conclude import conclude
from cubicweb_leakwatch.watch.finding import Finding

SETS = {
    "requests": make_trace,
    "formulas": make_formula_trace,
    "stories": make_story_trace,
    "crossed": make_crossed_trace,
}
NORMAL_975 = 1.96
EARLY = 24
MASKS: dict[str, tuple[str, ...]] = {
    "none": (),
    "requests": ("requests",),
    "python_blocks": ("python_blocks",),
    "gc_objects": ("gc_objects",),
    "malloc": ("malloc_used", "malloc_free"),
}


@dataclass(frozen=True)
class Outcome:
    """What each method said of one trace."""

    trace: Trace
    finding: Finding
    mann_kendall: bool
    grown: bool
    seconds: float


def judged(job: tuple[str, int]) -> Outcome:
    """Make a trace and let all methods judge it."""
    trace = SETS[job[0]](job[1])
    started = time.perf_counter()
    finding = conclude(trace.samples)
    seconds = time.perf_counter() - started
    rss = np.array([sample.rss for sample in trace.samples], float)
    return Outcome(trace, finding, mann_kendall_grows(rss), grown_by_a_fifth(rss), seconds)


def mann_kendall_grows(y: np.ndarray) -> bool:
    """The classic test (Mann 1945, Kendall 1975): rising at the one-sided level of 2.5 %."""
    n = len(y)
    score = sum(int(np.sign(y[i + 1 :] - y[i]).sum()) for i in range(n - 1))
    deviation = np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return bool((score - np.sign(score)) / deviation > NORMAL_975)


def grown_by_a_fifth(y: np.ndarray) -> bool:
    """The rule of thumb: the last tenth is a fifth above the first."""
    part = max(1, len(y) // 10)
    return bool(np.median(y[-part:]) > 1.2 * np.median(y[:part]))


def rates(said: list[bool], truth: list[bool]) -> tuple[float, float]:
    """Return precision and recall."""
    right = sum(s and t for s, t in zip(said, truth, strict=True))
    return right / max(1, sum(said)), right / max(1, sum(truth))


def right_kind(outcome: Outcome) -> bool:
    """Whether the kind is the truth, or as true."""
    return outcome.finding.kind in (outcome.trace.kind, *outcome.trace.also)


def in_interval(outcome: Outcome) -> bool:
    """Whether the true rate lies in the interval stated."""
    finding = outcome.finding
    return (finding.rate_low or 0.0) <= (outcome.trace.rate or 0.0) <= (finding.rate_high or 0.0)


def culprit_first(outcome: Outcome) -> bool:
    """Whether the true culprit is named first."""
    return bool(outcome.finding.culprits) and outcome.finding.culprits[0].type == outcome.trace.culprit


def report(title: str, outcomes: list[Outcome]) -> None:
    """Print the table of one set."""
    truth = [outcome.trace.leak for outcome in outcomes]
    print(f"\n## {title}: {len(outcomes)} traces, {sum(truth)} of them leaks\n")
    print("| method | precision | recall | false alarms | leaks missed |\n| --- | --- | --- | --- | --- |")
    for method, said in (
        ("leakwatch", [o.finding.leak for o in outcomes]),
        ("Mann–Kendall on RSS", [o.mann_kendall for o in outcomes]),
        ("grown by 20 %", [o.grown for o in outcomes]),
    ):
        precision, recall = rates(said, truth)
        alarms = sum(s and not t for s, t in zip(said, truth, strict=True))
        missed = sum(t and not s for s, t in zip(said, truth, strict=True))
        print(f"| {method} | {precision:.3f} | {recall:.3f} | {alarms} | {missed} |")
    found = [o for o in outcomes if o.trace.leak and o.finding.leak]
    shares = {
        "kind right": [right_kind(o) for o in outcomes],
        "culprit first": [culprit_first(o) for o in found if o.trace.culprit],
        "true rate inside the 95 % interval": [in_interval(o) for o in found if o.trace.rate],
    }
    print("\n| what | share | of |\n| --- | --- | --- |")
    for what, values in shares.items():
        print(f"| {what} | {sum(values) / max(1, len(values)):.3f} | {len(values)} |")
    seconds = sorted(o.seconds for o in outcomes)
    print(f"\nSeconds a conclusion: median {seconds[len(seconds) // 2]:.2f}, longest {seconds[-1]:.2f}.")
    wrong = Counter((o.trace.kind, o.finding.kind) for o in outcomes if not right_kind(o))
    print("\n| truth | said instead | traces |\n| --- | --- | --- |")
    for (kind, said_kind), count in wrong.most_common():
        print(f"| {kind} | {said_kind} | {count} |")


def masked(job: tuple[str, str, int]) -> tuple[bool, bool, bool]:
    """Return whether a trace is a leak, whether it is called one from few keys alone, and whether these can tell."""
    mask, name, seed = job
    trace, keys = SETS[name](seed), ("t", "rss", "process", "pid", *MASKS[mask])
    bare = [Sample(**{key: getattr(sample, key) for key in keys}) for sample in trace.samples]
    return trace.leak, conclude(bare).leak, can_tell(trace, mask)


def can_tell(trace: Trace, mask: str) -> bool:
    """Whether anybody could: growing holes look as a leak does, and a few descriptors or threads as nothing."""
    if trace.kind in ("file-descriptors", "threads"):
        return False
    return trace.kind != "fragmentation" or any(how in trace.name for how in ("high", "higher")) or mask == "malloc"


def early(seed: int) -> tuple[bool, int | None]:
    """Leak 1 MiB a sample after 100 quiet ones under 5 MiB of noise: said too early or not, and after how many."""
    rng = np.random.default_rng(seed)
    mib, quiet, n = 1024**2, 100, 130
    leak = mib * np.maximum(0, np.arange(n) - quiet + 1)
    noise = rng.normal(0, 5 * mib, n)
    objects = 300_000 + leak / 400 + rng.uniform(0, 2000, n)
    trace = [
        Sample(t=60.0 * i, rss=int(200 * mib + leak[i] + noise[i]), process="web-1", gc_objects=int(objects[i]))
        for i in range(n)
    ]
    soon = next((count for count in range(8, 31, 2) if _surely(conclude(trace[: quiet + count]))), None)
    return _surely(conclude(trace[:quiet])), soon


def predicted(job: tuple[str, int]) -> bool | None:
    """Whether a level that a leak reached later lay inside what was predicted from its first six tenths.

    None where no leak was seen by then, or where the process did not live on alone.
    """
    trace = SETS[job[0]](job[1])
    cut = int(0.6 * len(trace.samples))
    known, rest = trace.samples[:cut], trace.samples[cut:]
    if trace.rate is None or len({sample.pid for sample in trace.samples}) > 1 or len(known) < 40:
        return None
    level = int(np.median([sample.rss for sample in rest[-5:]]))
    finding = conclude(known, limit=level)
    between = finding.evidence.get("seconds_to_limit_95")
    if not finding.leak or between is None:
        return None
    earliest, latest = (float("inf") if seconds is None else seconds for seconds in between)
    return bool(earliest <= rest[-3].t - known[-1].t <= latest)


def _surely(finding: Finding) -> bool:
    return finding.leak and finding.confidence >= 0.9


def extras(first: int, count: int, pool: ProcessPoolExecutor) -> None:
    """Print how it does with few meters, and how soon it speaks."""
    print("\n| keys beside t and rss | set | precision | recall | traces | precision with those nobody can tell |")
    print("| --- | --- | --- | --- | --- | --- |")
    for mask, name in product(MASKS, SETS):
        jobs = [(mask, name, seed) for seed in range(first, first + count)]
        said = list(pool.map(masked, jobs, chunksize=4))
        fair = [(truth, leak) for truth, leak, can in said if can]
        precision, recall = rates([leak for _, leak in fair], [truth for truth, _ in fair])
        with_all, _ = rates([leak for _, leak, _ in said], [truth for truth, _, _ in said])
        print(f"| {mask} | {name} | {precision:.3f} | {recall:.3f} | {len(fair)} | {with_all:.3f} |", flush=True)
    for name in SETS:
        found = pool.map(predicted, [(name, seed) for seed in range(first, first + count)])
        inside = [was for was in found if was is not None]
        print(f"\n{name}: {np.mean(inside):.3f} of {len(inside)} levels lay inside what was predicted.", flush=True)
    soon = list(pool.map(early, range(first, first + EARLY)))
    delays = sorted(delay if delay is not None else 99 for _, delay in soon)
    within = sum(delay <= 20 for delay in delays)
    print(f"\nOne MiB a sample under noise of 5 MiB, {EARLY} seeds: {sum(e for e, _ in soon)} said before the bend,")
    print(f"{within} within 20 samples of it; median {delays[EARLY // 2]} samples, the last {delays[-1]}.")


def failures(outcomes: list[Outcome]) -> None:
    """Print every trace with something wrong."""
    for o in outcomes:
        wrong = [f"said {o.finding.kind}: {o.finding.evidence.get('why')}"] * (not right_kind(o))
        if o.finding.leak and o.trace.leak:
            if o.trace.rate and not in_interval(o):
                wrong.append(f"rate {o.trace.rate:.4g} not in {o.finding.rate_low:.4g}..{o.finding.rate_high:.4g}")
            if o.trace.culprit and not culprit_first(o):
                wrong.append(f"culprits {[c.type for c in o.finding.culprits]}")
        if wrong:
            print(f"{o.trace.name} ({len(o.trace.samples)} samples, sure {o.finding.confidence}): {'; '.join(wrong)}")


def main() -> None:
    """Judge the traces and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", type=int, default=100_000, help="first seed")
    parser.add_argument("--traces", type=int, default=360, help="traces a set")
    parser.add_argument("--set", choices=[*SETS, "all"], default="all")
    parser.add_argument("--extras", action="store_true", help="also with few meters, and how early a leak is said")
    parser.add_argument("--failures", action="store_true", help="list every trace with something wrong")
    options = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        for name in SETS if options.set == "all" else [options.set]:
            jobs = [(name, seed) for seed in range(options.first, options.first + options.traces)]
            outcomes = list(pool.map(judged, jobs, chunksize=4))
            report(name, outcomes)
            if options.failures:
                print()
                failures(outcomes)
        if options.extras:
            extras(options.first, options.traces // 3, pool)


if __name__ == "__main__":
    main()
