"""An instance of an earlier release, upgraded as its operator would."""

import lzma
import sqlite3
from pathlib import Path

import pytest
from sites import make_instance, query, served

pytestmark = pytest.mark.integration
DUMPS = sorted((Path(__file__).parent / "data").glob("instance-*.sql.xz"))


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.name.split("-")[1][:5])
def test_an_instance_of_an_earlier_release_is_upgraded(dump: Path, tmp_path: Path) -> None:
    """What it had recorded is still there, it serves, records more, and has what the new release's schema adds."""
    instance = make_instance(tmp_path / "home", "leakwatch", database={})  # the dumps are SQLite's
    database = tmp_path / "home" / "database.sqlite"
    database.unlink()
    with sqlite3.connect(database) as connection:
        connection.executescript(lzma.decompress(dump.read_bytes()).decode())
    connection.close()
    instance.run("upgrade", "--force", "--verbosity=0", "--backup-db=n", instance.name)
    assert query(instance, "Any COUNT(S) WHERE S is MemorySnapshot") == [[7]]
    assert query(instance, "Any O, A WHERE X is WorkerRestart, X outcome O, X recorded_at A") == [["replaced", None]]
    assert query(instance, "Any X WHERE X is RestartRequest") == []
    with served(instance) as site:
        site.ask("leak-snapshot", "--note", "after the upgrade")
        notes = site.rows("Any N ORDERBY T WHERE S is MemorySnapshot, S note N, NOT S note NULL, S t T")
    assert notes[0] == ["before the upgrade"]
    assert notes[-1] == ["after the upgrade"]
