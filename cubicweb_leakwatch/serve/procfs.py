"""The few figures the launcher reads from ``/proc`` and the cgroup, in bytes."""

from __future__ import annotations

import os

PAGE = os.sysconf("SC_PAGE_SIZE")
CGROUP_ROOT = "/sys/fs/cgroup"


def memory_of(pid: int) -> tuple[int, int] | None:
    """Return (resident, private) bytes of a process, None when it is gone."""
    text = _read(f"/proc/{pid}/statm")
    if not text:
        return None
    pages = text.split()
    resident, shared = _number(pages[1:2]), _number(pages[2:3])
    return None if resident is None or shared is None else (resident * PAGE, (resident - shared) * PAGE)


def rss_of(pid: int | None) -> int | None:
    """Return the resident bytes of a process, None when it is gone."""
    memory = memory_of(pid) if pid else None
    return memory[0] if memory else None


def descriptors_of(pid: int) -> tuple[int, int] | None:
    """Return (open, allowed) descriptors of a process, None when it is gone or may not be looked at."""
    for line in _read(f"/proc/{pid}/limits").splitlines():
        allowed = _number(line.split()[3:4]) if line.startswith("Max open files") else None
        if allowed is not None:
            try:
                return len(os.listdir(f"/proc/{pid}/fd")), allowed  # noqa: PTH208
            except OSError:
                return None
    return None


def effective_capabilities() -> int:
    """Return what this process may do, as a set of bits (capabilities(7))."""
    return _number(_read("/proc/self/status").partition("CapEff:")[2].split(maxsplit=1)[:1], 16) or 0


def nice_limit() -> int:
    """Return RLIMIT_NICE of this process."""
    return _number(_read("/proc/self/limits").partition("Max nice priority")[2].split(maxsplit=1)[:1]) or 0


def available_bytes() -> int | None:
    """Return what the host, and the cgroup where one limits us, can still give; None when unknown."""
    known = [room for room in (_host_available(), _cgroup_available()) if room is not None]
    return min(known) if known else None


def _host_available() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        kib = _number(line.split()[1:2]) if line.startswith("MemAvailable:") else None
        if kib is not None:
            return kib * 1024
    return None


def _cgroup_available() -> int | None:
    """Walk up from our own cgroup (version 2): the tightest limit above us counts."""
    path = _read("/proc/self/cgroup").rpartition("0::")[2].strip() or "/"
    rooms = []
    while True:
        room = _room_in(CGROUP_ROOT + path)
        if room is not None:
            rooms.append(room)
        if path in ("/", ""):
            return min(rooms) if rooms else None
        path = path.rpartition("/")[0] or "/"


def _room_in(directory: str) -> int | None:
    limit = _number(_read(directory + "/memory.max").split())
    used = _number(_read(directory + "/memory.current").split())
    return None if limit is None or used is None else max(0, limit - used + _reclaimable(directory))


def _reclaimable(directory: str) -> int:
    """The page cache counts as used, yet the kernel gives it back before it kills anybody."""
    for line in _read(directory + "/memory.stat").splitlines():
        if line.startswith("inactive_file "):
            return _number(line.split()[1:2]) or 0
    return 0


def _number(words: list[str], base: int = 10) -> int | None:
    """Return the number that is there; None where the kernel says something else: ``max``, ``unlimited``, nothing."""
    try:
        (word,) = words
        return int(word, base)
    except ValueError:
        return None


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as source:  # noqa: PTH123 (pathlib would cost the launcher another 0.5 MB)
            return source.read()
    except (OSError, ValueError):  # a group's name may hold anything, even what no path can
        return ""
