"""A bounded load on a server of this machine: open loop (a slow answer delays no later request), no retries.

The mix is that of a site's clients: new connections, kept-alive ones, slow pages, uploads that crawl, clients that
connect and say nothing for a while, heads that come in two pieces.
"""

import asyncio
import ipaddress
import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.serve.clients import Address, KeptAlive, Outcome, judge

PROMPT = ("new", "keep-alive")
MAX_RATE, MAX_SECONDS, MAX_OPEN = 500.0, 3600.0, 1000


@dataclass(frozen=True)
class Mix:
    """How much of what: rates are requests a second, ``keep_alive`` is a number of clients.

    A kept-alive client thinks between ``think_s`` seconds after each answer.
    """

    new: float = 50.0
    slow: float = 1.0
    upload: float = 0.5
    lazy: float = 0.5
    split: float = 0.5
    keep_alive: int = 10
    think_s: tuple[float, float] = (0.2, 0.8)
    path: str = "/"
    slow_path: str = "/"


@dataclass(frozen=True)
class Figures:
    """What a set of requests came to; times in milliseconds, ``None`` where there was no request.

    The times are those of the prompt kinds, new and kept-alive: the others are slow on purpose.
    """

    sent: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    gap_ms: float | None


@dataclass
class LoadResult:
    """All outcomes of a load, and when it began (monotonic seconds)."""

    began: float
    outcomes: list[Outcome] = field(default_factory=list)

    def failures(self) -> dict[str, int]:
        """Return how many failed, by ``kind: reason``."""
        return dict(Counter(f"{each.kind}: {each.failed}" for each in self.outcomes if each.failed))

    def figures(self, windows: Sequence[tuple[float, float]] | None = None, *, inside: bool = True) -> Figures:
        """Return the figures of all requests, or of those due inside (or outside) windows of monotonic time.

        The gap is the longest interval without a completed request that overlaps what is asked about.
        """
        chosen = [each for each in self.outcomes if windows is None or _within(each, windows) == inside]
        times = sorted(each.seconds * 1000 for each in chosen if not each.failed and each.kind in PROMPT)
        return Figures(
            sent=len(chosen),
            failed=sum(each.failed is not None for each in chosen),
            p50_ms=_rounded(statistics.median(times)) if times else None,
            p99_ms=_rounded(times[min(len(times) - 1, int(len(times) * 0.99))]) if times else None,
            max_ms=_rounded(times[-1]) if times else None,
            gap_ms=self._gap_ms(windows if inside else None) if chosen else None,
        )

    def _gap_ms(self, windows: Sequence[tuple[float, float]] | None) -> float | None:
        last = max(each.due for each in self.outcomes)
        ends = sorted(each.due + each.seconds for each in self.outcomes if not each.failed)
        # After the last request was sent a gap is no wonder.
        ends = [end for end in ends if end <= last]
        pairs = [
            (start, end)
            for start, end in itertools.pairwise(ends)
            if windows is None or any(start <= final and end >= first for first, final in windows)
        ]
        return _rounded(max(end - start for start, end in pairs) * 1000) if pairs else None


async def run_load(address: Address, mix: Mix, seconds: float, *, stop: asyncio.Event | None = None) -> LoadResult:
    """Send the mix for ``seconds`` (or until ``stop`` is set), wait for the last answers, return all outcomes.

    Raises ConfigurationError for a target beyond this machine, or a load beyond what this is meant for.
    """
    check_bounds(address, mix, seconds)
    result = LoadResult(time.monotonic())
    until = result.began + seconds
    stop = stop or asyncio.Event()
    senders: list[Coroutine[Any, Any, None]] = [
        _send_kind(kind, getattr(mix, kind), address, mix, until, stop, result)
        for kind in ("new", "slow", "upload", "lazy", "split")
        if getattr(mix, kind) > 0
    ]
    senders += [_keep_alive(address, mix, until, stop, result) for _each in range(mix.keep_alive)]
    await asyncio.gather(*senders)
    return result


def check_bounds(address: Address, mix: Mix, seconds: float) -> None:
    """Raise ConfigurationError unless the target is this machine and the load is bounded."""
    if not isinstance(address, str) and not _is_loopback(address[0]):
        raise ConfigurationError(f"{address[0]} is not this machine", "a drill loads this machine's own sockets only")
    rate = mix.new + mix.slow + mix.upload + mix.lazy + mix.split
    if not 0 < rate <= MAX_RATE or mix.keep_alive > MAX_OPEN:
        raise ConfigurationError(f"{rate:g} requests a second is not a drill", f"at most {MAX_RATE:g}")
    if not 0 < seconds <= MAX_SECONDS:
        raise ConfigurationError(f"{seconds:g} seconds is not a drill", f"at most {MAX_SECONDS:g}")


async def _send_kind(
    kind: str, rate: float, address: Address, mix: Mix, until: float, stop: asyncio.Event, result: LoadResult
) -> None:
    path = mix.slow_path if kind == "slow" else mix.path
    waiting: set[asyncio.Task[None]] = set()

    async def send(due: float) -> None:
        result.outcomes.append(await judge(kind, address, path, due))

    due = result.began + random.random() / rate
    while due < until and not stop.is_set():
        await asyncio.sleep(due - time.monotonic())
        if len(waiting) < MAX_OPEN:
            task = asyncio.create_task(send(due))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        else:
            result.outcomes.append(Outcome(kind, due, 0.0, "not sent: too many are waiting"))
        due += 1.0 / rate
    if waiting:
        await asyncio.wait(waiting)


async def _keep_alive(address: Address, mix: Mix, until: float, stop: asyncio.Event, result: LoadResult) -> None:
    client = KeptAlive(address, mix.path)
    await asyncio.sleep(random.random() * mix.think_s[1])
    while (due := time.monotonic()) < until and not stop.is_set():
        result.outcomes.append(await client.ask(due))
        await asyncio.sleep(random.uniform(*mix.think_s))
    client.close()


def _within(outcome: Outcome, windows: Sequence[tuple[float, float]]) -> bool:
    """Whether a request was on its way at any moment of a window."""
    return any(outcome.due <= end and outcome.due + outcome.seconds >= start for start, end in windows)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _rounded(value: float) -> float:
    return round(value, 1)
