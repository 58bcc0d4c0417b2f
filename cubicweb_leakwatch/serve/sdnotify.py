"""The ``sd_notify`` protocol, both ends: a worker tells the launcher, the launcher tells a service manager.

The datagram is lines of NAME=VALUE. Beside systemd's own names the workers send LEAKWATCH_LIMIT (bytes),
LEAKWATCH_WANT (why a successor is wanted; with LEAKWATCH_PLANNED=1 it may wait for its hour), LEAKWATCH_NEAR (bytes:
above 80 % of the limit), LEAKWATCH_SERVED (requests answered), LEAKWATCH_QUIET (1 in a minute with few requests),
LEAKWATCH_TRIMMED (bytes that the allocator gave back), LEAKWATCH_REFUSED (why it will not serve at all),
LEAKWATCH_DRAIN (JSON: the balance sheet) and LEAKWATCH_AUTOPSY (the path of a dump).
"""

from __future__ import annotations

import _socket as socket  # as in sockets.py
import os
import sys

# pid, uid, gid as the kernel states them, three C ints.
CREDENTIALS_SIZE = 12
DATAGRAM_SIZE = 65536


def notify(address: str | None, **values: object) -> bool:
    """Send NAME=VALUE lines to a notify socket; False when there is none or it does not take them."""
    if not address:
        return False
    text = "\n".join(f"{name}={value}".replace("\n", " ") for name, value in values.items())
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    except OSError:  # no descriptor left: what is told matters less than what is served
        return False
    # A manager that does not read must not hang us.
    sender.settimeout(1.0)
    try:
        sender.sendto(text.encode(errors="replace"), target)
    except OSError:
        return False
    finally:
        sender.close()
    return True


class NotifyReceiver:
    """The launcher's own notify socket: abstract, so no path to clean up or too long for a socket address."""

    def __init__(self, inherited_fd: int | None = None, address: str = "") -> None:
        if inherited_fd is None:
            self.address = f"@leakwatch-{os.getpid()}-{os.urandom(8).hex()}"
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.bind("\0" + self.address[1:])
        else:
            self.address = address
            self.socket = socket.socket(fileno=inherited_fd)
            os.set_inheritable(inherited_fd, False)
        # Without it anybody could claim that a worker is ready: the kernel itself states who sent a datagram.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self.socket.fileno()

    def receive(self) -> tuple[int, dict[str, str]] | None:
        """Return (sender's pid, values) of one datagram, None when there is no more; pid 0 for another user's."""
        try:
            data, ancillary, _flags, _from = self.socket.recvmsg(DATAGRAM_SIZE, socket.CMSG_SPACE(CREDENTIALS_SIZE) * 2)
        except BlockingIOError:
            return None
        pid = _trusted_sender(ancillary)
        return (0, {}) if pid is None else (pid, parse(data))

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def parse(data: bytes) -> dict[str, str]:
    """Return the NAME=VALUE lines of a datagram; what is no such line is left out."""
    pairs = (line.partition("=") for line in data.decode(errors="replace").split("\n"))
    return {name: value for name, equals, value in pairs if equals}


def _trusted_sender(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the pid that the kernel states, None for another user's; drop descriptors that were sent along."""
    sender = None
    for level, kind, content in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS and _int(content, 4) == os.geteuid():
            sender = _int(content, 0)
        elif kind == socket.SCM_RIGHTS:
            _close_all(content)
    return sender


def _int(content: bytes, start: int) -> int:
    return int.from_bytes(content[start : start + 4], sys.byteorder)


def _close_all(content: bytes) -> None:
    """Descriptors sent along would pile up in the launcher: nobody has reason to send any."""
    for start in range(0, len(content) - 3, 4):
        os.close(_int(content, start))
