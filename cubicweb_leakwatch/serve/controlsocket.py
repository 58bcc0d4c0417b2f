"""The launcher's side of ``launcher.sock``: one JSON line in, one JSON line out, no connection may hold up the loop."""

from __future__ import annotations

import _socket as socket  # as in sockets.py
import json
import os
import sys

from cubicweb_leakwatch.errors import LeakwatchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Answer = Callable[[dict[str, Any]], str]

SOCKET = "launcher.sock"
MAX_QUESTION = 65536
MAX_CONNECTIONS = 64
PATIENCE_S = 5.0


class Conversation:
    """One client: what it has asked so far, what it is still to be told, and until when (monotonic) it may take."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection, self.deadline = connection, deadline
        self.question, self.reply = b"", b""

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self.connection.fileno()


class ControlSocket:
    """The socket and its conversations; ``answer`` maps a question to the JSON text of its answer or raises."""

    def __init__(self, directory: str, answer: Answer, inherited_fd: int | None = None) -> None:
        self.directory, self.answer = directory, answer
        if inherited_fd is None:
            self.listener = _listen(directory)
        else:
            self.listener = socket.socket(fileno=inherited_fd)
            os.set_inheritable(inherited_fd, False)
        self.conversations: dict[int, Conversation] = {}

    def fileno(self) -> int:
        """Return the descriptor of the listening socket."""
        return self.listener.fileno()

    def accept(self, now: float) -> None:
        """Take a new client of our own user; strangers are turned away, in a crowd the oldest client makes room."""
        try:
            descriptor, _address = self.listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        connection = socket.socket(fileno=descriptor)
        if not _same_user(connection):
            connection.close()
            return
        if len(self.conversations) >= MAX_CONNECTIONS:
            self._end(next(iter(self.conversations)))
        connection.setblocking(False)
        self.conversations[connection.fileno()] = Conversation(connection, now + PATIENCE_S)

    def advance(self, fd: int) -> None:
        """Read more of a question, or write more of its answer."""
        talk = self.conversations[fd]
        try:
            if not talk.reply:
                self._read(talk)
            if talk.reply:
                talk.reply = talk.reply[talk.connection.send(talk.reply) :]
                if not talk.reply:
                    self._end(fd)
        except BlockingIOError:
            return
        except OSError:
            self._end(fd)

    def expire(self, now: float) -> None:
        """Drop the clients that took too long."""
        for fd, talk in list(self.conversations.items()):
            if talk.deadline <= now:
                self._end(fd)

    def close(self) -> None:
        """End all and remove the socket's file."""
        for fd in list(self.conversations):
            self._end(fd)
        self.listener.close()
        try:
            os.unlink(f"{self.directory}/{SOCKET}")  # noqa: PTH108
        except OSError:  # somebody has cleaned up
            return

    def _read(self, talk: Conversation) -> None:
        chunk = talk.connection.recv(MAX_QUESTION)
        talk.question += chunk
        if b"\n" in talk.question:
            talk.reply = self._reply(talk.question.partition(b"\n")[0])
        elif not chunk:
            raise OSError("the client left")
        elif len(talk.question) > MAX_QUESTION:
            talk.reply = _refusal("bad-question", "the question is too long")

    def _reply(self, line: bytes) -> bytes:
        try:
            question = json.loads(line)
            if not isinstance(question, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError):
            return _refusal("bad-question", "the question is not a JSON object on one line")
        try:
            return self.answer(question).encode() + b"\n"
        except LeakwatchError as error:
            return _line({"error": error.as_json()})

    def _end(self, fd: int) -> None:
        self.conversations.pop(fd).connection.close()


def _listen(directory: str) -> socket.socket:
    """Bind by way of the directory's descriptor: the path itself may be longer than a socket address can be."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    try:
        path = f"/proc/self/fd/{directory_fd}/{SOCKET}"
        # Whoever holds the lock may remove what a killed launcher left behind.
        if os.path.lexists(path):
            os.unlink(path)  # noqa: PTH108
        listener.bind(path)
    finally:
        os.umask(before)
        os.close(directory_fd)
    listener.listen(MAX_CONNECTIONS)
    listener.setblocking(False)
    return listener


def _same_user(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder) in (os.geteuid(), 0)


def _refusal(code: str, message: str) -> bytes:
    return _line({"error": {"code": code, "message": message, "hint": ""}})


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"
