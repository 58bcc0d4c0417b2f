"""An instance of an earlier release, upgraded as its operator would: one of SQLite's, one of PostgreSQL's."""

import contextlib
import lzma
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest
from clusters import postgresql
from cubicweb_leakdemo.runner.instance import Instance
from cubicweb_leakdemo.runner.traffic import free_port
from sites import query, served

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
DUMPS = Path(__file__).parent / "data"
SQLITE = sorted(DUMPS.glob("instance-*-sqlite.sql.xz"))
POSTGRESQL = sorted(DUMPS.glob("instance-*-postgresql.sql.xz"))


def release(dump: Path) -> str:
    """Return the release that a dump was made by."""
    return dump.name.split("-")[1]


def text(dump: Path) -> str:
    """Return the statements of a dump."""
    return lzma.decompress(dump.read_bytes()).decode()


def upgraded(instance: Instance, snapshots: int) -> None:
    """Upgrade, and look: what was recorded is still there, beside what the new release's schema adds."""
    instance.run("upgrade", "--force", "--verbosity=0", "--backup-db=n", instance.name)
    assert query(instance, "Any COUNT(S) WHERE S is MemorySnapshot") == [[snapshots]]
    assert query(instance, "Any O, A WHERE X is WorkerRestart, X outcome O, X recorded_at A") == [["replaced", None]]
    assert query(instance, "Any X WHERE X is RestartRequest") == []


def recorded_since(instance: Instance) -> None:
    """Serve it, and look: it records beside what it had recorded."""
    with served(instance) as site:
        site.ask("leak-snapshot", "--note", "after the upgrade")
        notes = site.rows("Any N ORDERBY T WHERE S is MemorySnapshot, S note N, NOT S note NULL, S t T")
    assert notes[0] == ["before the upgrade"]
    assert notes[-1] == ["after the upgrade"]


@pytest.mark.parametrize("dump", SQLITE, ids=release)
def test_an_instance_of_an_earlier_release_is_upgraded(dump: Path, tmp_path: Path) -> None:
    """What it had recorded is still there, it serves, records more, and has what the new release's schema adds."""
    instance = configured(tmp_path / "home")
    with contextlib.closing(sqlite3.connect(instance.home / "database.sqlite")) as connection:
        connection.executescript(text(dump))
    upgraded(instance, 7)
    recorded_since(instance)


@pytest.mark.parametrize("dump", POSTGRESQL, ids=release)
def test_one_on_postgresql_is_upgraded(dump: Path, tmp_path: Path, needs_program: Callable[[str, str], str]) -> None:
    """Likewise, by the same migration on another engine."""
    with postgresql(needs_program) as source:
        load(dump, source, "earlier")
        instance = configured(tmp_path / "home", {**source, "db-name": "earlier"})
        upgraded(instance, 19)
        recorded_since(instance)


def configured(home: Path, database: dict[str, str] | None = None) -> Instance:
    """Make an instance of this release whose database is an earlier one's."""
    instance = Instance(home, free_port(), name="site", cubes=("leakwatch",), database=database or {})
    instance.configure()
    return instance


def load(dump: Path, source: dict[str, str], name: str) -> None:
    """Make a database of a cluster from a dump."""
    where = {"host": source["db-host"], "port": source["db-port"], "user": source["db-user"]}
    with contextlib.closing(psycopg2.connect(dbname="postgres", **where)) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
    with contextlib.closing(psycopg2.connect(dbname=name, **where)) as connection, connection:
        connection.cursor().execute(text(dump))
