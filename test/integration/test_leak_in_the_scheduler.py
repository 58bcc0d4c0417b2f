"""The first story: handlers leaked by polling, in the process that runs the looping tasks, found and named."""

from typing import Any

import pytest
from sites import Site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

HANDLER = "mercurial.url.httphandler"
LEAKED = 2000


@pytest.fixture(scope="module")
def report(site: Site) -> dict[str, Any]:
    """Return leak-gc's report of the scheduler."""
    (report,) = site.ask("leak-gc", "--process", "scheduler")
    return dict(report)


@pytest.fixture(scope="module")
def cycle(report: dict[str, Any]) -> dict[str, Any]:
    """Return the cycle shape that holds Mercurial's handler."""
    (cycle,) = [cycle for cycle in report["cycles"] if HANDLER in cycle["finalizers"]]
    return dict(cycle)


def test_the_shape_is_counted_right(cycle: dict[str, Any]) -> None:
    """Two thousand polls have leaked two thousand cycles, all of one shape and all reachable."""
    assert cycle["count"] == LEAKED
    assert cycle["reachable"] is True
    assert cycle["objects"] >= 2 * LEAKED
    assert cycle["bytes"] > 100 * LEAKED


def test_the_members_are_named(cycle: dict[str, Any]) -> None:
    """The handler and the opener that it is in a cycle with are among the members, and on the path round the cycle."""
    members = {item["type"] for item in cycle["types"]}
    assert {HANDLER, "urllib.request.OpenerDirector"} <= members
    assert any("OpenerDirector" in step for step in cycle["path"])


def test_the_keeper_is_named(cycle: dict[str, Any]) -> None:
    """The holder names the attribute that keeps the peers."""
    assert cycle["holder"].startswith("cubicweb_leakdemo.polling.POLLER.handlers")


def test_the_report_says_what_it_cost(report: dict[str, Any]) -> None:
    """Process, time, pause and memory are told, and the report is whole."""
    assert report["process"]["name"] == report["process"]["role"] == "scheduler"
    assert report["partial"] is None
    assert 0 < report["pause_ms"] < report["elapsed_ms"]
    assert all(report["memory"][key] > 0 for key in ("rss", "uss", "python_blocks", "malloc_used"))


def test_the_types_are_counted_with_the_containers(report: dict[str, Any]) -> None:
    """Dictionaries and lists are counted as well as classes, with sizes, the largest first."""
    sizes = [item["bytes"] for item in report["types"]]
    assert sizes == sorted(sizes, reverse=True)
    assert all(item["count"] > 0 for item in report["types"])
    assert {"builtins.dict", "builtins.list"} <= {item["type"] for item in report["types"]}


def test_the_workers_do_not_hold_it(site: Site) -> None:
    """Only the scheduler polls: no web worker has such a cycle."""
    reports = site.ask("leak-gc")
    held = {item["process"]["name"]: [c for c in item["cycles"] if HANDLER in c["finalizers"]] for item in reports}
    assert sorted(held) == ["scheduler", "web-1", "web-2"]
    assert held["web-1"] == held["web-2"] == []


def test_every_process_is_recorded(site: Site) -> None:
    """The looping task records snapshots of the two workers and of its own process."""

    def recorded() -> set[str]:
        rows = site.rows("Any N, COUNT(S) GROUPBY N WHERE S snapshot_of P, P name N")
        return {name for name, count in rows if count >= 2}

    site.wait_for(lambda: recorded() >= {"web-1", "web-2", "scheduler"}, "two snapshots of each process")
