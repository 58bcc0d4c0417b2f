"""Putting samples in order: which belong to which process, where one life ends and the next begins, mended clocks.

A *lineage* is a slot (``web-1``) over its restarts; a *life* is one operating-system process in it. Growth is only ever
measured within a life: a restart is not memory given back.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from cubicweb_leakwatch.probe.sample import Sample

# Without a pid and a request count, only such a fall of RSS after a slow rise is taken for a restart.
_RESTART_FALL = 0.3
_RESTART_RISE_SAMPLES = 10
# A clock set back shows as a few long runs of rising times; more, shorter runs are lines in disorder.
_CLOCK_RUN_SAMPLES = 8


def lineages(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Return the samples of each process by its name, in time order, each once.

    Samples without a name go by their pid when several pids are seen at the same time, else they are one lineage.
    """
    named: dict[str, list[Sample]] = {}
    names_of_pids = _names_of_pids(samples := list(samples))
    for sample in samples:
        named.setdefault(sample.process or names_of_pids.get(sample.pid, ""), []).append(sample)
    found: dict[str, list[Sample]] = {}
    for name, members in named.items():
        for label, group in _apart(name, members):
            found[label] = in_order(group)
    return found


def _names_of_pids(samples: Sequence[Sample]) -> dict[int | None, str]:
    """Return the one name a pid goes by elsewhere in the file, for samples that lack it."""
    return {sample.pid: sample.process for sample in samples if sample.process and sample.pid is not None}


def _apart(name: str, samples: list[Sample]) -> list[tuple[str, list[Sample]]]:
    """Split samples under one name when two pids of it lived side by side, not one after the other."""
    by_pid: dict[int | None, list[Sample]] = {}
    for sample in samples:
        by_pid.setdefault(sample.pid, []).append(sample)
    spans = sorted((min(s.t for s in group), max(s.t for s in group)) for group in by_pid.values())
    # a successor may overlap the one that drains, but not for half of its life
    side_by_side = any(
        min(first[1], second[1]) - second[0] > 0.5 * min(first[1] - first[0], second[1] - second[0])
        for first, second in pairwise(spans)
        if second[1] > second[0]
    )
    if len(by_pid) > 1 and side_by_side:
        return [(f"{name} (pid {pid})" if name else str(pid), group) for pid, group in by_pid.items()]
    last_pid = samples[-1].pid
    return [(name or (str(last_pid) if last_pid is not None else "process"), samples)]


def in_order(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of one process by time, each moment once (the last one read counts), clock jumps mended."""
    mended = _mend_clock(samples)
    by_time = {(sample.t, sample.pid): sample for sample in mended}
    return sorted(by_time.values(), key=lambda sample: sample.t)


def _mend_clock(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Undo a clock set back while the process ran: what came later in the file is moved behind what came before.

    Only done when the file is otherwise in order; times in disorder everywhere are lines in disorder, and sorted.
    """
    times = np.array([sample.t for sample in samples])
    steps = np.diff(times)
    backwards = np.flatnonzero(steps < 0)
    runs = np.diff(np.concatenate([[0], backwards + 1, [len(times)]]))
    if not len(backwards) or np.median(runs) < _CLOCK_RUN_SAMPLES or len(backwards) > len(times) / 20:
        return samples
    usual = float(np.median(steps[steps > 0]))
    shift = np.zeros(len(times))
    for index in backwards:
        # a jump forward just before, of the same size, was the clock's error: only the way back is undone then
        shift[index + 1 :] += usual - steps[index]
    return [dataclasses.replace(s, t=s.t + float(move)) if move else s for s, move in zip(samples, shift, strict=True)]


def split_lives(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Return the samples of a lineage, in time order, as one list a process life, the oldest first."""
    starts = [0, *(index for index in range(1, len(samples)) if _restarted(samples, index)), len(samples)]
    return [list(samples[first:last]) for first, last in pairwise(starts) if last > first]


def _restarted(samples: Sequence[Sample], index: int) -> bool:
    """Whether another process answers at ``index`` than before."""
    before, now = samples[index - 1], samples[index]
    if before.pid is not None and now.pid is not None:
        return before.pid != now.pid
    if before.requests is not None and now.requests is not None:
        return now.requests < before.requests
    return _fell_to_start(samples, index)


def _fell_to_start(samples: Sequence[Sample], index: int) -> bool:
    """Whether RSS fell at once, after a slow rise, below what it had been for a while: a new process."""
    before, now = samples[index - 1].rss, samples[index].rss
    if now > before * (1 - _RESTART_FALL) or index < _RESTART_RISE_SAMPLES:
        return False
    recent = [sample.rss for sample in samples[index - _RESTART_RISE_SAMPLES : index]]
    rose_at_once = min(recent) < (now + before) / 2
    return not rose_at_once and now <= 1.1 * min(sample.rss for sample in samples[:index])
