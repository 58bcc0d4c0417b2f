"""The cube comes to an instance that exists, is upgraded with it, records, and leaves; on SQLite and PostgreSQL."""

import json
from collections.abc import Callable, Iterator

import pytest
from clusters import postgresql
from cubicweb_leakdemo.runner.instance import Instance
from sites import ctl, make_instance, query, served

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

OUR_TYPES = {"LeakwatchProcess", "MemorySnapshot", "LeakFinding", "WorkerRestart"}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(
    request: pytest.FixtureRequest, needs_program: Callable[[str, str], str]
) -> Iterator[dict[str, str] | None]:
    """Give the system source of each database in turn; None is the default, a SQLite file."""
    if request.param == "sqlite":
        yield None
        return
    with postgresql(needs_program) as source:
        yield {**source, "db-name": "site"}


@pytest.fixture(scope="module")
def instance(database: dict[str, str] | None, tmp_path_factory: pytest.TempPathFactory) -> Instance:
    """Make an instance without the cube, as there are many."""
    home = tmp_path_factory.mktemp("life") / "home"
    return make_instance(home, "web", **({"database": database} if database else {}))


def shell(instance: Instance, script: str) -> None:
    """Run lines in ``cubicweb-ctl shell``, as the README says to."""
    path = instance.home / "script.py"
    path.write_text(script + "\n")
    done = ctl(instance, "shell", "-f", instance.name, str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def entity_types(instance: Instance) -> set[str]:
    """Return which of our entity types the instance's schema has."""
    rows = query(instance, "Any N WHERE T is CWEType, T name N")
    return {name for (name,) in rows} & OUR_TYPES


def test_the_cube_comes_to_an_instance_that_exists(instance: Instance) -> None:
    """add_cube adds our types, and the instance has the cube."""
    assert entity_types(instance) == set()
    shell(instance, 'add_cube("leakwatch")')
    assert entity_types(instance) == OUR_TYPES


def test_it_is_upgraded(instance: Instance) -> None:
    """cubicweb-ctl upgrade passes, keeps our types, and writes our options to the configuration."""
    done = ctl(instance, "upgrade", "--force", "-v", "0", instance.name, timeout_s=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert entity_types(instance) == OUR_TYPES
    assert "leakwatch-interval" in (instance.home / "etc" / instance.name / "all-in-one.conf").read_text()


def test_it_serves_and_records(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Served by leak-serve, every process is recorded, a replacement too, with the numbers as they were."""
    configuration = instance.home / "etc" / instance.name / "all-in-one.conf"
    configuration.write_text(configuration.read_text().replace("leakwatch-interval=1min", "leakwatch-interval=1s"))
    with served(instance) as site:
        site.ask("leak-restart", "--process", "web-1", "--reason", "a test", "--wait")
        snapshots = "Any N, COUNT(S), MIN(R) GROUPBY N WHERE S snapshot_of P, P name N, S rss R"
        site.wait_for(lambda: len(site.rows(snapshots)) == 2, "snapshots of both processes")
        restarts = "Any P, O, R WHERE X is WorkerRestart, X process P, X outcome O, X reason R"
        site.wait_for(lambda: site.rows(restarts) == [["web-1", "replaced", "a test"]], "the record of the restart")
    rows = {name: (count, rss) for name, count, rss in query(instance, snapshots)}
    assert set(rows) == {"web-1", "scheduler"}
    assert all(count >= 1 and rss > 20 * 2**20 for count, rss in rows.values())
    types = query(instance, "Any T WHERE S is MemorySnapshot, S types T")
    assert any("builtins.dict" in json.loads(text) for (text,) in types if text)


def test_it_leaves(instance: Instance) -> None:
    """drop_cube removes our types and all that was recorded, and the instance still serves."""
    shell(instance, 'drop_cube("leakwatch")')
    assert entity_types(instance) == set()
    assert query(instance, "Any X WHERE X is CWUser, X login 'admin'")
    checked = ctl(instance, "db-check", instance.name)
    assert "unknown type" not in checked.stdout + checked.stderr
