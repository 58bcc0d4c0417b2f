"""What a probe answers to each question; the heap is only ever walked in a forked copy."""

import contextlib
import datetime
import functools
import importlib.metadata
import json
import platform
import time
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.heap.counts import TypeCounts, take_counts
from cubicweb_leakwatch.heap.dump import take_dump
from cubicweb_leakwatch.probe.meters import take_sample
from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.tracing import Tracing

RING_SAMPLES = 360
"""Samples kept in the process, one every ten seconds: an hour for a collector that is away. Packed, they take some
200 KiB, and as bytes they are no objects that the collector, or a look at the types that grow, would meet."""

MAX_LIMIT = 100_000
FORGOTTEN_S = 3600.0
DUMP_LIMIT_S = 120.0


def iso(t: float) -> str:
    """Return Unix seconds as ISO 8601 UTC, to the millisecond."""
    return datetime.datetime.fromtimestamp(t, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Answers:
    """The questions one process can answer, by name; each method takes the question's parameters."""

    def __init__(self, state: ProcessState, instance: str, directory: Path, *, contents: bool = False) -> None:
        self.state = state
        self.instance = instance
        self.directory = directory
        self.contents = contents
        self.baseline: TypeCounts | None = None
        self._ring: deque[bytes] = deque(maxlen=RING_SAMPLES)
        self._last_counts: TypeCounts | None = None
        self.spent_s: dict[str, float] = {"seconds": 0.0, "answers": 0.0}
        """Processor time of the probe: of what it does each second, and of its answers."""

        self.tracing = Tracing(directory)
        self._questions: dict[str, Callable[[dict[str, Any]], Any]] = {
            "status": self.status,
            "sample": self.sample,
            "ring": self.samples_since,
            "counts": self.counts,
            "gc": self.gc_counts,
            "dump": self.dump,
            "trace": self.tracing.answer,
        }

    def answer(self, question: dict[str, Any]) -> Any:
        """Return the data of the answer; raises ``LeakwatchError`` for what cannot be answered."""
        name = question.get("ask")
        handler = self._questions.get(name) if isinstance(name, str) else None
        if handler is None:
            raise LeakwatchError(
                "this probe does not know the question", f"it knows {', '.join(self._questions)}", "unknown-question"
            )
        return handler(question)

    def remember_sample(self) -> None:
        """Put a sample into the ring; called by the probe's own thread."""
        self._ring.append(zlib.compress(json.dumps(take_sample(self.state).as_json()).encode(), 1))

    def status(self, _question: dict[str, Any]) -> dict[str, Any]:
        """The row of ``leak-status``, without the verdict, which comes from the recorded history."""
        sample, state, counts = take_sample(self.state), self.state, self._last_counts
        return {
            "instance": self.instance,
            "name": state.name,
            "pid": state.pid,
            "host": state.host,
            "role": state.role,
            "state": state.state,
            "started_at": iso(state.started_at),
            "age_s": round(state.age_s, 3),
            "generation": state.generation,
            "requests": sample.requests,
            "in_flight": sample.in_flight,
            "rss": sample.rss,
            "uss": sample.uss,
            "pss": sample.pss,
            "limit": state.limit,
            "gc_objects": counts.gc_objects if counts else None,
            "garbage": sample.garbage,
            "threads": sample.threads,
            "fds": sample.fds,
            "probe_cpu_s": round(sum(self.spent_s.values()), 3),
        }

    def sample(self, _question: dict[str, Any]) -> dict[str, Any]:
        """A sample taken now."""
        return take_sample(self.state).as_json()

    def samples_since(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        """The samples of the ring later than ``since`` (Unix seconds)."""
        since = question.get("since")
        # Compared, not computed with: JSON has numbers that no float can hold.
        after = since if isinstance(since, int | float) else 0.0
        kept: list[dict[str, Any]] = [json.loads(zlib.decompress(sample)) for sample in tuple(self._ring)]
        return [sample for sample in kept if sample["t"] > after]

    def counts(self, _question: dict[str, Any]) -> dict[str, Any]:
        """A sample with the type counts, as a snapshot records them."""
        # first, and at the very moment the copy is made: what was served meanwhile would blur which view leaks
        sample = take_sample(self.state).as_json()
        counts = self._count()
        return {
            **sample,
            "gc_objects": counts.gc_objects,
            "garbage": counts.garbage,
            "types": counts.tracked,
            "pause_ms": counts.pause_ms,
            "elapsed_ms": counts.elapsed_ms,
            "process_started_at": self.state.started_at,
            "generation": self.state.generation,
            "role": self.state.role,
            "host": self.state.host,
            "python": platform.python_version(),
            "versions": installed_versions(),
        }

    def _count(self) -> TypeCounts:
        """Count the types; the first count of a process is its baseline, and takes the untracked objects in too."""
        counts = take_counts(untracked=self.baseline is None)
        if self.baseline is None:
            self.baseline = counts
        self._last_counts = counts
        return counts

    def gc_counts(self, question: dict[str, Any]) -> dict[str, Any]:
        """An item of ``leak-gc --types-only``: the counts of the objects that the collector tracks."""
        baseline = self.baseline
        counts = self._count()
        limit = _limit(question)
        types = sorted(counts.tracked.items(), key=lambda item: (-item[1], item[0]))[:limit]
        before = baseline.tracked if baseline else None
        return {
            **self._header(),
            "taken_at": iso(counts.taken_at),
            "pause_ms": counts.pause_ms,
            "elapsed_ms": counts.elapsed_ms,
            "partial": "types only: objects that the collector tracks, no cycles",
            "garbage": {"count": counts.garbage, "bytes": None, "types": []},
            "types": [
                {
                    "type": name,
                    "count": count,
                    "bytes": counts.bytes.get(name),
                    "delta": count - before.get(name, 0) if before is not None else None,
                }
                for name, count in types
            ],
            "growth_since": iso(baseline.taken_at) if baseline else None,
            "cycles": [],
            "roles": None,
        }

    def dump(self, question: dict[str, Any]) -> dict[str, Any]:
        """Write a heap dump into the runtime directory and say where; the asker takes it from there."""
        dumps = self.directory / "dumps"
        dumps.mkdir(mode=0o700, exist_ok=True)
        now = time.time()
        _remove_forgotten(dumps, now)
        path = dumps / f"{self.state.name}-{self.state.pid}-{int(now * 1000)}.dump"
        header = {**self._header(), "host": self.state.host, "taken_at": iso(now), "versions": installed_versions()}
        baseline = self.baseline
        header["growth_since"] = iso(baseline.taken_at) if baseline else None
        taken = take_dump(
            str(path),
            header=header,
            baseline={"tracked": baseline.tracked, "everything": baseline.everything} if baseline else None,
            contents=self.contents and question.get("contents") is True,
            time_limit_s=_time_limit(question),
        )
        return {
            "path": taken.path,
            "taken_at": header["taken_at"],
            "bytes": taken.bytes,
            "objects": taken.objects,
            "pause_ms": taken.pause_ms,
            "elapsed_ms": taken.elapsed_ms,
            "partial": taken.partial,
        }

    def _header(self) -> dict[str, Any]:
        sample, state = take_sample(self.state), self.state
        return {
            "process": {"name": state.name, "pid": state.pid, "role": state.role},
            "memory": {
                key: getattr(sample, key) for key in ("rss", "uss", "python_blocks", "malloc_used", "malloc_free")
            },
        }


def _remove_forgotten(dumps: Path, now: float) -> None:
    """Remove dumps whose asker never came for them: it died, or lost its patience."""
    for path in dumps.iterdir():
        with contextlib.suppress(OSError):
            if now - path.stat().st_mtime > FORGOTTEN_S:
                path.unlink()


def _time_limit(question: dict[str, Any]) -> float:
    limit = question.get("time_limit_s")
    return min(limit, DUMP_LIMIT_S) if isinstance(limit, float) and limit > 0 else DUMP_LIMIT_S


def _limit(question: dict[str, Any]) -> int:
    limit = question.get("limit")
    return min(limit, MAX_LIMIT) if isinstance(limit, int) and limit > 0 else 20


@functools.cache
def installed_versions() -> dict[str, str]:
    """Return the version of Python and of every installed distribution: what changes them is a deployment.

    Read once a process, early: an installation may change under it, but what it has loaded does not.
    """
    found = {"python": platform.python_version()}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(name.lower(), distribution.version)
    return dict(sorted(found.items()))
