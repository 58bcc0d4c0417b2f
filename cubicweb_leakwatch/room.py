"""How much memory there is left: what the host has available and what the control group still grants.

Standard library alone, and little of it: the launcher imports this too. Sources: proc(5) for ``MemAvailable``,
the kernel's cgroup-v2.rst (``memory.max``, ``memory.current``) and cgroup-v1/memory.rst (``limit_in_bytes``).
"""

from dataclasses import dataclass

_NO_LIMIT = 1 << 60
"""cgroup v1 says "no limit" by a number near the largest of a signed 64 bit one, rounded to a page."""


@dataclass(frozen=True)
class Room:
    """Memory in bytes; ``None`` for unknown or unlimited. ``cgroup_used`` counts reclaimable page cache out."""

    host_total: int | None
    host_available: int | None
    cgroup_limit: int | None
    cgroup_used: int | None

    @property
    def available(self) -> int | None:
        """What can be taken before the host or the control group is full; ``None`` when neither says."""
        known = [left for left in (self.host_available, self.cgroup_left) if left is not None]
        return min(known) if known else None

    @property
    def cgroup_left(self) -> int | None:
        """What the control group still grants; ``None`` without a limit."""
        if self.cgroup_limit is None or self.cgroup_used is None:
            return None
        return max(0, self.cgroup_limit - self.cgroup_used)

    @property
    def total(self) -> int | None:
        """The most that there can be: the host's memory, or the control group's limit if lower."""
        known = [size for size in (self.host_total, self.cgroup_limit) if size is not None]
        return min(known) if known else None


def read_room(root: str = "") -> Room:
    """Read the memory of the host and of this process's control group, v2 or v1.

    ``root`` stands before every path, for tests. What cannot be read is unknown; nothing is raised.
    """
    host = _key_values(_read(f"{root}/proc/meminfo"))
    limit, used = _cgroup(root)
    return Room(_kib(host.get("MemTotal:")), _kib(host.get("MemAvailable:")), limit, used)


def read_cgroup_limit(root: str = "") -> int | None:
    """Read the tightest memory limit of this process's control group and those above it, in bytes; ``None`` without."""
    return _cgroup(root)[0]


def find_pressure(root: str = "") -> str | None:
    """Return the file that tells how our control group waits for memory, the host's where the group is not watched.

    ``None`` where nobody is watched (psi.rst of the kernel).
    """
    places = [f"{root}/proc/pressure/memory"]
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        if line.startswith("0::"):  # in a container the path may be the host's, then the mount itself counts
            groups = (line[3:].rstrip("/"), "")
            places = [*(f"{root}/sys/fs/cgroup{group}/memory.pressure" for group in groups), *places]
    return next((place for place in places if read_pressure(place) is not None), None)


def read_pressure(place: str | None) -> float | None:
    """Return the share of the last minute, in percent, in which something waited for memory: its ``some avg60``."""
    return None if place is None else _waited(_read(place))


def _waited(text: str) -> float | None:
    """Return ``avg60`` of the line ``some avg10=0.12 avg60=0.05 avg300=0.01 total=123``."""
    kind, *averages = text.partition("\n")[0].split() or [""]
    told = dict(word.split("=", 1) for word in averages if "=" in word).get("avg60", "") if kind == "some" else ""
    return float(told) if told.isascii() and told.replace(".", "", 1).isdigit() else None


def _cgroup(root: str) -> tuple[int | None, int | None]:
    """Return the tightest limit on the way from our group up to the root, and what is used under it."""
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        hierarchy, controllers, path = [*line.split(":", 2), "", ""][:3]
        if hierarchy == "0" and not controllers:
            found = _tightest(f"{root}/sys/fs/cgroup", path, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            found = _tightest(f"{root}/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        if found is not None:
            return found
    return None, None


def _tightest(mount: str, path: str, limit_file: str, used_file: str) -> tuple[int, int | None] | None:
    """A group's parents limit it too; in a container the path may be the host's, then the mount itself counts."""
    found: list[tuple[int, int | None]] = []
    parts = [part for part in path.split("/") if part]
    for depth in range(len(parts), -1, -1):
        folder = "/".join([mount, *parts[:depth]])
        limit = _number(_read(f"{folder}/{limit_file}"))
        if limit is None or limit >= _NO_LIMIT:
            continue
        used = _number(_read(f"{folder}/{used_file}"))
        cache = _number(_key_values(_read(f"{folder}/memory.stat")).get("inactive_file", ""))
        found.append((limit, None if used is None else max(0, used - (cache or 0))))
    return min(found, key=lambda pair: pair[0] - (pair[1] or 0)) if found else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - pathlib is not for the launcher
            return file.read(65536)
    except (OSError, ValueError):  # a group's name may hold anything, even what no path can
        return ""


def _key_values(text: str) -> dict[str, str]:
    return {words[0]: words[1] for words in map(str.split, text.splitlines()) if len(words) >= 2}


def _number(text: str) -> int | None:
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None


def _kib(text: str | None) -> int | None:
    number = _number(text or "")
    return None if number is None else number * 1024
