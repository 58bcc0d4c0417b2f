"""Recording allocations inside a process for a while: with memray where it is installed, else with tracemalloc.

This is the one look that is not taken from a copy: it slows the process down while it lasts. So it is bounded: in
time, in the size of what is recorded, and by whoever asked, who must go on asking or the recording ends.
"""

import contextlib
import importlib.util
import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.heap.forked import run_in_copy

MAX_SECONDS = 3600.0
MAX_BYTES = 256 << 20
"""Of memray's file, or of the memory that tracemalloc takes."""

LEASE_S = 10.0
"""How long the recording goes on when nobody asks after it: who started it may have died."""

MEMRAY, TRACEMALLOC = "memray", "tracemalloc"
_MOST_LINES = 2000
_COST = {
    MEMRAY: "1 to 5 times the processor time for each request while it lasts, some 10 MiB of memory for good (its "
    "import), and a file of at most {limit} MiB",
    TRACEMALLOC: "6 to 11 times the processor time for each request while it lasts, and at most {limit} MiB of memory, "
    "which is given back; install memray (extra `trace`) for less",
}


class Recorder(Protocol):
    """One of the two engines, while it records."""

    def stop(self) -> dict[str, Any]:
        """Stop recording; return what the asker gets."""

    def abandon(self) -> None:
        """Stop, and leave nothing behind."""

    def used_bytes(self) -> int:
        """Return how much has been recorded."""


class _Memray:
    def __init__(self, path: Path, native: bool) -> None:
        import memray

        self._path = path
        self._tracker = memray.Tracker(path, native_traces=native, trace_python_allocators=True)
        self._tracker.__enter__()
        path.chmod(0o600)

    def stop(self) -> dict[str, Any]:
        self._tracker.__exit__(None, None, None)
        return {"path": str(self._path)}

    def abandon(self) -> None:
        self.stop()
        self._path.unlink(missing_ok=True)

    def used_bytes(self) -> int:
        with contextlib.suppress(OSError):
            return self._path.stat().st_size
        return 0


class _Tracemalloc:
    def __init__(self) -> None:
        tracemalloc.start(1)

    def stop(self) -> dict[str, Any]:
        try:
            return {"lines": run_in_copy(_lines_alive, keep_tracing=True).value}
        finally:
            tracemalloc.stop()

    def abandon(self) -> None:
        tracemalloc.stop()

    def used_bytes(self) -> int:
        return tracemalloc.get_tracemalloc_memory()


def _lines_alive() -> list[dict[str, Any]]:
    """Return the lines whose allocations are alive, the most bytes first; called in a copy."""
    found = tracemalloc.take_snapshot().statistics("lineno")[:_MOST_LINES]
    return [
        {"file": row.traceback[0].filename, "line": row.traceback[0].lineno, "bytes": row.size, "count": row.count}
        for row in found
    ]


@dataclass
class _Running:
    recorder: Recorder
    engine: str
    started: float
    ends: float
    limit: int
    asked: float
    result: dict[str, Any] | None = None
    why: str = ""


class Tracing:
    """The recording of one process: there is at most one at a time."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory / "traces"
        self._clock = clock
        self._lock = threading.Lock()
        self._running: _Running | None = None

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Do what ``action`` says: ``plan`` tells the cost, ``start``, ``state``, ``stop``. Raises LeakwatchError."""
        actions = {"plan": self.plan, "start": self.start, "state": self.state, "stop": self.stop}
        action = actions.get(str(question.get("action")))
        if action is None:
            raise LeakwatchError("trace wants an action", f"it knows {', '.join(actions)}", "bad-question")
        with self._lock:
            return action(question)

    def plan(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return which engine there is and what it costs; nothing is started."""
        engine = MEMRAY if importlib.util.find_spec("memray") else TRACEMALLOC
        if question.get("native") is True and engine != MEMRAY:
            raise LeakwatchError(
                "C functions can be told by memray alone, which is not installed here",
                "pip install cubicweb-leakwatch[trace], or trace without --native",
                "no-memray",
            )
        limit = _number(question.get("max_bytes"), MAX_BYTES)
        cost = _COST[engine].format(limit=round(limit / (1 << 20), 1))
        return {"engine": engine, "cost": cost, "max_bytes": int(limit)}

    def start(self, question: dict[str, Any]) -> dict[str, Any]:
        """Start recording; refuses while a recording goes on, or the program records by itself."""
        if self._running is not None:
            raise LeakwatchError("this process is being traced already", "wait until that ends", "busy")
        plan = self.plan(question)
        now, limit = self._clock(), int(plan["max_bytes"])
        recorder = self._recorder(plan["engine"], question.get("native") is True, limit)
        seconds = _number(question.get("seconds"), MAX_SECONDS)
        self._running = _Running(recorder, plan["engine"], now, now + seconds, limit, now)
        return plan

    def _recorder(self, engine: str, native: bool, limit: int) -> Recorder:
        if engine == TRACEMALLOC:
            if tracemalloc.is_tracing():
                raise LeakwatchError("the program itself uses tracemalloc", "stop that first", "busy")
            return _Tracemalloc()
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for old in self._directory.iterdir():  # of a process that died, or an asker that never came for it
            if old.name.endswith(f"-{os.getpid()}.bin") or not Path(f"/proc/{old.stem.rpartition('-')[2]}").exists():
                old.unlink(missing_ok=True)
        room = os.statvfs(self._directory)
        if room.f_bavail * room.f_frsize < limit:
            raise LeakwatchError(f"{self._directory} has less than {limit >> 20} MiB left", "make room", "no-room")
        try:
            return _Memray(self._directory / f"trace-{os.getpid()}.bin", native)
        except RuntimeError as error:  # the program runs under memray itself
            raise LeakwatchError(f"memray refused: {error}", "is the process traced already?", "busy") from error

    def state(self, _question: dict[str, Any]) -> dict[str, Any]:
        """Say how it goes; asking keeps the recording alive."""
        running = self._still()
        running.asked = self._clock()
        recorded = running.recorder.used_bytes()
        return {"running": running.result is None, "elapsed_s": running.asked - running.started, "bytes": recorded}

    def stop(self, _question: dict[str, Any]) -> dict[str, Any]:
        """Stop, and hand over what was recorded."""
        running = self._still()
        if running.result is None:
            self._end(running, "asked")
        self._running = None
        return {**(running.result or {}), "engine": running.engine, "stopped": running.why}

    def _still(self) -> _Running:
        if self._running is None:
            raise LeakwatchError("this process is not being traced", "it may have stopped by itself", "not-tracing")
        return self._running

    def _end(self, running: _Running, why: str) -> None:
        running.why = why
        seconds = round(self._clock() - running.started, 1)
        running.result = {**running.recorder.stop(), "seconds": seconds, "bytes": running.recorder.used_bytes()}

    def tick(self) -> None:
        """Look after the bounds; called every second by the probe's own thread."""
        with self._lock:
            running, now = self._running, self._clock()
            if running is None:
                return
            if now - running.asked > LEASE_S:
                self._running = None
                if running.result is None:
                    running.recorder.abandon()
                elif "path" in running.result:
                    Path(running.result["path"]).unlink(missing_ok=True)
            elif running.result is None and now >= running.ends:
                self._end(running, "time")
            elif running.result is None and running.recorder.used_bytes() >= running.limit:
                self._end(running, "size")


def _number(value: object, most: float) -> float:
    return min(float(value), most) if isinstance(value, int | float) and value > 0 else most
