"""A worker's own guard: each second it looks at its memory, age and number of requests, and asks for its successor."""

import ctypes
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.probe.meters import private_bytes
from cubicweb_leakwatch.watch.units import format_bytes, format_duration

SAMPLES = 3
"""Consecutive seconds over the limit before anything is done: a spike is no leak."""

ASK_AGAIN_S = 30.0
JITTER = 0.1
"""Share of a limit by which a worker's own may lie below it, so that workers started together do not end together."""


@dataclass(frozen=True)
class GuardLimits:
    """The limits of one worker; 0 is none."""

    memory_bytes: int = 0
    max_requests: int = 0
    max_age_s: float = 0.0


class Guard:
    """Call :meth:`check` each second; ``ask(reason)`` is called when a successor is wanted.

    ``requests`` tells how many were served. Raises ConfigurationError when the memory limit is below what the worker
    already uses: it would be replaced for ever.
    """

    def __init__(
        self,
        limits: GuardLimits,
        ask: Callable[[str], None],
        requests: Callable[[], int],
        *,
        measure: Callable[[], int] = private_bytes,
        trim: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._ask, self._requests, self._measure, self._clock = ask, requests, measure, clock
        self._trim = trim or trim_allocator
        at_start = measure()
        refuse_small_limit(limits.memory_bytes, at_start)
        share = 1.0 - JITTER * jitter()
        # Not so low that a fresh worker would be near it.
        self.memory_bytes = min(limits.memory_bytes, max(int(limits.memory_bytes * share), int(at_start * 1.1)))
        self.max_requests = max(1, int(limits.max_requests * share)) if limits.max_requests else 0
        self.max_age_s = limits.max_age_s * share
        self._started = clock()
        self._over = 0
        self._asked_at: float | None = None

    def check(self) -> None:
        """Look once, and ask for a successor when one is due; asks again if nothing came of it."""
        reason = self._reason()
        now = self._clock()
        if reason and (self._asked_at is None or now - self._asked_at >= ASK_AGAIN_S):
            self._asked_at = now
            self._ask(reason)

    def _reason(self) -> str | None:
        memory = self._memory_reason()
        if memory:
            return memory
        served, age = self._requests(), self._clock() - self._started
        if self.max_requests and served >= self.max_requests:
            return f"{served} requests served, its limit is {self.max_requests}"
        if self.max_age_s and age >= self.max_age_s:
            return f"{format_duration(age)} old, its limit is {format_duration(self.max_age_s)}"
        return None

    def _memory_reason(self) -> str | None:
        if not self.memory_bytes:
            return None
        used = self._measure()
        self._over = self._over + 1 if used > self.memory_bytes else 0
        if self._over < SAMPLES:
            return None
        if self._over == SAMPLES:
            self._trim()
            used = self._measure()
            if used <= self.memory_bytes:
                self._over = 0
                return None
        return f"private memory {format_bytes(used)} over its limit {format_bytes(self.memory_bytes)}"


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
