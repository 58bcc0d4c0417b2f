"""The launcher's place in the runtime directory: checked, and locked against a second launcher."""

from __future__ import annotations

import fcntl
import os
import stat

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError

LOCK = "launcher.lock"


class Runtime:
    """Holds the lock of one instance for the life of this process.

    Raises ConfigurationError when the directory cannot be used, LeakwatchError when another launcher holds the lock.
    """

    def __init__(self, directory: str, instance: str, inherited_fd: int | None = None) -> None:
        self.directory = directory
        # Whether the launcher before us ended without a word: its workers may still be letting go of the sockets.
        self.unclean = False
        if inherited_fd is not None:
            self.lock_fd = inherited_fd
            os.set_inheritable(inherited_fd, False)
            return
        _make_private(directory)
        try:
            self.lock_fd = os.open(f"{directory}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(directory, error) from None
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self.lock_fd, 32).decode(errors="replace").strip() or "?"
            os.close(self.lock_fd)
            raise LeakwatchError(
                f"another launcher (pid {holder}) already serves {instance}",
                f"stop it by: kill {holder}, or have it replace its workers by: kill -HUP {holder}",
                "already-running",
            ) from None
        self.unclean = os.fstat(self.lock_fd).st_size > 0
        os.ftruncate(self.lock_fd, 0)
        os.write(self.lock_fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give the lock up."""
        os.ftruncate(self.lock_fd, 0)
        os.close(self.lock_fd)


def _make_private(directory: str) -> None:
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)  # noqa: PTH103
        found = os.stat(directory)  # noqa: PTH116
        if found.st_uid != os.geteuid():
            raise ConfigurationError(f"the runtime directory {directory} belongs to another user", "choose another")
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.chmod(directory, 0o700)  # noqa: PTH101
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise _unusable(directory, error) from None


def _unusable(directory: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the runtime directory {directory} cannot be written: {error.strerror or error}",
        "make it writable for this user, or set CW_RUNTIME_DIR",
    )
