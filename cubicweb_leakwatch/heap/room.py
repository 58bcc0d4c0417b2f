"""Whether the host and the control group have the memory for a copy of this process."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = 4096
_MARGIN_BYTES = 64 << 20
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class Room:
    """What a copy may cost and what is there, in bytes; ``where`` says which limit is the tightest."""

    needed_bytes: int
    available_bytes: int
    where: str

    @property
    def enough(self) -> bool:
        """Whether a copy that comes to own every page still leaves the host alive."""
        return self.available_bytes >= self.needed_bytes

    def sentence(self) -> str:
        """Say in one sentence why a copy is refused."""
        return (
            f"a copy of this process may need {_mib(self.needed_bytes)}, and {self.where} has only "
            f"{_mib(self.available_bytes)} left"
        )


def look_for_room(root: Path = Path("/")) -> Room:
    """Compare this process's resident size, which writes may copy page by page, with what the host and its groups have.

    ``root`` is the file system to read ``proc`` and ``sys`` from. What cannot be read limits nothing.
    """
    needed = _resident_bytes(root) + _MARGIN_BYTES
    found = [(_host_available(root), "the host"), *((free, "its control group") for free in _group_rooms(root))]
    available, where = min(found)
    return Room(needed, available, where)


def _resident_bytes(root: Path) -> int:
    return int((root / "proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def _host_available(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return _UNLIMITED


def _group_rooms(root: Path) -> Iterator[int]:
    """Yield what each control group around this process has left, version 2 and version 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _walk_up(root / "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _walk_up(root / "sys/fs/cgroup/memory", path, *names)


def _walk_up(mount: Path, path: str, limit: str, usage: str, cached: str) -> Iterator[int]:
    """Yield limit - usage + easily dropped file pages, from the process's group up to the mount point.

    Inside a container the path of the host may not exist below the mount: then the mount itself is the group.
    """
    group = mount / path.lstrip("/")
    for folder in [group, *group.parents]:
        room = _one_group(folder, limit, usage, cached)
        if room is not None:
            yield room
        if folder == mount:
            return


def _one_group(folder: Path, limit: str, usage: str, cached: str) -> int | None:
    try:
        allowed = (folder / limit).read_text().strip()
        if allowed == "max" or int(allowed) >= _UNLIMITED:
            return None
        used = int((folder / usage).read_text())
        stat = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    dropped = next((int(line.split()[1]) for line in stat if line.startswith(cached + " ")), 0)
    return int(allowed) - used + dropped


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MiB"
