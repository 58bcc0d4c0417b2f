"""Watching the limits of children that do not watch themselves: any command that is run as it is."""

from __future__ import annotations

import os

from cubicweb_leakwatch.serve import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cubicweb_leakwatch.serve.records import Worker
    from cubicweb_leakwatch.serve.spec import Limits

SAMPLES = 3
PERIOD_S = 1.0
MIB = 1024 * 1024
# Shares of a limit: above the first a fresh successor is no help; at the second descriptors are about to run out; by up
# to the third a child's own limit lies below the one that was set, so that not all end together.
NEAR, FDS_FULL, JITTER = 0.8, 0.9, 0.1


class Watched:
    """What is remembered of one child: its own limits, and for how many seconds it has been over one, or near."""

    def __init__(self, limits: Limits, fresh_bytes: int) -> None:
        share = 1.0 - JITTER * int.from_bytes(os.urandom(2), "big") / 65535
        # Not so low that a fresh child would be near it.
        lowest = int(fresh_bytes * 1.1)
        self.memory_bytes = min(limits.memory_bytes, max(int(limits.memory_bytes * share), lowest))
        self.max_age_s = limits.max_age_s * share
        self.over = self.near = 0


class Minder:
    """Looks at each child once a second; ``ask(pid, reason)`` is called when a successor is wanted.

    ``near(pid)`` is called once, when a child has come above 80 % of its memory limit.
    """

    def __init__(
        self,
        limits: Limits,
        ask: Callable[..., None],
        near: Callable[[int], None] | None = None,
        measure: Callable[[int], tuple[int, int] | None] = procfs.memory_of,
        descriptors: Callable[[int], tuple[int, int] | None] = procfs.descriptors_of,
    ) -> None:
        self.limits, self._ask, self._near = limits, ask, near
        self._measure, self._descriptors = measure, descriptors
        self._watched: dict[int, Watched] = {}
        self._next_at = 0.0

    def refusal(self, pid: int) -> str | None:
        """Return why a child that has just become ready must not serve: it would be replaced for ever."""
        used = self._private(pid)
        if not self.limits.memory_bytes or used < self.limits.memory_bytes:
            return None
        return (
            f"the memory limit {self.limits.memory_bytes / MIB:.1f} MiB is below the {used / MIB:.1f} MiB that a fresh "
            "worker needs: it would be replaced for ever"
        )

    def look(self, serving: Iterable[Worker], now: float) -> None:
        """Check the limits of the children that serve, when it is time to."""
        if now < self._next_at:
            return
        self._next_at = now + PERIOD_S
        before, self._watched = self._watched, {}
        for worker in serving:
            watched = before.get(worker.pid) or Watched(self.limits, self._private(worker.pid))
            self._watched[worker.pid] = watched
            worker.limit = watched.memory_bytes or None
            self._look_at(worker, watched, now)

    def _look_at(self, worker: Worker, watched: Watched, now: float) -> None:
        reason = self._exhausted(worker, watched)
        watched.over = watched.over + 1 if reason else 0
        # Several samples: a spike is no leak.
        if reason and watched.over >= SAMPLES:
            self._ask(worker.pid, reason)
        age_s = now - worker.since
        if watched.max_age_s and age_s >= watched.max_age_s:
            reason = f"{age_s:.0f} s old, its limit is {watched.max_age_s:.0f} s"
            self._ask(worker.pid, reason, planned=True)

    def _exhausted(self, worker: Worker, watched: Watched) -> str:
        limit, used = watched.memory_bytes, self._private(worker.pid)
        watched.near = watched.near + 1 if limit and used > limit * NEAR else 0
        if watched.near == SAMPLES and self._near is not None:
            self._near(worker.pid)
        if limit and used > limit:
            return f"private memory {used / MIB:.1f} MiB over its limit {limit / MIB:.1f} MiB"
        known = self._descriptors(worker.pid)
        if known is not None and known[0] >= known[1] * FDS_FULL:
            return f"{known[0]} descriptors open, it may have {known[1]}"
        return ""

    def _private(self, pid: int) -> int:
        memory = self._measure(pid)
        return memory[1] if memory else 0
