"""The meters of the running process: memory, allocator, descriptors, threads. No heap walk, well below a millisecond
for a small process; the kernel's own walk for USS and PSS grows with the memory and runs without the GIL."""

import ctypes
import functools
import gc
import os
import sys
import time

import psutil

from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.room import read_cgroup_limit, read_pressure

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUP_EVERY_S = 60.0


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
def _cgroup_limit(_moment: int) -> int | None:
    """Return the control group's limit; it may be changed while we run, but takes several files to read."""
    return read_cgroup_limit()


def take_sample(state: ProcessState) -> Sample:
    """Measure the running process now. ``gc_objects`` and ``types`` stay unknown: they take a heap walk."""
    process = psutil.Process()
    with process.oneshot():
        memory = process.memory_full_info()
        fds, threads = process.num_fds(), process.num_threads()
    malloc = malloc_figures()
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
        cgroup_limit=_cgroup_limit(int(time.monotonic() // _CGROUP_EVERY_S)),
        cgroup_pressure=read_pressure(),
        views=dict(state.views) or None,
        tasks={name: dict(told) for name, told in tuple(state.tasks.items())} or None,
    )
