"""The runtime directory of an instance: who may enter, which names are taken, where each socket lies."""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cubicweb_leakwatch.errors import ConfigurationError

TENANT = "instance"
"""The file in a runtime directory that holds the path of its instance's data directory."""

SOCKET_NAME = re.compile(r"^(?P<name>[a-z]+(?:-\d+)?)-(?P<pid>\d+)\.sock$")


@dataclass(frozen=True)
class ProbeAddress:
    """Where one process of the instance listens: its slot, its pid and the path of its socket."""

    name: str
    pid: int
    path: Path


def runtime_path(data_home: str | Path) -> Path:
    """Return ``<CW_RUNTIME_DIR or the instance's data directory>/leakwatch``; nothing is created.

    Where instances share one CW_RUNTIME_DIR, the first keeps that name and each other's ends in ``-INSTANCE``: sockets
    say which process they are of, not which instance.
    """
    home = Path(data_home).absolute()
    shared = os.environ.get("CW_RUNTIME_DIR")
    if not shared:
        return home / "leakwatch"
    path = Path(shared).absolute() / "leakwatch"
    return path if _tenant(path) in (None, home) else path.with_name(f"leakwatch-{home.name}")


def _tenant(path: Path) -> Path | None:
    """Return the data directory whose instance uses this runtime directory; None when it is free."""
    try:
        home = Path((path / TENANT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return home if home.is_dir() else None


def _move_in(path: Path, home: Path) -> Path:
    """Note in the directory whose it is; return that of ``home``, another one where somebody was faster."""
    with names_locked(path):
        if _tenant(path) is None:
            (path / TENANT).touch(0o600)
            (path / TENANT).write_text(str(home), encoding="utf-8")
    return runtime_path(home)


def runtime_dir(data_home: str | Path) -> Path:
    """Return the runtime directory of the instance with this data directory, made with mode 0700 where it is missing.

    Raises ``ConfigurationError`` when it cannot be made or belongs to another user.
    """
    path = _made(runtime_path(data_home))
    mine = _move_in(path, Path(data_home).absolute())
    return path if mine == path else _made(mine)


def _made(path: Path) -> Path:
    hint = "give the instance's user a directory it may write to, by CW_RUNTIME_DIR"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(path)
        path.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(
            f"cannot use the runtime directory {path}: {error.strerror}", hint, "runtime-directory"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigurationError(f"cannot write to the runtime directory {path}", hint, "runtime-directory")
    return path


def _check_owner(path: Path) -> None:
    owner = path.stat().st_uid
    if owner == os.geteuid() and path.lstat().st_uid not in (owner, 0):
        owner = path.lstat().st_uid  # a link that a stranger made leads where the stranger wants it to tomorrow
    if owner != os.geteuid():
        raise ConfigurationError(
            f"the runtime directory {path} belongs to user {owner}, not to {os.geteuid()}",
            hint="run as the instance's user, or name another directory by CW_RUNTIME_DIR",
            code="runtime-directory",
        )


def is_alive(pid: int) -> bool:
    """Say whether a process with this pid exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def find_probes(directory: Path) -> list[ProbeAddress]:
    """List the sockets of living processes, by name, then pid; those that dead processes left are removed.

    A directory that does not exist holds no probe.
    """
    found = []
    for path in sorted(directory.glob("*.sock")):
        match = SOCKET_NAME.match(path.name)
        if match is None:
            continue
        address = ProbeAddress(match["name"], int(match["pid"]), path)
        if is_alive(address.pid):
            found.append(address)
        else:
            with contextlib.suppress(OSError):  # another caller may have removed it, or may not be allowed to
                path.unlink()
    return sorted(found, key=lambda address: (_order(address.name), address.pid))


def _order(name: str) -> tuple[str, int]:
    stem, _dash, number = name.partition("-")
    return ("~" if stem == "scheduler" else stem, int(number) if number.isdigit() else 0)


def socket_path(directory: Path, name: str, pid: int) -> Path:
    """Return the path of the probe socket of a process."""
    return directory / f"{name}-{pid}.sock"


def free_name(directory: Path, role: str) -> str:
    """Return the name for a process that no launcher named: ``scheduler``, else the lowest free ``web-N``."""
    if role != "web":
        return role
    taken = {address.name for address in find_probes(directory)}
    number = 1
    while f"web-{number}" in taken:
        number += 1
    return f"web-{number}"


@contextlib.contextmanager
def names_locked(directory: Path) -> Iterator[None]:
    """Hold the lock under which names are chosen and sockets bound, so that no two processes take one name."""
    with lock_file(directory / "names.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def lock_file(path: Path) -> IO[bytes]:
    """Open a file to take a lock on, the instance's user's alone; raises OSError where it cannot be made."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+b")


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Give a path that fits a Unix socket's 108 bytes, whatever the length of the directory's own (Linux)."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
