"""What a boot read is remembered, and given again while the database is away: what was read, as it was, and no more."""

import datetime
import decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cubicweb_leakwatch import booting
from cubicweb_leakwatch.boot_memory import Memory, load, same_rows, statement
from cubicweb_leakwatch.booting import Boot, RecalledConnection
from cubicweb_leakwatch.probe.process import ProcessState

ABOUT = {"db-host": "h", "db-name": "n"}
COLUMNS = [("a", 23, None, 4, None, None, None)]
NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
ROW = (1, "é", None, True, NOON, datetime.date(2026, 11, 22), decimal.Decimal("1.50"), b"\0\xff")


class Away(Exception):
    """What a driver raises when its database is away."""


class Cursor:
    """A driver's cursor, on a table of answers."""

    description: Any = COLUMNS

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows, self._at = rows, 0

    def execute(self, _sql: str, _args: Any = None) -> None:
        """Answer anything."""
        self._at = 0

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return what is left."""
        rows, self._at = self._rows[self._at :], len(self._rows)
        return rows

    def scroll(self, to: int, _mode: str) -> None:
        """Go back."""
        self._at = to

    def close(self) -> None:
        """Nothing is open."""


class Database:
    """A source whose database can be away; ``rows`` is what it answers to everything."""

    OperationalError = InterfaceError = DbapiError = Away
    dbdriver = "postgres"

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self.rows, self.away = rows, False

    def get_connection(self) -> Any:
        """Connect, or fail."""
        if self.away:
            raise Away("connection refused")
        connection = SimpleNamespace(cursor_factory=Cursor, close=lambda: None)
        connection.cursor = lambda: connection.cursor_factory(self.rows)
        return connection


@pytest.fixture
def repo(tmp_path: Path) -> SimpleNamespace:
    """A repository on a database that can go away."""
    config = SimpleNamespace(appdatahome=str(tmp_path), system_source_config=dict(ABOUT))
    pool = SimpleNamespace(close=lambda: None, _cnxsets=["recalled"])
    return SimpleNamespace(config=config, system_source=Database([(1, "a"), (2, "b")]), cnxsets=pool)


def boot(repo: SimpleNamespace, generation: int = 2, sql: str = "SELECT a") -> tuple[Boot, list[Any]]:
    """Boot once, reading one statement; return the boot and what it read."""
    made = Boot(ProcessState("web-1", "web", generation=generation))
    with made.reading(repo):
        cursor = repo.system_source.get_connection().cursor()
        cursor.execute(sql)
        return made, cursor.fetchall()


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(booting, "runtime_dir", lambda _home: tmp_path)


def test_values_keep_their_types(tmp_path: Path) -> None:
    """Whatever PostgreSQL answers a boot with comes back from the file as it was; for its user alone."""
    memory = Memory(ABOUT)
    memory.keep("SELECT 1", {"x": 1}, COLUMNS, [ROW])
    assert memory.save(tmp_path / "boot.json")
    assert not memory.save(tmp_path / "boot.json"), "written again for nothing"
    found = load(tmp_path / "boot.json", ABOUT)
    assert found is not None
    answer = found.find("SELECT 1", {"x": 1})
    assert answer is not None
    assert (answer.rows, answer.description) == ([ROW], COLUMNS)
    assert (tmp_path / "boot.json").stat().st_mode & 0o777 == 0o600


def test_another_database_is_not_remembered(tmp_path: Path) -> None:
    """An instance that was given another database does not boot from the old one's schema; nor from half a file."""
    memory = Memory(ABOUT)
    memory.save(tmp_path / "boot.json")
    assert load(tmp_path / "boot.json", {**ABOUT, "db-name": "other"}) is None
    for text in ("", "[]", '{"format": 1}', "[" * 100_000):
        (tmp_path / "boot.json").write_text(text)
        assert load(tmp_path / "boot.json", ABOUT) is None


def test_parameters_named_by_an_address_are_the_same_in_every_process() -> None:
    """CubicWeb names some parameters by an object's id."""
    one = statement("SELECT a WHERE b=%(1398)s AND c=%(x)s", {"1398": "name", "x": 1})
    assert one == statement("SELECT a WHERE b=%(77)s AND c=%(x)s", {"77": "name", "x": 1})
    assert one != statement("SELECT a WHERE b=%(77)s AND c=%(x)s", {"77": "other", "x": 1})


@pytest.mark.parametrize(
    "sql",
    ["INSERT INTO a", "select nextval('s')", "SELECT pg_try_advisory_lock(1)", "SELECT a\nFROM b FOR UPDATE", "DELETE"],
)
def test_what_does_more_than_read_is_not_remembered(sql: str) -> None:
    """It has to be done, or to fail."""
    memory = Memory(ABOUT)
    memory.keep(sql, None, COLUMNS, [(1,)])
    assert memory.find(sql, None) is None


def test_the_order_of_rows_is_no_difference() -> None:
    """Few statements ask for one."""
    assert same_rows([(1, NOON), (2, None)], [(2, None), (1, NOON)])
    assert not same_rows([(1,)], [(1,), (1,)])


def test_a_successor_boots_while_the_database_is_away(repo: SimpleNamespace) -> None:
    """From what the last boot read; and once it has booted nothing stands between it and the database any more."""
    boot(repo)
    repo.system_source.away = True
    made, rows = boot(repo)
    assert (rows, made.without_database, repo.cnxsets._cnxsets) == ([(1, "a"), (2, "b")], True, [])
    with pytest.raises(Away, match="refused"):
        repo.system_source.get_connection()
    with pytest.raises(Away, match="refused"):
        made.outdated()
    repo.system_source.away = False
    assert made.outdated() is None
    repo.system_source.rows = [(1, "a")]
    assert made.outdated() == "SELECT a"


def test_only_a_successor_boots_from_memory(repo: SimpleNamespace) -> None:
    """A site that starts without its database says so; so does a boot that asks what was never asked."""
    boot(repo, generation=1)
    repo.system_source.away = True
    with pytest.raises(Away, match="refused"):
        boot(repo, generation=1)
    with pytest.raises(Away, match="did not ask"):
        boot(repo, sql="SELECT other")
    with pytest.raises(Away, match="did not ask"):
        boot(repo, sql="INSERT INTO a")


def test_a_boot_is_never_half_from_memory(repo: SimpleNamespace) -> None:
    """A database that goes away in the middle of a boot fails it."""
    boot(repo)
    made = Boot(ProcessState("web-1", "web", generation=2))
    with pytest.raises(Away, match="refused"), made.reading(repo):
        repo.system_source.get_connection()
        repo.system_source.away = True
        repo.system_source.get_connection()


def test_after_the_boot_nothing_more_is_remembered(repo: SimpleNamespace) -> None:
    """The cursors of the boot stay in the pool for the life of the process: they must not grow."""
    made = Boot(ProcessState("web-1", "web"))
    with made.reading(repo):
        cursor = repo.system_source.get_connection().cursor()
        cursor.execute("SELECT a")
    assert made._memory is not None
    cursor.execute("SELECT b")
    assert made._memory.answers == {}
    assert cursor.fetchall() == repo.system_source.rows


def test_a_recalled_cursor_gives_rows_as_a_driver_does() -> None:
    """One by one, some at a time, all that are left, and by iteration."""
    memory = Memory(ABOUT)
    memory.keep("SELECT a", None, COLUMNS, [(number,) for number in range(6)])
    cursor = RecalledConnection(memory, Database([])).cursor()
    cursor.execute("SELECT a")
    assert (cursor.description, cursor.rowcount) == (COLUMNS, 6)
    assert (cursor.fetchone(), cursor.fetchmany(), cursor.fetchmany(2)) == ((0,), [(1,)], [(2,), (3,)])
    assert (list(cursor), cursor.fetchone(), cursor.fetchall()) == ([(4,), (5,)], None, [])
