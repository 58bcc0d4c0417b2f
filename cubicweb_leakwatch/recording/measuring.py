"""Measuring every process of an instance on this host through its probe, before a database is opened at all.

Imports nothing of CubicWeb. What a process cannot tell is left out; a process that does not answer is a failure of its
own and never stops the others from being measured.
"""

import dataclasses
import datetime
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.client import ProbeAddress, ProbeError, ask, find_probes
from cubicweb_leakwatch.probe.sample import Sample

ANSWER_TIMEOUT_S = 10.0
COUNT_TIMEOUT_S = 60.0

SLACK = 0.9
"""Share of the interval after which a sample counts as the next one."""

LATE = 1.8
"""A look so many intervals after the last one is late: somebody, or the database, held the collector up."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """Which process: host, pid and start make it one of a kind; times are Unix seconds."""

    host: str
    pid: int
    started_at: float
    name: str
    role: str
    generation: int | None = None
    python: str | None = None
    versions: Mapping[str, str] | None = None

    @property
    def key(self) -> tuple[str, int, float]:
        """What no two processes share."""
        return (self.host, self.pid, self.started_at)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A process and the samples of it that are not recorded yet, the oldest first; ``limit`` in bytes.

    All but the last are what it noted by itself; they are wanted ``apart_s`` seconds from what is recorded.
    """

    identity: Identity
    samples: tuple[Sample, ...]
    state: str = "serving"
    limit: int | None = None
    apart_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one round found: who answered, who is there at all (by pid), and a sentence for each who did not answer."""

    processes: tuple[Measured, ...]
    present: frozenset[int]
    failures: tuple[LeakwatchError, ...]


class Meter:
    """Measures again and again, and remembers what that takes: each process's first type counts, and its last sample.

    ``types`` is how many types a sample keeps, 0 for none; ``interval_s`` how far apart samples are wanted.
    """

    def __init__(self, directory: Path, instance: str, *, types: int, interval_s: float) -> None:
        self.directory = directory
        self.instance = instance
        self.types = types
        self.interval_s = interval_s
        self._first_counts: dict[int, Mapping[str, int]] = {}
        self._measured: dict[tuple[str, int, float], float] = {}

    def measure(self) -> Measurement:
        """Ask every process now."""
        measured, failures = [], []
        addresses = find_probes(self.directory)
        strangers = set()
        for address in addresses:
            try:
                found = self._measure(address)
            except (LeakwatchError, ValueError, KeyError) as error:
                failures.append(_told(address, error))
                continue
            if found is None:
                strangers.add(address.pid)
            else:
                measured.append(found)
        present = frozenset(address.pid for address in addresses) - strangers
        self._forget(present)
        return Measurement(tuple(measured), present, tuple(failures))

    def _measure(self, address: ProbeAddress) -> Measured | None:
        status = ask(address, "status", timeout_s=ANSWER_TIMEOUT_S)
        if status.get("instance") not in (None, self.instance):
            return None  # two instances that share one runtime directory
        answer = self._counts(address)
        identity = _identity(status, answer)
        sample = self._sample(identity, answer)
        bridge = self._bridge(address, self._measured.get(identity.key, 0.0), sample.t)
        self._measured[identity.key] = sample.t
        state, limit = str(status.get("state")), status.get("limit")
        return Measured(identity, (*bridge, sample), state, limit, self.interval_s * SLACK)

    def _counts(self, address: ProbeAddress) -> dict[str, Any]:
        """Return a sample with type counts, or without where they cannot be taken: too little memory for a copy."""
        if self.types:
            try:
                return dict(ask(address, "counts", timeout_s=COUNT_TIMEOUT_S))
            except ProbeError as error:
                if error.code == "no-answer":
                    raise
        return dict(ask(address, "sample", timeout_s=ANSWER_TIMEOUT_S))

    def _sample(self, identity: Identity, answer: Mapping[str, Any]) -> Sample:
        sample = Sample.from_json(answer)
        if not sample.types:
            return sample
        first = self._first_counts.setdefault(identity.pid, sample.types)
        return dataclasses.replace(sample, types=most_telling(sample.types, first, self.types))

    def _bridge(self, address: ProbeAddress, last: float, now: float) -> tuple[Sample, ...]:
        """Return what the process noted by itself since ``last``, while nobody came, at the distance that is wanted."""
        if now - last < LATE * self.interval_s:
            return ()
        try:
            kept = [Sample.from_json(data) for data in ask(address, "ring", timeout_s=ANSWER_TIMEOUT_S, since=last)]
        except (LeakwatchError, ValueError):
            return ()
        past = [sample for sample in kept if now - sample.t >= self.interval_s / 2]
        return tuple(apart(past, self.interval_s * SLACK, last))

    def _forget(self, present: Iterable[int]) -> None:
        """Forget processes that have gone, so that this does not grow with every restart."""
        living = set(present)
        self._first_counts = {pid: counts for pid, counts in self._first_counts.items() if pid in living}
        self._measured = {key: t for key, t in self._measured.items() if key[1] in living}


def most_telling(counts: Mapping[str, int], first: Mapping[str, int], limit: int) -> dict[str, int]:
    """Return ``limit`` types: half of them the most numerous, the others those that grew most since the first count.

    A leak of two thousand handlers is not among the fifty most numerous types of a web application.
    """
    grown = [name for name in counts if counts[name] > first.get(name, 0)]
    by_growth = sorted(grown, key=lambda name: (first.get(name, 0) - counts[name], name))
    by_count = sorted(counts, key=lambda name: (-counts[name], name))
    chosen = dict.fromkeys(by_count[: limit - limit // 2])
    for name in (*by_growth, *by_count):
        if len(chosen) >= limit:
            break
        chosen.setdefault(name)
    return {name: counts[name] for name in chosen}


def apart(samples: Iterable[Sample], seconds: float, last: float = -math.inf) -> list[Sample]:
    """Return those of ``samples`` (oldest first) ``seconds`` or more apart, and from ``last`` (Unix seconds)."""
    chosen: list[Sample] = []
    for sample in samples:
        if sample.t - last >= seconds:
            chosen.append(sample)
            last = sample.t
    return chosen


def _identity(status: Mapping[str, Any], counts: Mapping[str, Any]) -> Identity:
    """Always from the status: what is recorded must compare equal a minute later, when there may be no counts."""
    return Identity(
        host=str(status["host"]),
        pid=int(status["pid"]),
        started_at=datetime.datetime.fromisoformat(status["started_at"]).timestamp(),
        name=str(status["name"]),
        role=str(status["role"]),
        generation=status.get("generation"),
        python=counts.get("python"),
        versions=counts.get("versions"),
    )


def _told(address: ProbeAddress, error: Exception) -> LeakwatchError:
    if isinstance(error, LeakwatchError):
        return error
    return LeakwatchError(
        f"{address.name} (pid {address.pid}) gave an answer that makes no sense: {error}", code="nonsense"
    )
