"""The meters of the running process: memory, allocator, descriptors, threads. No heap walk, and below a millisecond.

For USS and PSS the kernel walks all pages of the process (45 µs a MiB, without the GIL): that is done once a minute at
most, and in between they go on with the private memory, which costs nothing to know.
"""

import ctypes
import functools
import gc
import os
import sys
import time
from dataclasses import dataclass

import psutil

from cubicweb_leakwatch.heap.forked import copy_lives
from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.room import find_pressure, read_cgroup_limit, read_pressure

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUP_EVERY_S = 60.0

WALK_EVERY_S = 60.0
"""Seconds from one walk over the pages to the next, at least."""

WALK_SHARE = 0.001
"""And no more of the time than this is spent on them: in a process of 4 GiB one takes 0.2 s."""


class _Mallinfo2(ctypes.Structure):
    """glibc's ``struct mallinfo2`` (malloc.h), sizes in bytes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _find_mallinfo2() -> "ctypes._NamedFuncPointer | None":
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)  # absent from musl and from glibc before 2.33
    if function is not None:
        function.restype = _Mallinfo2
    return function


_MALLINFO2 = _find_mallinfo2()


def malloc_figures() -> tuple[int, int] | None:
    """Return the bytes that the C allocator has in use and free, over all its arenas; ``None`` off glibc.

    Also where another one has taken its place (jemalloc, tcmalloc): glibc's then has nothing at all in use.
    """
    if _MALLINFO2 is None:
        return None
    info = _MALLINFO2()
    used = info.uordblks + info.hblkhd
    return (used, info.fordblks) if used else None


def private_bytes() -> int:
    """Return the memory that is this process's own: resident less shared, in bytes, as the kernel counts pages.

    Raises ``OSError`` where ``/proc`` is not mounted.
    """
    with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - called every second: no Path object
        _size, resident, shared = statm.read().split()[:3]
    return (int(resident) - int(shared)) * _PAGE


@functools.lru_cache(maxsize=1)
def _cgroup_limit(_minute: int) -> int | None:
    """Return the control group's limit; it may be changed while we run, but takes several files to read."""
    return read_cgroup_limit()


@functools.lru_cache(maxsize=1)
def _pressure_place(_minute: int) -> str | None:
    """Return the file that tells the pressure; found once a minute."""
    return find_pressure()


@dataclass(frozen=True)
class Memory:
    """The memory of the running process in bytes: resident, its own, its fair share of what is shared."""

    rss: int
    uss: int
    pss: int


@dataclass(frozen=True)
class _Walk:
    """What a walk over the pages found, how much private memory there was then, and when the next one is due."""

    pid: int
    found: Memory
    private: int
    due: float


_last_walk: _Walk | None = None


def memory_now(process: psutil.Process) -> Memory:
    """Measure the memory; ``process`` is the running one.

    RSS is exact. USS and PSS are the kernel's at most a minute ago, and what resident memory that no file or other
    process shares (``statm``) has grown by since. While a heap copy shares all pages no walk begins: it would find
    nothing that is this process's own.
    """
    global _last_walk
    walk = _last_walk
    if walk is None or walk.pid != process.pid or (time.monotonic() >= walk.due and not copy_lives()):
        walk = _last_walk = _walk(process)
        return walk.found
    basic = process.memory_info()
    grown = basic.rss - basic.shared - walk.private
    uss = min(max(walk.found.uss + grown, 0), basic.rss)
    return Memory(basic.rss, uss, min(max(walk.found.pss + grown, uss), basic.rss))


def _walk(process: psutil.Process) -> _Walk:
    started = time.monotonic()
    full = process.memory_full_info()
    ended = time.monotonic()
    pause_s = max(WALK_EVERY_S, (ended - started) / WALK_SHARE)
    return _Walk(process.pid, Memory(full.rss, full.uss, full.pss), full.rss - full.shared, ended + pause_s)


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> psutil.Process:
    """Return the running process, whose pid this is; a fork of it has another."""
    return psutil.Process(pid)


def take_sample(state: ProcessState) -> Sample:
    """Measure the running process now. ``gc_objects`` and ``types`` stay unknown: they take a heap walk."""
    process = _process(os.getpid())
    memory = memory_now(process)
    with process.oneshot():
        fds, threads = process.num_fds(), process.num_threads()
    malloc = malloc_figures()
    minute = int(time.monotonic() // _CGROUP_EVERY_S)
    return Sample(
        t=time.time(),
        process=state.name,
        pid=state.pid,
        rss=memory.rss,
        uss=memory.uss,
        pss=memory.pss,
        python_blocks=sys.getallocatedblocks(),
        malloc_used=malloc[0] if malloc else None,
        malloc_free=malloc[1] if malloc else None,
        garbage=len(gc.garbage),
        requests=state.requests_served,
        in_flight=state.in_flight,
        fds=fds,
        threads=threads,
        cgroup_limit=_cgroup_limit(minute),
        cgroup_pressure=read_pressure(_pressure_place(minute)),
        views=dict(state.views) or None,
        tasks={name: dict(told) for name, told in tuple(state.tasks.items())} or None,
    )
