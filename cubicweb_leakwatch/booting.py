"""Booting a successor while the database is away: what the last boot read is read again from a file.

CubicWeb reads its schema, its properties and little else when it boots: some thirty statements. A boot with a database
remembers them in ``boot-ROLE.json`` in the runtime directory, so that a worker past a hard limit can be replaced
without one. Such a worker serves what needs no database, exactly as the worker did that it replaces, and what needs one
as soon as there is one again. It then reads the same statements anew, and has itself replaced if an answer differs.

Only a successor boots so: a site that starts without its database says so. Only what was read is given again, so a boot
that writes, or asks what was never asked, fails as it would have. What an upgraded cube's version is checked against is
among the answers: such a successor is refused as ever.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.boot_memory import Answer, Memory, load, same_rows
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.runtime import runtime_dir
from cubicweb_leakwatch.recording.shared import is_shared
from cubicweb_leakwatch.serve.control import ask_launcher

logger = logging.getLogger("leakwatch.booting")

LOOK_EVERY_S = 5.0
ASK_AGAIN_S = 60.0


class Boot:
    """The boot of this process, whose ``state`` says in which role, and whether it is a successor."""

    def __init__(self, state: ProcessState) -> None:
        self.state = state
        self.without_database = False
        self._source: Any = None
        self._path = Path()
        self._thread = threading.get_ident()
        self._memory: Memory | None = None
        self._recall: Memory | None = None
        self._recalled: list[Answer] = []
        self._connect: Callable[[], Any] = lambda: None

    @contextlib.contextmanager
    def reading(self, repo: Any) -> Iterator[None]:
        """Remember what ``repo`` reads in this block, or answer it from memory when its database is away.

        Does nothing where the database is a file: it does not go away.
        """
        if not is_shared(repo) or not self._begin(repo):
            yield
            return
        try:
            yield
            self._finish(repo)
        finally:
            self._end()

    def confirm_later(self) -> None:
        """After a boot without the database: look, in a thread, whether what was remembered is still true."""
        if self._recalled:
            threading.Thread(target=self._confirm, name="leakwatch-boot", daemon=True).start()

    def _begin(self, repo: Any) -> bool:
        try:
            self._path = runtime_dir(repo.config.appdatahome) / f"boot-{self.state.role}.json"
        except LeakwatchError as error:
            logger.warning("what the boot reads is not remembered: %s", error.message)
            return False
        source = self._source = repo.system_source
        config = repo.config.system_source_config
        self._about = {name: config.get(name) for name in ("db-host", "db-port", "db-name", "db-namespace")}
        self._connect = source.get_connection
        source.get_connection = self._connection
        return True

    def _end(self) -> None:
        """Have the source connect as ever; what is still connected to a memory fails from now on."""
        self._source.get_connection = self._connect
        for memory in (self._memory, self._recall):
            if memory is not None:
                memory.close()

    def _finish(self, repo: Any) -> None:
        if self._recall is not None:
            self.without_database = True
            self._recalled = list(self._recall.answers.values())
            _empty(repo.cnxsets)
        elif self._memory is not None and self._memory.open:
            try:
                self._memory.save(self._path)
            except (OSError, TypeError, ValueError) as error:
                logger.warning("what the boot reads is not remembered: %s", error)

    def _may_recall(self) -> bool:
        return self.state.generation > 1

    def _connection(self) -> Any:
        if threading.get_ident() != self._thread:
            return self._connect()  # a thread that the boot started goes its own way
        if self._recall is not None:
            return RecalledConnection(self._recall, self._source)
        try:
            connection = self._connect()
        except self._source.OperationalError as error:
            if self._memory is not None or not self._may_recall():
                raise  # half from the database, half from memory, would be neither
            self._recall = load(self._path, self._about)
            if self._recall is None:
                raise
            logger.warning("event=boot-without-database reason=%r", " ".join(str(error).split()))
            return RecalledConnection(self._recall, self._source)
        if self._memory is None:
            self._memory = Memory(self._about)
        connection.cursor_factory = remembering(type(connection.cursor()), self._memory)
        return connection

    def _confirm(self) -> None:
        """Wait for the database, compare, and ask for a successor for as long as it says something else.

        Twice in a row: a database that comes and goes may break off in the middle of an answer.
        """
        before = None
        while True:
            time.sleep(LOOK_EVERY_S)
            try:
                outdated = self.outdated()
            except (self._source.OperationalError, self._source.InterfaceError):
                continue
            if outdated is None:
                logger.warning("event=boot-confirmed statements=%d", len(self._recalled))
                self._recalled = []
                return
            if outdated != before:
                before = outdated
                continue
            logger.warning("event=boot-outdated statement=%r", outdated)
            self._ask_for_successor()
            time.sleep(ASK_AGAIN_S)

    def outdated(self) -> str | None:
        """Return the first remembered statement that is answered otherwise now, or no longer.

        Raises the driver's error while the database is away.
        """
        with contextlib.closing(self._connect()) as connection:
            cursor = connection.cursor()
            for answer in self._recalled:
                try:
                    cursor.execute(answer.sql, answer.args)
                except self._source.DbapiError as error:
                    if isinstance(error, (self._source.OperationalError, self._source.InterfaceError)):
                        raise
                    if getattr(connection, "closed", 0):
                        raise self._source.OperationalError(str(error)) from error
                    return answer.sql
                if not same_rows(_plain(cursor.fetchall()), answer.rows):
                    return answer.sql
        return None

    def _ask_for_successor(self) -> None:
        reason = "it booted while the database was away, and what it remembered of it is no longer true"
        try:
            ask_launcher(str(self._path.parent), "restart", process=self.state.name, reason=reason, by="boot")
        except LeakwatchError as error:
            logger.warning("no successor: %s", error.message)


def remembering(kind: Any, memory: Memory) -> Any:
    """Return a cursor class that remembers what is read; a driver's own class underneath, whatever is done with it."""

    class RememberingCursor(kind):  # type: ignore[misc]
        """A cursor that keeps what it answers until the boot is over."""

        def execute(self, sql: Any, args: Any = None) -> Any:
            """Execute, and remember the answer."""
            result = super().execute(sql, args)
            if memory.open and self.description is not None:
                rows = self.fetchall()
                if rows:
                    self.scroll(0, "absolute")
                memory.keep(str(sql), args, self.description, _plain(rows))
            return result

    return RememberingCursor


def _plain(rows: list[Any]) -> list[tuple[Any, ...]]:
    """Return rows with bytes for a driver's view of them, which ends with its cursor."""
    return [tuple(bytes(value) if isinstance(value, memoryview) else value for value in row) for row in rows]


def _empty(pool: Any) -> None:
    """Take the connections to a memory out of a repository's pool, so that the next ones are real."""
    pool.close()
    with contextlib.suppress(AttributeError):  # where CubicWeb is told not to pool, there is none to count
        pool._cnxsets.clear()


class RecalledConnection:
    """A connection to a memory: it reads, and has nothing to commit."""

    def __init__(self, memory: Memory, source: Any) -> None:
        self._memory, self._source = memory, source

    def cursor(self, *_told: Any) -> "RecalledCursor":
        """Return a cursor on the memory."""
        return RecalledCursor(self._memory, self._source.OperationalError)

    def commit(self) -> None:
        """Nothing was written."""

    rollback = close = commit


class RecalledCursor:
    """Gives the answers of a memory; anything else fails as a database that is away does."""

    arraysize = 1

    def __init__(self, memory: Memory, away: type[Exception]) -> None:
        self._memory, self._away = memory, away
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self._rows: list[tuple[Any, ...]] = []

    def execute(self, sql: Any, args: Any = None) -> None:
        """Find the answer."""
        answer = self._memory.find(str(sql), args)
        if answer is None:
            raise self._away("the database is away, and the last boot did not ask it that")
        self.description, self._rows, self.rowcount = answer.description, list(answer.rows), len(answer.rows)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
        return self.fetchmany(len(self._rows))

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Return the next rows."""
        size = self.arraysize if size is None else size
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row."""
        return next(iter(self.fetchmany(1)), None)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())

    def close(self) -> None:
        """Nothing is open."""
