"""A database that is away, or silent, is an error at once; when it is back all is as before."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from clusters import Cluster, cluster
from cubicweb.server.repository import _CnxSetPool

from cubicweb_leakwatch import connections
from cubicweb_leakwatch.boot_memory import Memory
from cubicweb_leakwatch.booting import RecalledConnection
from cubicweb_leakwatch.connections import Gate, Lookout, SteadyConnection, answering, answers


class Away(Exception):
    """What a driver raises when its database is away."""


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture(scope="module")
def postgres(needs_program: Any) -> Iterator[Cluster]:
    """A cluster that can be stopped and paused."""
    with cluster(needs_program) as running:
        yield running


class Source:
    """The system source of a repository on a cluster."""

    OperationalError, InterfaceError = psycopg2.OperationalError, psycopg2.InterfaceError

    def __init__(self, postgres: Cluster) -> None:
        where = postgres.source
        self.dsn = f"host={where['db-host']} port={where['db-port']} user={where['db-user']} dbname=postgres"
        self.eid_generator = SimpleNamespace(cnx=None)
        self.critical = self.info = lambda *_told, **_named: None

    def get_connection(self) -> Any:
        """Connect."""
        return psycopg2.connect(self.dsn)

    def wrapped_connection(self) -> SteadyConnection:
        """Connect for the pool."""
        return SteadyConnection(self)


def test_no_place_in_the_pool_is_lost_while_the_database_is_away(postgres: Cluster) -> None:
    """Every connection that is given back broken is usable again when there is a database."""
    pool = _CnxSetPool(Source(postgres), max_size=2)
    held = [pool.get(), pool.get()]
    postgres.stop()
    for each in held:
        with pytest.raises(psycopg2.Error):
            each.cu.execute("SELECT 1")
        each.rollback()
        each.cnxset_freed()
        pool.release(each)
    postgres.start()
    found = [pool.get(), pool.get()]
    for each in found:
        each.cu.execute("SELECT 1")
        each.close(i_know_what_i_do=True)
    assert found == held[::-1]


def test_a_connection_whose_server_was_restarted_costs_no_page(postgres: Cluster) -> None:
    """At rest it is connected anew when it is used next; one in the midst of a transaction breaks, as it must."""
    connection = Source(postgres).wrapped_connection()
    connection.cu.execute("SELECT 1")
    connection.rollback()
    connection.cnxset_freed()
    postgres.restart()
    connection.cu.execute("SELECT 1")
    postgres.restart()
    with pytest.raises(psycopg2.Error):
        connection.cu.execute("SELECT 1")
    connection.close(i_know_what_i_do=True)


def test_what_the_last_boot_remembers_is_no_connection_that_broke() -> None:
    """A boot without a database is answered from it again, after it was given back too."""
    recalled = RecalledConnection(Memory({}), SimpleNamespace(OperationalError=Away))
    connection = SteadyConnection(SimpleNamespace(get_connection=lambda: recalled))
    cursor = connection.cu
    connection.cnxset_freed()
    assert connection.cu is cursor


def test_a_statement_is_not_waited_for_when_its_server_is_silent(
    postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread gets an error within seconds, the gate is shut; a server that answers is left its time."""
    source = Source(postgres)
    pool, clock = _CnxSetPool(source, max_size=1), Clock()
    repo, told = SimpleNamespace(cnxsets=pool, system_source=source), []
    lookout = Lookout(repo, SimpleNamespace(close=lambda: told.append("shut")), clock)
    held = pool.get()
    failed: list[BaseException] = []

    def execute() -> None:
        try:
            held.cu.execute("SELECT pg_sleep(60)")
        except psycopg2.OperationalError as error:
            failed.append(error)

    thread = threading.Thread(target=execute)
    thread.start()
    while held.cnx.get_transaction_status() != connections.ACTIVE:
        pass
    for clock.now in (0.0, 100.0):
        lookout.look()
    assert (told, failed) == ([], [])
    monkeypatch.setattr(connections, "ANSWER_S", 0.5)
    with postgres.paused():
        clock.now = 200.0
        lookout.look()
        thread.join(10.0)
    assert told == ["shut"]
    assert len(failed) == 1
    held.close(i_know_what_i_do=True)


@pytest.mark.parametrize("said", [b"N", b""])
def test_a_server_answers_that_says_anything(said: bytes) -> None:
    """One byte will do; a connection that is closed, or a port where nobody is, is no answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.recv(8)
                connection.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        assert answers(socket.AF_INET, address, 5.0) is bool(said)
        thread.join()
    assert not answers(socket.AF_INET, address, 5.0)


def test_a_page_that_needs_the_database_says_that_it_is_away() -> None:
    """A balancer, and a person, are told to try again; what else fails is left to the server."""
    raised, said = [Away("refused"), Away("refused, and cleaning up fails"), ZeroDivisionError()], []

    def app(_environ: Any, _start: Any) -> Any:
        error = raised.pop(0)
        try:
            raise error
        finally:
            if "cleaning" in str(error):
                raise AttributeError

    source = SimpleNamespace(OperationalError=Away, InterfaceError=Away)
    answer = answering(app, SimpleNamespace(system_source=source))
    for _time in range(2):
        (body,) = answer({"PATH_INFO": "/"}, lambda *told: said.append(told))
        status, headers, _error = said.pop()
        assert (status, dict(headers)["Retry-After"]) == ("503 Service Unavailable", "5")
        assert b"database" in body
    with pytest.raises(ZeroDivisionError):
        answer({}, None)


def test_a_page_that_fails_by_itself_says_so_too_when_the_database_is_why() -> None:
    """CubicWeb answers 500 for what goes wrong amid a page; other faults, and good pages, are left alone."""
    gate, said, closed = Gate(lambda: refused(), Away), [], []

    def refused() -> None:
        raise Away

    class Body(list):  # type: ignore[type-arg]
        """What WSGI closes."""

        def close(self) -> None:
            """Be closed."""
            closed.append(True)

    def app(environ: Any, start: Any) -> Any:
        if environ["asks"]:
            with contextlib.suppress(Away):
                gate()
        start(environ["status"], [])
        return Body([b"page"])

    answer = answering(app, SimpleNamespace(system_source=SimpleNamespace(OperationalError=Away, InterfaceError=Away)))
    for asks, status, expected in (
        (True, "500 Internal Server Error", "503 Service Unavailable"),
        (False, "500 Internal Server Error", "500 Internal Server Error"),
        (True, "200 OK", "200 OK"),
    ):
        (body,) = answer({"asks": asks, "status": status}, lambda *told: said.append(told))
        assert said.pop()[0] == expected
        assert (b"database" in body) == (expected[:3] == "503")
    assert closed == [True]


def test_a_silent_database_is_tried_by_one_at_a_time() -> None:
    """Whoever else wants a connection is refused at once; the first that succeeds opens the gate for all."""
    clock, tried, takes = Clock(), itertools.count(1), [10.0, 10.0, 0.0]

    def connect() -> int:
        took = takes.pop(0)
        clock.now += took
        if took:
            raise Away("timeout expired")
        return next(tried)

    gate = Gate(connect, Away, clock)
    with pytest.raises(Away, match="expired"):
        gate()
    with pytest.raises(Away, match="silent"):
        gate()
    clock.now += connections.RETRY_S
    with pytest.raises(Away, match="expired"):
        gate()
    clock.now += connections.RETRY_S
    assert gate() == 1
    takes[:] = [0.0, 0.0]
    assert (gate(), gate()) == (2, 3)


def test_while_one_tries_the_others_are_refused() -> None:
    """A thread that waits for a silent server is one too many already."""
    clock, gate = Clock(), Gate(lambda: inner(), Away, Clock())
    seen: list[str] = []

    def inner() -> str:
        try:
            gate()
        except Away as error:
            seen.append(str(error))
        return "connected"

    gate._clock = clock
    gate.close()
    clock.now = connections.RETRY_S
    assert gate() == "connected"
    assert len(seen) == 1


def test_a_database_that_refuses_at_once_is_down_and_not_silent() -> None:
    """It is asked again each time, so that pages are served in the second in which it is back."""
    answers_ = [Away("refused"), Away("refused"), None]

    def connect() -> str:
        error = answers_.pop(0)
        if error is not None:
            raise error
        return "connected"

    gate = Gate(connect, Away, Clock())
    for _time in range(2):
        with pytest.raises(Away, match="refused"):
            gate()
    assert gate() == "connected"
