"""What this process may have of descriptors and threads, and how near it is: beyond, every request would fail."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path

FULL = 0.9
"""Share of a ceiling at which a successor is wanted."""

ROOTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/pids"))


@dataclass(frozen=True)
class Ceiling:
    """How many of ``what`` are in use, by this process (``own``) and by all who share the ceiling (``used``)."""

    what: str
    own: int
    used: int
    allowed: int

    @property
    def reached(self) -> bool:
        """Whether there is next to nothing left, and this process is the one that took it (half of it or more)."""
        return self.used >= self.allowed * FULL and self.own * 2 >= self.used

    def __str__(self) -> str:
        others = f", {self.used} with the others of its control group" if self.used != self.own else ""
        return f"{self.own} {self.what}{others}, {self.allowed} are allowed"


def ceilings(connections: int = 0) -> list[Ceiling]:
    """Return the ceilings of this process that are known; ``connections`` are its clients', which no restart spares."""
    found = [_descriptors(connections), _threads()]
    return [ceiling for ceiling in found if ceiling is not None]


def _descriptors(connections: int) -> Ceiling | None:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return None
    own = max(0, len(os.listdir("/proc/self/fd")) - 1 - connections)  # noqa: PTH208 - each second, no Path objects
    return Ceiling("descriptors beside its clients' connections", own, own, allowed - connections)


def _threads() -> Ceiling | None:
    """Threads count against ``pids.max`` of the control group, together with those of its other processes."""
    group = _pids_group()
    if group is None:
        return None
    limit, used = _read(group / "pids.max"), _read(group / "pids.current")
    own = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    return Ceiling("threads", own, int(used), int(limit)) if limit.isdigit() and used.isdigit() else None


def _pids_group() -> Path | None:
    """Return the control group that counts our threads, of either version."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == "" or "pids" in controllers.split(","):
            for root in ROOTS:
                group = root / path.lstrip("/")
                if (group / "pids.max").exists():
                    return group
    return next((root for root in ROOTS if (root / "pids.max").exists()), None)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
