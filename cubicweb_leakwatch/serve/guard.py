"""A worker's own guard: each second it looks at its memory, descriptors, threads, age and number of requests.

Over a limit it asks for its successor; free memory that the allocator holds is given back first.
"""

import ctypes
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.probe.meters import private_bytes
from cubicweb_leakwatch.serve.ceilings import Ceiling, ceilings
from cubicweb_leakwatch.watch.units import format_bytes, format_duration

SAMPLES = 3
"""Consecutive seconds over the limit before anything is done: a spike is no leak."""

ASK_AGAIN_S = 30.0
TRIM_AGAIN_S = 600.0
"""Memory that was given back and is in use again so soon is needed: the next time a successor is asked for."""

JITTER = 0.1
"""Share of a limit by which a worker's own may lie below it, so that workers started together do not end together."""

NEAR = 0.8
"""Share of the memory limit at which the launcher is told, so that it sees whether its last restart helped."""


@dataclass(frozen=True)
class GuardLimits:
    """The limits of one worker; 0 is none."""

    memory_bytes: int = 0
    max_requests: int = 0
    max_age_s: float = 0.0


@dataclass(frozen=True)
class Surroundings:
    """What the guard measures with, and whom it tells.

    ``ask(reason, planned)``: a successor is wanted; a planned one (requests, age) may wait for its hour.
    ``near(bytes)``: above 80 % of the memory limit. ``trimmed(bytes)``: so much the allocator gave back.
    ``requests()``: how many were served.
    """

    ask: Callable[[str, bool], None]
    requests: Callable[[], int]
    near: Callable[[int], None] = lambda used: None
    trimmed: Callable[[int], None] = lambda given_back: None
    measure: Callable[[], int] = private_bytes
    trim: Callable[[], None] | None = None
    ceilings: Callable[[], Sequence[Ceiling]] = ceilings
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random


class Guard:
    """Call :meth:`check` each second.

    Raises ConfigurationError when the memory limit is below what the worker already uses: it would be replaced for
    ever.
    """

    def __init__(self, limits: GuardLimits, around: Surroundings) -> None:
        self._around = around
        self._trim = around.trim or trim_allocator
        at_start = around.measure()
        refuse_small_limit(limits.memory_bytes, at_start)
        share = 1.0 - JITTER * around.jitter()
        # Not so low that a fresh worker would be near it.
        self.memory_bytes = min(limits.memory_bytes, max(int(limits.memory_bytes * share), int(at_start * 1.1)))
        self.max_requests = max(1, int(limits.max_requests * share)) if limits.max_requests else 0
        self.max_age_s = limits.max_age_s * share
        self._started = around.clock()
        self._over = self._near = self._full = 0
        self._trimmed_at: float | None = None
        self._asked_at: float | None = None

    def check(self) -> None:
        """Look once, and ask for a successor when one is due; asks again for as long as it is."""
        now = self._around.clock()
        exhausted = self._memory_reason(now) or self._ceiling_reason()
        reason = exhausted or self._planned_reason(now)
        if reason and (self._asked_at is None or now - self._asked_at >= ASK_AGAIN_S):
            self._asked_at = now
            self._around.ask(reason, not exhausted)

    def _planned_reason(self, now: float) -> str:
        served, age = self._around.requests(), now - self._started
        if self.max_requests and served >= self.max_requests:
            return f"{served} requests served, its limit is {self.max_requests}"
        if self.max_age_s and age >= self.max_age_s:
            return f"{format_duration(age)} old, its limit is {format_duration(self.max_age_s)}"
        return ""

    def _memory_reason(self, now: float) -> str:
        if not self.memory_bytes:
            return ""
        used = self._around.measure()
        self._watch_for_near(used)
        self._over = self._over + 1 if used > self.memory_bytes else 0
        if self._over < SAMPLES:
            return ""
        if self._trimmed_at is None or now - self._trimmed_at >= TRIM_AGAIN_S:
            used = self._give_back(used, now)
            if used <= self.memory_bytes:
                self._over = 0
                return ""
        return f"private memory {format_bytes(used)} over its limit {format_bytes(self.memory_bytes)}"

    def _give_back(self, used: int, now: float) -> int:
        self._trimmed_at = now
        self._trim()
        left = self._around.measure()
        self._around.trimmed(max(0, used - left))
        return left

    def _watch_for_near(self, used: int) -> None:
        self._near = self._near + 1 if used > self.memory_bytes * NEAR else 0
        if self._near == SAMPLES:
            self._around.near(used)

    def _ceiling_reason(self) -> str:
        reached = next((ceiling for ceiling in self._around.ceilings() if ceiling.reached), None)
        self._full = self._full + 1 if reached else 0
        return str(reached) if self._full >= SAMPLES else ""


def refuse_small_limit(limit_bytes: int, used_bytes: int) -> None:
    """Raise ConfigurationError when a fresh worker, using ``used_bytes``, is already at the limit."""
    if limit_bytes and used_bytes >= limit_bytes:
        raise ConfigurationError(
            f"the memory limit {format_bytes(limit_bytes)} is below the {format_bytes(used_bytes)} that a fresh worker "
            "needs: it would be replaced for ever",
            f"give at least --memory-limit {used_bytes * 3 // 2 // 1048576 + 1}MiB",
            "limit-too-small",
        )


def trim_allocator() -> None:
    """Have glibc give the free memory it holds back to the kernel; nothing where there is no glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
