"""A process's connections to PostgreSQL: one that breaks is not lost to the pool, and none is waited for without end.

CubicWeb gives a connection back to its pool after a rollback; while the database is away that raises, and the place in
the pool is gone: after four such requests no page that needs the database answers any more, long after it is back. And
libpq waits for ever for a server that is silent, because its host lost its power, a firewall drops what is sent to it,
or it is stopped: each thread of a worker ends up waiting, and what needs no database is not served either.

So connecting takes ten seconds at most, a statement that goes on for long is waited for only while its server answers
anybody at all, and while it is silent whoever wants a new connection is told so at once.
"""

import contextlib
import logging
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from cubicweb.server.sqlutils import ConnectionWrapper

from cubicweb_leakwatch.recording.shared import is_shared

logger = logging.getLogger("leakwatch.connections")

CONNECT_S = 10
"""As ``PGCONNECT_TIMEOUT``, unless the environment or the instance's ``db-extra-arguments`` say otherwise."""

SILENT_S = 2.0
"""Who took longer than this to refuse a connection is silent, not down."""

RETRY_S = 5.0
LOOK_EVERY_S = 1.0
PATIENCE_S = 3.0
ANSWER_S = 5.0

Away = tuple[type[Exception], ...]

ACTIVE = 1
"""libpq's PQTRANS_ACTIVE: a statement is going on."""

AWAY_STATUS = "503 Service Unavailable"
AWAY_TEXT = b"The database of this site does not answer. Please try again in a moment.\n"
AWAY_HEADERS = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(AWAY_TEXT))),
    ("Cache-Control", "no-store"),
    ("Retry-After", "5"),
]

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""Asks whether the server speaks TLS: it answers one byte to anybody, without a login and with no place left."""


def steady(repo: Any) -> None:
    """Have the connections of ``repo`` behave so from now on; does nothing on SQLite, nor the second time."""
    source = repo.system_source
    if not is_shared(repo) or source.cnx_wrap is SteadyConnection:
        return
    limit_connecting()
    source.cnx_wrap = SteadyConnection
    for cnxset in getattr(repo, "cnxsets", ()):  # none before its bootstrap
        cnxset.__class__ = SteadyConnection
    gate = source.get_connection = Gate(source.get_connection, source.OperationalError)
    Lookout(repo, gate).start()


def limit_connecting() -> None:
    """Have libpq give up after a while in this process, where nobody said when."""
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(CONNECT_S))


def answering(app: Any, repo: Any) -> Any:
    """Return a WSGI application that says 503, and why, where ``app`` fails because the database is away.

    Whether it raises, or answers 500 itself, as CubicWeb does where the database goes away in the middle of a page.
    """
    away: Away = (repo.system_source.OperationalError, repo.system_source.InterfaceError)

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        failed: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if not (status.startswith("500") and _noticed.away):
                return start_response(status, headers, exc_info)
            failed.append(status)
            return start_response(AWAY_STATUS, AWAY_HEADERS, exc_info)

        _noticed.away = False
        try:
            body = app(environ, start)
        except Exception as error:
            if (reason := _behind(error, away)) is None:
                raise
            _say_away(environ, reason)
            start_response(AWAY_STATUS, AWAY_HEADERS, sys.exc_info())
            return [AWAY_TEXT]
        if not failed:
            return body
        _say_away(environ, failed[0])
        if hasattr(body, "close"):
            body.close()
        return [AWAY_TEXT]

    return answer


def _say_away(environ: dict[str, Any], reason: object) -> None:
    logger.error("event=no-database path=%r reason=%r", environ.get("PATH_INFO"), " ".join(str(reason).split()))


def _behind(error: BaseException | None, away: Away) -> BaseException | None:
    """Return the error of ``away`` that another came of: what CubicWeb does to clean up after one fails as well."""
    while error is not None and not isinstance(error, away):
        error = error.__cause__ or error.__context__
    return error


class _Noticed(threading.local):
    """What the thread of a request has noticed meanwhile."""

    away = False


_noticed = _Noticed()


class SteadyConnection(ConnectionWrapper):  # type: ignore[misc]
    """A connection that goes back to its pool whatever the database does; who takes it out next connects anew.

    So does who takes one out whose server was restarted meanwhile: otherwise each of them would cost one page.
    """

    _resting = False
    """Whether nothing was asked since it was given back, or rolled back in vain: no transaction is lost with it."""

    @property
    def cu(self) -> Any:
        """The cursor, of a connection that is not known to be broken; raises the driver's error."""
        if self._resting:
            if _is_broken(self.cnx):
                self.reconnect()
            self._resting = False
        return self.__dict__["cu"]

    @cu.setter
    def cu(self, cursor: Any) -> None:
        self.__dict__["cu"] = cursor

    def cnxset_freed(self) -> None:
        """Be given back."""
        super().cnxset_freed()
        self._resting = True

    def close(self, i_know_what_i_do: bool = False) -> None:
        """End it; one that is broken is not connected anew for that."""
        self._resting = False
        super().close(i_know_what_i_do)

    def rollback(self) -> None:
        """Roll back; what is broken is replaced if that can be done now."""
        if getattr(self.cnx, "closed", 0):
            _noticed.away = True
        try:
            super().rollback()
        except (self._source.OperationalError, self._source.InterfaceError) as error:
            logger.warning("a broken connection goes back to the pool: %s", " ".join(str(error).split()))
            self._resting = True


class Gate:
    """Connects by ``connect``; while the server is silent it lets one try every few seconds, and refuses the others.

    ``away`` is the driver's error for a database that cannot be reached.
    """

    def __init__(
        self, connect: Callable[[], Any], away: type[Exception], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect, self._away, self._clock = connect, away, clock
        self._lock = threading.Lock()
        self._silent = False
        self._try_at = 0.0

    def __call__(self) -> Any:
        """Return a new connection; raises the driver's error."""
        try:
            return self._connected()
        except self._away:
            _noticed.away = True
            raise

    def _connected(self) -> Any:
        self._pass()
        began = self._clock()
        try:
            connection = self._connect()
        except self._away:
            if self._clock() - began >= SILENT_S:
                self.close()
            else:
                self._silent = False
            raise
        self._silent = False
        return connection

    def close(self) -> None:
        """The server is silent: let nobody try for a while."""
        with self._lock:
            self._silent, self._try_at = True, self._clock() + RETRY_S

    def _pass(self) -> None:
        with self._lock:
            if not self._silent:
                return
            if self._clock() < self._try_at:
                raise self._away("the database is silent; it is tried again in a few seconds")
            self._try_at = self._clock() + CONNECT_S + RETRY_S


class Lookout:
    """Looks each second for connections that wait for their server, and cuts those off whose server is silent."""

    def __init__(self, repo: Any, gate: Gate, clock: Callable[[], float] = time.monotonic) -> None:
        self._repo, self._gate, self._clock = repo, gate, clock
        self._busy: dict[int, tuple[Any, float]] = {}
        self._ask_at = 0.0

    def start(self) -> None:
        """Look for as long as the process lives."""
        threading.Thread(target=self._run, name="leakwatch-database", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            try:
                self.look()
            except Exception:
                logger.exception("looking at the connections failed")

    def look(self) -> None:
        """Look once. A server that answers is left its time, however long a statement takes."""
        now, before = self._clock(), self._busy
        busy = [connection for connection in self._connections() if _is_busy(connection)]
        self._busy = {id(connection): before.get(id(connection), (connection, now)) for connection in busy}
        waiting = [connection for connection, since in self._busy.values() if now - since >= PATIENCE_S]
        if not waiting or now < self._ask_at:
            return
        if not _server_answers(waiting[0]):
            logger.error("event=database-silent connections=%d", len(waiting))
            self._gate.close()
            for connection in waiting:
                _cut(connection)
        self._ask_at = self._clock() + PATIENCE_S

    def _connections(self) -> list[Any]:
        pool = [cnxset.cnx for cnxset in getattr(self._repo, "cnxsets", ())]
        return [*pool, getattr(self._repo.system_source.eid_generator, "cnx", None)]


def _is_broken(connection: Any) -> bool:
    """Say whether a connection that asks nothing has ended: its server says nothing to it but farewell."""
    if (closed := getattr(connection, "closed", None)) is None:
        return False  # no connection, but what the last boot remembers of one
    if closed:
        return True
    watched = select.poll()
    watched.register(connection.fileno(), select.POLLIN)
    return bool(watched.poll(0))


def _is_busy(connection: Any) -> bool:
    """Say whether a statement goes on; neither question waits for the thread whose statement it is."""
    return getattr(connection, "closed", 1) == 0 and connection.get_transaction_status() == ACTIVE


@contextlib.contextmanager
def _socket_of(connection: Any) -> Iterator[socket.socket]:
    """Give a socket of our own for the connection that the driver holds."""
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        yield ours


def _server_answers(connection: Any) -> bool:
    try:
        with _socket_of(connection) as ours:
            family, address = ours.family, ours.getpeername()
    except Exception:  # of the driver or the system: it has ended meanwhile
        return True
    return answers(family, address, ANSWER_S)


def answers(family: int, address: Any, timeout_s: float) -> bool:
    """Say whether the PostgreSQL server at a socket address says anything within ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as asking:
                asking.settimeout(left_s)
                asking.connect(address)
                asking.sendall(SSL_REQUEST)
                return bool(asking.recv(1))
        except BlockingIOError:  # a Unix socket whose queue is full
            time.sleep(0.1)
        except OSError:
            return False
    return False


def _cut(connection: Any) -> None:
    """End a connection under the thread that waits for it, which is then told that it broke."""
    with contextlib.suppress(Exception), _socket_of(connection) as ours:
        ours.getpeername()  # or it is not connected any more, and the descriptor may be another's
        ours.shutdown(socket.SHUT_RDWR)
