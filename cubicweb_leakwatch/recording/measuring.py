"""Measuring every process of an instance on this host through its probe, before a database is opened at all.

Imports nothing of CubicWeb. What a process cannot tell is left out; a process that does not answer is a failure of its
own and never stops the others from being measured.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.client import ProbeAddress, ProbeError, ask, find_probes
from cubicweb_leakwatch.probe.sample import Sample

ANSWER_TIMEOUT_S = 10.0
COUNT_TIMEOUT_S = 60.0


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
    """A process and the samples of it that are not recorded yet, the oldest first; ``limit`` in bytes."""

    identity: Identity
    samples: tuple[Sample, ...]
    state: str = "serving"
    limit: int | None = None


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
        self._measured: set[tuple[str, int, float]] = set()

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
        bridge = () if identity.key in self._measured else self._bridge(address)
        self._measured.add(identity.key)
        sample = self._sample(identity, answer)
        return Measured(identity, (*bridge, sample), str(status.get("state")), status.get("limit"))

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

    def _bridge(self, address: ProbeAddress) -> tuple[Sample, ...]:
        """Return what the process noted by itself while nobody came, at the distance that is wanted."""
        try:
            kept = [Sample.from_json(data) for data in ask(address, "ring", timeout_s=ANSWER_TIMEOUT_S)]
        except (LeakwatchError, ValueError):
            return ()
        return tuple(apart(kept, self.interval_s))

    def _forget(self, present: Iterable[int]) -> None:
        """Forget processes that have gone, so that this does not grow with every restart."""
        living = set(present)
        self._first_counts = {pid: counts for pid, counts in self._first_counts.items() if pid in living}
        self._measured = {key for key in self._measured if key[1] in living}


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


def apart(samples: Iterable[Sample], seconds: float) -> list[Sample]:
    """Return those of ``samples`` (oldest first) that are about ``seconds`` apart."""
    chosen: list[Sample] = []
    for sample in samples:
        if not chosen or sample.t - chosen[-1].t >= seconds * 0.9:
            chosen.append(sample)
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
