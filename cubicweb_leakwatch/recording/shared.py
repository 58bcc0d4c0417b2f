"""What the hosts of an instance share through its PostgreSQL: one clock, and turns that end when their holder dies.

On SQLite there is one host, whose own clock is the only one.
"""

import contextlib
import time
import zlib
from collections.abc import Iterator
from typing import Any

_KEY = zlib.crc32(b"cubicweb-leakwatch") - 2**31
"""Of the advisory locks, beside the number of the turn; PostgreSQL keeps those of each database apart."""

_KEEPALIVE = ("tcp_keepalives_idle = 10", "tcp_keepalives_interval = 5", "tcp_keepalives_count = 3")
"""A host that lost its power says no goodbye: after half a minute PostgreSQL gives its turn to another."""

_UNANSWERED = "SELECT set_config(name, '25000', false) FROM pg_settings WHERE name = 'tcp_user_timeout'"
"""Keepalives rest while an answer is on its way: to a host that died just then it is sent for a quarter of an hour.

PostgreSQL 12 and later know the setting, in milliseconds.
"""


def is_shared(repo: Any) -> bool:
    """Say whether several hosts can use this instance's database."""
    return bool(repo.system_source.dbdriver == "postgres")


def database_now(cnx: Any) -> float:
    """Return the time in Unix seconds by the database's clock, which all hosts agree on."""
    if not is_shared(cnx.repo):
        return time.time()
    return float(cnx.system_sql("SELECT EXTRACT(EPOCH FROM clock_timestamp())").fetchone()[0])


@contextlib.contextmanager
def whole(cnx: Any) -> Iterator[None]:
    """Have a transaction fail whose connection breaks in the middle: CubicWeb would connect anew and go on.

    What was written before is lost then, and the commit says nothing of it.
    """
    if not is_shared(cnx.repo):
        yield
        return
    cnx.system_sql("SELECT 1")  # one that broke while nobody used it is replaced now
    cnxset, away = cnx.cnxset, cnx.repo.system_source.OperationalError

    def refuse() -> None:
        raise away("the connection broke in the middle of a transaction")

    cnxset.reconnect = refuse
    try:
        yield
    finally:
        del cnxset.reconnect


class Turn:
    """One host's turn among at most ``at_once``: a session-level advisory lock, on a connection that is kept for it."""

    def __init__(self, repo: Any, at_once: int = 1) -> None:
        self._stack = contextlib.ExitStack()
        self._repo, self._at_once = repo, at_once
        self.cnx: Any = None
        self._number: int | None = None

    def take(self) -> bool:
        """Take a turn if one is free; raises what the database raises."""
        with contextlib.ExitStack() as stack:
            self.cnx = stack.enter_context(self._repo.internal_cnx())
            self._number = self._free_number()
            self.cnx.commit()
            if self._number is None:
                return False
            self._stack = stack.pop_all()
        return True

    def _free_number(self) -> int | None:
        for setting in _KEEPALIVE:
            self.cnx.system_sql(f"SET {setting}")
        self.cnx.system_sql(_UNANSWERED)
        for number in range(self._at_once):
            (taken,) = self.cnx.system_sql(
                "SELECT pg_try_advisory_lock(%(key)s, %(number)s)", {"key": _KEY, "number": number}
            ).fetchone()
            if taken:
                return number
        return None

    def is_held(self) -> bool:
        """Say whether the session that holds the turn is alive; raises what the database raises when it is not."""
        (found,) = self.cnx.system_sql(
            "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        ).fetchone()
        self.cnx.commit()
        return bool(found)

    def give_back(self) -> None:
        """Give the turn back; raises what the database raises, which has then taken it back by itself."""
        with self._stack:
            self.cnx.system_sql("SELECT pg_advisory_unlock(%(key)s, %(number)s)", {"key": _KEY, "number": self._number})
            self.cnx.commit()


@contextlib.contextmanager
def turn(repo: Any, at_once: int = 1) -> Iterator[bool]:
    """Hold a turn for a block; gives whether one was free."""
    mine = Turn(repo, at_once)
    taken = mine.take()
    try:
        yield taken
    finally:
        if taken:
            mine.give_back()
