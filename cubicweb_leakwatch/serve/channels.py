"""waitress's connections and tasks, taught to drain: by subclasses and public constructors, nothing is patched.

waitress reads on one thread (the loop) and runs the application on others; comments say on which a method runs.
"""

import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask

from cubicweb_leakwatch.serve.books import Abandoned, Account, Books

LINGER_S = 2.0
"""How long a client may take to close after our last byte; closing earlier could destroy that byte (RST)."""

LONGEST_PATH = 200
"""Characters of a path that a record keeps: twenty of them must fit into a datagram."""

SILENT = "connected, silent"


class Desk:
    """What all connections of a worker share: the books, and whether their clients are asked to leave."""

    def __init__(self) -> None:
        self.books = Books()
        self.announcing = False
        self.channels: set[DrainChannel] = set()
        self.running: set[_Drains] = set()

    @property
    def in_flight(self) -> int:
        """Requests not answered in full, and those that still run though their client has left."""
        return self.books.in_flight + sum(not task.channel.connected for task in list(self.running))


class DrainRequest(HTTPRequestParser):  # type: ignore[misc]
    """A request that tells its connection's account when its first byte has come. (loop thread)"""

    def __init__(self, account: Account, adj: Any) -> None:
        super().__init__(adj)
        self._account = account
        self.began_at: float | None = None

    def received(self, data: bytes) -> int:
        """Parse more bytes; the blank line that some clients send after a body begins nothing."""
        if self.began_at is None and data.strip(b"\r\n"):
            self.began_at = time.monotonic()
            self._account.began += 1
        consumed: int = super().received(data)
        return consumed


class _Drains:
    """What both kinds of task need. (application thread)"""

    channel: Any
    request: Any
    wrote_header: bool

    def service(self) -> None:
        """Run the task; a response that failed before its head is not one, an error task follows it."""
        self.channel.desk.running.add(self)
        try:
            super().service()  # type: ignore[misc]
        except ClientDisconnected:
            raise
        except Exception:
            if self.wrote_header:
                self.channel.response_made(self.request)
            raise
        else:
            self.channel.response_made(self.request)
        finally:
            self.channel.desk.running.discard(self)

    def build_response_header(self) -> bytes:
        """Say ``Connection: close`` as if the client had asked for it: waitress then does HTTP/1.0 and 1.1 right."""
        if self.channel.is_last_response():
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()  # type: ignore[misc]
        return header


class DrainTask(_Drains, WSGITask):  # type: ignore[misc]
    """A request answered by the application."""


class DrainErrorTask(_Drains, ErrorTask):  # type: ignore[misc]
    """A request answered by waitress itself: malformed, too large, or the application raised."""


class DrainChannel(HTTPChannel):  # type: ignore[misc]
    """One connection: keeps its account, ends its last response with FIN, and lingers without holding up the loop."""

    task_class = DrainTask
    error_task_class = DrainErrorTask

    def __init__(self, desk: Desk, server: Any, sock: socket.socket, addr: Any, adj: Any, map: Any = None) -> None:
        self.desk = desk
        self.account = desk.books.open_account()
        self.linger_until: float | None = None
        self.closed_idle = False
        self.last_path, self.last_began = "?", self.account.accepted_at
        super().__init__(server, sock, addr, adj, map=map)
        desk.channels.add(self)

    @property
    def parser_class(self) -> Callable[[Any], DrainRequest]:
        """Return the constructor of this connection's requests; made anew so that no reference cycle is kept."""
        return partial(DrainRequest, self.account)

    @property
    def last_activity(self) -> float:
        """When a byte came or went last, by the monotonic clock: the wall clock, which waitress sets here, may jump."""
        return self._last_activity

    @last_activity.setter
    def last_activity(self, _wall_s: float) -> None:
        self._last_activity = time.monotonic()

    # Loop thread ------------------------------------------------------------------------------------------------------

    def readable(self) -> bool:
        """Say whether the loop should read: after our last byte, to see the client close."""
        return self.linger_until is not None or super().readable()

    def writable(self) -> bool:
        """Say whether the loop should write."""
        return self.linger_until is None and bool(super().writable())

    def handle_read(self) -> None:
        """Read; what comes after our last byte is thrown away."""
        if self.linger_until is None:
            super().handle_read()
            return
        try:
            surplus = self.recv(self.adj.recv_bytes)
        except OSError:
            self.handle_close()
            return
        if surplus and self.closed_idle:
            self._abandon([Abandoned("?", 0.0, "arrived while its idle connection was being closed")])

    def handle_write(self) -> None:
        """Write; when the last response is out, send FIN and linger instead of closing at once."""
        if not self.close_when_flushed or self.will_close:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif self.connected and not self.total_outbufs_len:
            self.finish()

    def handle_close(self) -> None:
        """Close for good and settle the account."""
        self.desk.channels.discard(self)
        self.desk.books.close_account(self.account)
        super().handle_close()

    def finish(self) -> None:
        """Send FIN; the loop reads on until the client closes too, or ``LINGER_S`` is over."""
        self.close_when_flushed = False
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()
            return
        self.linger_until = time.monotonic() + LINGER_S

    def finish_idle(self) -> None:
        """Close a kept-alive connection that is not being used, unless its next request has already come."""
        if self.idle and not self._bytes_pending():
            self.closed_idle = True
            self.finish()

    def end_silence(self) -> None:
        """Close a connection on which nothing moves: between two requests with FIN, else for good."""
        if self.idle:
            self.finish_idle()
        elif not self.requests and self.linger_until is None:
            self.will_close = True

    def give_up(self) -> None:
        """Close although an answer is due, and name what is lost. A connection that never spoke loses nothing."""
        named = self._unsent() + [self._name(request) for request in self._open_requests()]
        self._abandon(named[: self.account.outstanding] if self.account.began else [])
        self.cancel()
        self.handle_close()

    @property
    def idle(self) -> bool:
        """Whether nothing is due on this connection: kept alive between two requests."""
        return self.account.outstanding == 0 and self.linger_until is None

    def _abandon(self, named: list[Abandoned]) -> None:
        if self.closed_idle:
            self.account.began += len(named)
            self.closed_idle = False
        self.desk.books.abandon(self.account, named)

    def _open_requests(self) -> list[Any]:
        return list(self.requests) + ([self.request] if self._half_read() else [])

    def _half_read(self) -> bool:
        return self.request is not None and self.request.began_at is not None

    def _unsent(self) -> list[Abandoned]:
        """Name the response that its task has finished and the client has not read to the end."""
        if self.requests or not self.total_outbufs_len:
            return []
        age_s = time.monotonic() - self.last_began
        return [Abandoned(self.last_path, round(age_s, 1), "response being written")]

    def _name(self, request: Any) -> Abandoned:
        began = request.began_at or self.account.accepted_at
        return Abandoned(_path_of(request), round(time.monotonic() - began, 1), self._state_of(request))

    def _state_of(self, request: Any) -> str:
        if request is self.request:
            return "body half read" if request.headers_finished else "head half read"
        if self.total_outbufs_len:
            return "response being written"
        return "queued" if self in self.server.task_dispatcher.queue else "executing"

    # Application thread -----------------------------------------------------------------------------------------------

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send and count what the kernel took. (either thread, under ``outbuf_lock`` when a task runs)"""
        sent: int = super().send(data, do_close)
        if sent:
            self.account.has_sent(sent)
        return sent

    def response_made(self, request: DrainRequest) -> None:
        """Note that a task has written all of its response."""
        self.last_path, self.last_began = _path_of(request), request.began_at or self.account.accepted_at
        with self.outbuf_lock:
            self.account.response_ends_at(self.account.sent + self.total_outbufs_len)

    def is_last_response(self) -> bool:
        """Whether the response now begun is to be this connection's last.

        Not while the client has sent more: closing would throw its pipelined requests away.
        """
        return self.desk.announcing and len(self.requests) <= 1 and not self._half_read() and not self._bytes_pending()

    def _bytes_pending(self) -> bool:
        connection = self.socket
        try:
            return connection is not None and bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False


def _path_of(request: Any) -> str:
    return str(getattr(request, "path", "?"))[:LONGEST_PATH]
