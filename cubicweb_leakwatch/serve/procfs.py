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
    resident, shared = int(pages[1]), int(pages[2])
    return resident * PAGE, (resident - shared) * PAGE


def rss_of(pid: int | None) -> int | None:
    """Return the resident bytes of a process, None when it is gone."""
    memory = memory_of(pid) if pid else None
    return memory[0] if memory else None


def descriptors_of(pid: int) -> tuple[int, int] | None:
    """Return (open, allowed) descriptors of a process, None when it is gone or may not be looked at."""
    for line in _read(f"/proc/{pid}/limits").splitlines():
        if line.startswith("Max open files") and line.split()[3].isdigit():
            try:
                return len(os.listdir(f"/proc/{pid}/fd")), int(line.split()[3])  # noqa: PTH208
            except OSError:
                return None
    return None


def effective_capabilities() -> int:
    """Return what this process may do, as a set of bits (capabilities(7))."""
    bits = _read("/proc/self/status").partition("CapEff:")[2].split(maxsplit=1)
    return int(bits[0], 16) if bits else 0


def nice_limit() -> int:
    """Return RLIMIT_NICE of this process."""
    limit = _read("/proc/self/limits").partition("Max nice priority")[2].split(maxsplit=1)
    return int(limit[0]) if limit and limit[0].isdigit() else 0


def available_bytes() -> int | None:
    """Return what the host, and the cgroup where one limits us, can still give; None when unknown."""
    known = [room for room in (_host_available(), _cgroup_available()) if room is not None]
    return min(known) if known else None


def _host_available() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
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
    limit, used = _read(directory + "/memory.max").strip(), _read(directory + "/memory.current").strip()
    if not limit.isdigit() or not used.isdigit():
        return None
    return max(0, int(limit) - int(used) + _reclaimable(directory))


def _reclaimable(directory: str) -> int:
    """The page cache counts as used, yet the kernel gives it back before it kills anybody."""
    for line in _read(directory + "/memory.stat").splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as source:  # noqa: PTH123 (pathlib would cost the launcher another 0.5 MB)
            return source.read()
    except (OSError, ValueError):  # a group's name may hold anything, even what no path can
        return ""
