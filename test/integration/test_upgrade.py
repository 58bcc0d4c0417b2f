"""An instance of an earlier release, upgraded as its operator would; with LEAKWATCH_TEST_DB=postgres on PostgreSQL."""

import contextlib
import lzma
import sqlite3
from pathlib import Path

import psycopg2
import pytest
from cubicweb_leakdemo.runner.instance import Instance
from sites import make_instance, query, served

pytestmark = pytest.mark.integration
DATA = Path(__file__).parent / "data"
RELEASES = sorted(path.name.split("-")[1].removesuffix(".sql.xz") for path in DATA.glob("instance-?.?.?.sql.xz"))


def load(instance: Instance, release: str) -> None:
    """Put the database of an instance of ``release`` in the place of a new instance's."""
    if not instance.database:
        database = instance.home / "database.sqlite"
        database.unlink()
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.executescript(dump(f"instance-{release}.sql.xz"))
        return
    where = instance.database
    server = {"host": where["db-host"], "port": where["db-port"], "user": where["db-user"]}
    with contextlib.closing(psycopg2.connect(**server, dbname="postgres")) as administrator:
        administrator.autocommit = True
        for verb in ("DROP", "CREATE"):
            administrator.cursor().execute(f'{verb} DATABASE "{where["db-name"]}"')
    with contextlib.closing(psycopg2.connect(**server, dbname=where["db-name"])) as connection, connection:
        connection.cursor().execute(dump(f"instance-{release}.postgres.sql.xz"))


def dump(name: str) -> str:
    """Return the SQL of a fixture."""
    return lzma.decompress((DATA / name).read_bytes()).decode()


@pytest.mark.parametrize("release", RELEASES)
def test_an_instance_of_an_earlier_release_is_upgraded(release: str, tmp_path: Path) -> None:
    """What it had recorded is still there, it serves, records more, and has what the new release's schema adds."""
    instance = make_instance(tmp_path / "home", "leakwatch")
    load(instance, release)
    instance.run("upgrade", "--force", "--verbosity=0", "--backup-db=n", instance.name)
    assert query(instance, "Any COUNT(S) WHERE S is MemorySnapshot") == [[7]]
    assert query(instance, "Any O, A WHERE X is WorkerRestart, X outcome O, X recorded_at A") == [["replaced", None]]
    assert query(instance, "Any X WHERE X is RestartRequest") == []
    with served(instance) as site:
        site.ask("leak-snapshot", "--note", "after the upgrade")
        notes = site.rows("Any N ORDERBY T WHERE S is MemorySnapshot, S note N, NOT S note NULL, S t T")
    assert notes[0] == ["before the upgrade"]
    assert notes[-1] == ["after the upgrade"]
