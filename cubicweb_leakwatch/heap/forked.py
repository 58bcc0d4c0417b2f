"""Run a job in a forked copy of this process: the process itself is stopped for the fork alone.

The copy runs our code and the standard library only, with the collector off, every signal blocked and every inherited
descriptor replaced by ``/dev/null``; it is the first that the kernel kills when memory runs out, has a time limit, and
ends without any clean-up. What it finds comes back as JSON through a pipe.

Two things of the inspected program do run, because the interpreter calls them and nothing can stop it: hooks that it
registered with ``os.register_at_fork`` (before, in the parent, in the child) and with ``sys.addaudithook``.
"""

import contextlib
import ctypes
import gc
import json
import os
import re
import select
import signal
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.heap.pins import Pins, pin
from cubicweb_leakwatch.heap.room import needed_bytes, why_no_room

_PR_SET_PDEATHSIG = 1
_EVERY_SIGNAL = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
_NICENESS = 5
_libc = ctypes.CDLL(None)
_one_at_a_time = threading.Lock()

# From 3.12 on the interpreter warns of a fork in a process with threads. Ours calls nothing that could deadlock.
_QUIET = (
    "ignore",
    re.compile(r".*multi-threaded, use of fork"),
    DeprecationWarning,
    re.compile(re.escape(__name__)),
    0,
)


class CopyRefused(LeakwatchError):
    """There is no room for a copy of the process; ``message`` says what is missing."""

    code = "no-room"


class CopyFailed(LeakwatchError):
    """The copy was killed by its time limit, or crashed, or could not do its job."""

    code = "copy-failed"


@dataclass(frozen=True)
class CopyResult:
    """What the job returned, how long this process was stopped, and how long the whole took (milliseconds)."""

    value: Any
    pause_ms: float
    elapsed_ms: float


def copy_lives() -> bool:
    """Say whether a copy of this process is there: it shares all of its pages."""
    return _one_at_a_time.locked()


def run_in_copy(job: Callable[[], object], *, time_limit_s: float = 60.0, keep_tracing: bool = False) -> CopyResult:
    """Fork, call ``job`` in the copy, return what it returned (made of JSON's types).

    One copy at a time: further callers wait for their turn. Raises CopyRefused without the memory for it, CopyFailed
    when the copy dies or outlives its limit. With ``keep_tracing`` tracemalloc goes on in the copy, for a job that
    reads it.
    """
    return run_with_pins(lambda _pins: job(), time_limit_s=time_limit_s, keep_tracing=keep_tracing)


def run_with_pins(
    job: Callable[[Pins], object], *, time_limit_s: float = 60.0, keep_tracing: bool = False
) -> CopyResult:
    """Do as ``run_in_copy``; ``job`` also gets the pins: what the other threads were doing and owned."""
    with _one_at_a_time:
        refusal = why_no_room(needed_bytes())
        if refusal:
            raise CopyRefused(f"no heap copy taken: {refusal}", "ask again later")
        return _fork_and_wait(job, time_limit_s, keep_tracing)


def _fork_and_wait(job: Callable[[Pins], object], time_limit_s: float, keep_tracing: bool) -> CopyResult:
    started = time.monotonic()
    reader, writer = os.pipe()
    try:
        pid, pause_ms = _fork(job, writer, keep_tracing)
        os.close(writer)
        writer = -1
        with _reaped(pid):
            answer = _read_all(reader, started + time_limit_s, time_limit_s)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    return CopyResult(_decode(answer), pause_ms, (time.monotonic() - started) * 1000)


def _fork(job: Callable[[Pins], object], writer: int, keep_tracing: bool) -> tuple[int, float]:
    """Fork; return the child's pid and how long the process was stopped (ms). The child never returns."""
    _hush()
    stopped = time.perf_counter()
    tracer, profiler, collecting = sys.gettrace(), sys.getprofile(), gc.isenabled()
    sys.settrace(None)  # the program's; it must not follow into the copy
    sys.setprofile(None)
    gc.disable()  # no collection may start in the child before our code does
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _EVERY_SIGNAL)
    pins = None
    try:
        pins = pin()
        pid = os.fork()
        if pid == 0:
            _be_the_copy(job, pins, writer, keep_tracing)
    finally:
        if pins is not None:
            pins.release()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if collecting:
            gc.enable()
        sys.setprofile(profiler)
        sys.settrace(tracer)
    return pid, (time.perf_counter() - stopped) * 1000


def _hush() -> None:
    """Put our narrow filter first, should the program have changed them: under ``-W error`` a fork would raise."""
    if not warnings.filters or warnings.filters[0] is not _QUIET:
        warnings.filters.insert(0, _QUIET)  # type: ignore[attr-defined]
        warnings._filters_mutated()  # type: ignore[attr-defined]


def _be_the_copy(job: Callable[[Pins], object], pins: Pins, writer: int, keep_tracing: bool) -> None:
    status = 1
    try:
        _leave_the_world(writer, keep_tracing)
        _write_all(writer, json.dumps({"value": job(pins)}).encode())
        status = 0
    except BaseException as error:
        _write_all(writer, json.dumps({"error": f"{type(error).__name__}: {error}"[:500]}).encode())
    finally:
        os._exit(status)


def _leave_the_world(keep: int, keep_tracing: bool) -> None:
    """Cut what ties the copy to the program: monitoring, descriptors, its priority, a life after the parent's."""
    _stop_monitoring()
    if tracemalloc.is_tracing() and not keep_tracing:
        tracemalloc.stop()
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _blank_descriptors(keep)
    _be_killed_first()
    os.nice(_NICENESS)


def _stop_monitoring() -> None:
    monitoring: Any = getattr(sys, "monitoring", None)  # from 3.12 on
    for tool in range(6 if monitoring else 0):
        if monitoring.get_tool(tool) is not None:
            monitoring.set_events(tool, 0)


def _blank_descriptors(keep: int) -> None:
    """Put /dev/null in place of every descriptor, so that no finalizer can talk on a socket shared with the parent."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 (paths would be made for nothing)
        if number not in (keep, null):
            with contextlib.suppress(OSError):
                os.fstat(number)  # the descriptor of the listing itself is gone by now
                os.dup2(null, number)


def _be_killed_first() -> None:
    with contextlib.suppress(OSError):
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(score, b"1000")
        os.close(score)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def _reaped(pid: int) -> Iterator[None]:
    """Whatever happens, leave neither a running copy nor a zombie behind."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise
    finally:
        with contextlib.suppress(ChildProcessError):  # the program may reap every child by itself
            os.waitpid(pid, 0)


def _read_all(reader: int, deadline: float, time_limit_s: float) -> bytes:
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    parts: list[bytes] = []
    while True:
        left_ms = (deadline - time.monotonic()) * 1000
        if left_ms <= 0 or not poll.poll(left_ms):
            raise CopyFailed(f"the heap copy was killed: it outlived its time limit of {time_limit_s:g} s")
        part = os.read(reader, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _decode(answer: bytes) -> Any:
    try:
        document = json.loads(answer)
    except ValueError:
        raise CopyFailed("the heap copy died before it could answer (killed, or crashed)") from None
    if "error" in document:
        raise CopyFailed(f"the heap copy could not do its job: {document['error']}")
    return document["value"]
