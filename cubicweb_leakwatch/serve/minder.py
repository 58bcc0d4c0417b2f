"""Watching the limits of children that do not watch themselves: any command that is run as it is."""

from __future__ import annotations

from cubicweb_leakwatch.serve import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cubicweb_leakwatch.serve.records import Worker
    from cubicweb_leakwatch.serve.spec import Limits

SAMPLES = 3
PERIOD_S = 1.0
MIB = 1024 * 1024


class Minder:
    """Looks at each child once a second; ``ask(pid, reason)`` is called when a successor is wanted."""

    def __init__(
        self,
        limits: Limits,
        ask: Callable[[int, str], None],
        measure: Callable[[int], tuple[int, int] | None] = procfs.memory_of,
    ) -> None:
        self.limits, self._ask, self._measure = limits, ask, measure
        self._over: dict[int, int] = {}
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
        before, self._over = self._over, {}
        for worker in serving:
            self._look_at(worker, before.get(worker.pid, 0), now)

    def _look_at(self, worker: Worker, over: int, now: float) -> None:
        limit, used = self.limits.memory_bytes, self._private(worker.pid)
        if limit and used > limit:
            self._over[worker.pid] = over + 1
            # Several samples: a spike is no leak.
            if over + 1 >= SAMPLES:
                self._ask(worker.pid, f"private memory {used / MIB:.1f} MiB over its limit {limit / MIB:.1f} MiB")
        age_s, oldest_s = now - worker.since, self.limits.max_age_s
        if oldest_s and age_s >= oldest_s:
            self._ask(worker.pid, f"{age_s:.0f} s old, its limit is {oldest_s:.0f} s")

    def _private(self, pid: int) -> int:
        memory = self._measure(pid)
        return memory[1] if memory else 0
