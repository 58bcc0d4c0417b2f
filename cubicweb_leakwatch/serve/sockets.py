"""The listening sockets: opened once, by the launcher, and shared by every generation of workers.

One shared socket an address and no SO_REUSEPORT: with it each worker has a queue of its own in the kernel, and what
waits there dies with the worker.
"""

from __future__ import annotations

# The C module itself: the Python one above it costs the launcher 0.4 MB, for conveniences that it does not use.
import _socket as socket
import errno
import os
import stat
import time

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

BACKLOG = 1024
IN_USE = "address-in-use"
FIRST_LISTEN_FD = 3
# How long the workers of a launcher that was killed may take to let go of its sockets.
PATIENCE_AFTER_CRASH_S = 2.0


def open_listeners(bind: tuple[str, ...], *, socket_mode: int = 0o660, patience_s: float = 0.0) -> list[socket.socket]:
    """Bind every address; all or none. Raises ConfigurationError (bad address) or LeakwatchError (in use, refused).

    ``patience_s``: for how long an address may still be in use before that is an error.
    """
    opened: list[socket.socket] = []
    until = time.monotonic() + patience_s
    try:
        for address in bind:
            opened.append(_open_patiently(address, socket_mode, until))
    except LeakwatchError:
        close_listeners(opened)
        raise
    return opened


def inherited(fds: list[int]) -> list[socket.socket]:
    """Take sockets over by their descriptors, which our children shall not inherit at random.

    They must not block: workers that share one race for each connection, and all but one find nothing.
    """
    for fd in fds:
        os.set_inheritable(fd, False)
        os.set_blocking(fd, False)
    return [socket.socket(fileno=fd) for fd in fds]


def adopt_listeners(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """Take over the sockets a service manager hands down by ``LISTEN_FDS``, and forget the variables."""
    count, for_pid = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or (for_pid and for_pid != str(os.getpid())):
        return []
    return inherited(list(range(FIRST_LISTEN_FD, FIRST_LISTEN_FD + int(count))))


def close_listeners(listeners: list[socket.socket]) -> None:
    """Close our descriptors; the socket itself lives on as long as a worker or a service manager holds it."""
    for listener in listeners:
        listener.close()


def forget_path(address: str) -> None:
    """Remove the file of a Unix socket that we had bound."""
    if address.startswith("unix:"):
        try:
            os.unlink(address.removeprefix("unix:"))  # noqa: PTH108
        except OSError:
            return


def describe(listener: socket.socket) -> str:
    """Return the address as the operator writes it: ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:PATH``."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{host}:{name[1]}"


def parse_address(text: str) -> tuple[int, str | tuple[str, int]]:
    """Return (family, address) of ``HOST:PORT``, ``[IPV6]:PORT``, ``*:PORT`` or ``unix:PATH``."""
    path = text.removeprefix("unix:")
    if path != text and path:
        return socket.AF_UNIX, path
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(f"cannot listen on {text!r}", "write HOST:PORT, [IPV6]:PORT or unix:PATH")
    if host.startswith("["):
        return socket.AF_INET6, (host.strip("[]"), int(port))
    return socket.AF_INET, ("0.0.0.0" if host in ("", "*") else host, int(port))


def _open_patiently(text: str, socket_mode: int, until: float) -> socket.socket:
    while True:
        try:
            return _open(text, socket_mode)
        except LeakwatchError as error:
            if error.code != IN_USE or time.monotonic() >= until:
                raise
        time.sleep(0.05)


def _open(text: str, socket_mode: int) -> socket.socket:
    family, address = parse_address(text)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if isinstance(address, str):
            _clear_stale(address)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        if isinstance(address, str):
            os.chmod(address, socket_mode)  # noqa: PTH101
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _cannot_listen(text, error) from None
    return listener


def _clear_stale(path: str) -> None:
    """Remove a socket file that nobody listens on any more: a killed launcher leaves its own behind."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "a file that is no socket is in its place")
    except FileNotFoundError:
        return
    knock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    knock.settimeout(1)
    try:
        knock.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)  # noqa: PTH108
    else:
        raise OSError(errno.EADDRINUSE, "another server answers on it")
    finally:
        knock.close()


def _cannot_listen(text: str, error: OSError) -> LeakwatchError:
    if error.errno == errno.EADDRINUSE:
        return LeakwatchError(
            f"cannot listen on {text}: it is in use", "stop what holds it, or give another --bind", IN_USE
        )
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return ConfigurationError(f"cannot listen on {text}: this machine has no such address", "give another --bind")
    return LeakwatchError(f"cannot listen on {text}: {error.strerror or error}")
