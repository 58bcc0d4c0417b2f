"""Decides, from leakwatch's reports and the count of requests, whether the demo showed its two stories."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .traffic import Count

FINALIZER = "mercurial.url.httphandler"
KEEPER = "POLLER.handlers"
REPLACED = "replaced"


@dataclass(frozen=True)
class Leak:
    """The cycle shape with Mercurial's handler that ``leak-gc`` found in the scheduler."""

    process: str
    finalizer: str
    count: int
    bytes: int
    path: tuple[str, ...]
    holder: str | None


@dataclass(frozen=True)
class Result:
    """What one run of the demo found."""

    leak: Leak | None
    restarts: tuple[dict[str, Any], ...]
    traffic: Count
    problems: tuple[str, ...]


def find_leak(reports: Sequence[dict[str, Any]]) -> Leak | None:
    """Return the largest cycle shape with Mercurial's handler among the items of ``leak-gc --json``, or None."""
    shapes = [
        (cycle["count"], report["process"]["name"], cycle)
        for report in reports
        for cycle in report["cycles"]
        if FINALIZER in cycle["finalizers"]
    ]
    if not shapes:
        return None
    count, process, cycle = max(shapes, key=lambda shape: shape[0])
    return Leak(process, FINALIZER, count, cycle["bytes"], tuple(cycle["path"]), cycle["holder"])


def judge(reports: Sequence[dict[str, Any]], restarts: Sequence[dict[str, Any]], traffic: Count) -> Result:
    """Return what was found, with a sentence for each thing that should have been and was not."""
    leak = find_leak(reports)
    problems = [*_leak_problems(leak), *_restart_problems(restarts), *_traffic_problems(traffic)]
    return Result(leak, tuple(restarts), traffic, tuple(problems))


def _leak_problems(leak: Leak | None) -> list[str]:
    if leak is None:
        return [f"leak-gc found no cycle with {FINALIZER} in the scheduler"]
    if KEEPER not in (leak.holder or ""):
        return [f"leak-gc names {leak.holder or 'nothing'} as the holder, not {KEEPER}"]
    return []


def _restart_problems(restarts: Sequence[dict[str, Any]]) -> list[str]:
    if any(restart["outcome"] == REPLACED for restart in restarts):
        return []
    return ["no replaced worker is recorded"]


def _traffic_problems(traffic: Count) -> list[str]:
    if traffic.lost:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(traffic.failed.items()))
        return [f"{traffic.lost} of {traffic.sent} requests failed: {kinds}"]
    if traffic.answered != traffic.sent or not traffic.sent:
        return [f"{traffic.sent} requests were sent and {traffic.answered} answered"]
    return []
