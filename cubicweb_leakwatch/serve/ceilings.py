"""What this process may have of descriptors and threads, and how near it is: beyond, every request would fail."""

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FULL = 0.9
"""Share of a ceiling at which a successor is wanted."""

ROOTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/pids"))


@dataclass(frozen=True)
class Ceiling:
    """How many of ``what`` are in use, by this process (``own``) and by all of ``whom`` it is (``used``)."""

    what: str
    own: int
    used: int
    allowed: int
    whom: str = "its control group"

    @property
    def reached(self) -> bool:
        """Whether there is next to nothing left, and this process is the one that took it (half of it or more)."""
        return self.used >= self.allowed * FULL and self.own * 2 >= self.used

    def __str__(self) -> str:
        others = f", {self.used} with the others of {self.whom}" if self.used != self.own else ""
        return f"{self.own} {self.what}{others}, {self.allowed} are allowed"


def ceilings(connections: int = 0) -> list[Ceiling]:
    """Return the ceilings of this process that are known; ``connections`` are its clients', which no restart spares."""
    found = [_descriptors(connections), _threads(), _tasks_of_user()]
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


def _tasks_of_user() -> Ceiling | None:
    """Threads count against ``ulimit -u`` as well, together with all that the user runs; the superuser has no such."""
    allowed, own = resource.getrlimit(resource.RLIMIT_NPROC)[0], len(os.listdir("/proc/self/task"))  # noqa: PTH208
    # Counting the whole host's threads each second is for those alone who may be the reason.
    if allowed == resource.RLIM_INFINITY or os.geteuid() == 0 or own * 2 < allowed * FULL:
        return None
    return Ceiling("threads", own, sum(map(_tasks, _processes_of(os.getuid()))), allowed, "its user")


def _processes_of(uid: int) -> Iterator[str]:
    with os.scandir("/proc") as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.name.isdigit() and entry.stat().st_uid == uid:
                    yield entry.path


def _tasks(process: str) -> int:
    try:
        return len(os.listdir(f"{process}/task"))  # noqa: PTH208
    except OSError:
        return 0


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
