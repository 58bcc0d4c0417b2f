"""Two hosts of one instance on one PostgreSQL: each records its own, both show all, and they replace in turn."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from clusters import postgresql
from cubicweb_leakdemo.runner import traffic
from cubicweb_leakdemo.runner.instance import Instance
from sites import Site, Visitor, ctl, make_instance, served

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
FAST = {"leakwatch-interval": "2s", "leakwatch-types": "0"}


@dataclass(frozen=True)
class Host(Instance):
    """An instance as it is on one of its hosts: with a runtime directory, a port and a name of its own."""

    host: str = "alpha"

    def variables(self) -> dict[str, str]:
        """Return the instance's variables, with what differs between the hosts."""
        own = {"LEAKWATCH_HOST": self.host, "CW_PORT": str(self.port), "CW_BASE_URL": self.address}
        return {**super().variables(), "CW_RUNTIME_DIR": str(self.home / f"run-{self.host}"), **own}


@pytest.fixture(scope="module")
def hosts(
    needs_program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Site]]:
    """Serve one instance on alpha and on beta, a worker and a scheduler each."""
    with postgresql(needs_program) as source, ExitStack() as stack:
        home = tmp_path_factory.mktemp("hosts") / "home"
        instance = make_instance(home, "leakwatch", options=FAST, database={**source, "db-name": "hosts"})
        sites = []
        for name in ("alpha", "beta"):
            fields = {field: getattr(instance, field) for field in instance.__dataclass_fields__}
            host = replace(Host(**fields), host=name, port=traffic.free_port())
            Path(host.variables()["CW_RUNTIME_DIR"]).mkdir(mode=0o700)
            sites.append(stack.enter_context(served_as(host)))
        for site in sites:
            site.wait_for(lambda site=site: len(rows(site)) == 4, "seeing the other host")
        yield sites[0], sites[1]


@contextmanager
def served_as(host: Host) -> Iterator[Site]:
    """Serve on a host; one that a test killed need not end in order."""
    try:
        with served(host, "--bind", f"127.0.0.1:{host.port}") as site:
            yield site
    except AssertionError:
        if site.server.process.returncode != -signal.SIGKILL:
            raise


def rows(site: Site) -> list[dict[str, Any]]:
    """Return the rows of leak-status on a host."""
    return list(site.ask("leak-status")["processes"])


def restarts(site: Site) -> list[tuple[str, str, str, str]]:
    """Return host, process, and when the replacement began and ended, as the database has them."""
    return [
        tuple(row)
        for row in site.rows(
            "Any H, P, T, E ORDERBY T WHERE X is WorkerRestart, X host H, X process P, X requested_at T, X exited_at E"
        )
    ]


def test_each_host_shows_all(hosts: tuple[Site, Site]) -> None:
    """Its own processes by their slots, the other's by host and slot, on the command line and on the page."""
    alpha, beta = hosts
    assert [row["name"] for row in rows(alpha)] == ["web-1", "scheduler", "beta:scheduler", "beta:web-1"]
    assert {row["host"] for row in rows(beta)} == {"alpha", "beta"}
    assert all(row["rss"] > 2**20 for row in rows(alpha))
    page = Visitor(alpha.address).log_in().get("/?vid=leakwatch").text
    assert "beta:web-1" in page


def test_a_restart_is_asked_for_on_one_host_and_done_on_the_other(hosts: tuple[Site, Site]) -> None:
    """Through the database, within an interval; who asked waits for the record of it."""
    alpha, _beta = hosts
    before = next(row["pid"] for row in rows(alpha) if row["name"] == "beta:web-1")
    (record,) = alpha.ask("leak-restart", "--process", "beta:web-1", "--reason", "from afar", "--wait")
    assert (record["process"], record["outcome"], record["old_pid"]) == ("beta:web-1", "replaced", before)
    assert record["new_pid"] != before


def test_a_process_of_no_host_is_refused(hosts: tuple[Site, Site]) -> None:
    """At once, naming those that there are."""
    alpha, _beta = hosts
    told = ctl(alpha.instance, "leak-restart", "site", "--process", "gamma:web-1")
    assert told.returncode == 4
    assert "there are: beta:scheduler, beta:web-1" in told.stderr


def test_hosts_replace_in_turn(hosts: tuple[Site, Site]) -> None:
    """All workers of both hosts at once: no two replacements overlap."""
    alpha, beta = hosts
    before = len(restarts(alpha))
    for site in hosts:
        site.server.process.send_signal(signal.SIGHUP)
    alpha.wait_for(lambda: len(restarts(alpha)) >= before + 4, "four restarts", timeout_s=150)
    spans = windows(alpha)
    assert {host for _begin, _end, host in spans} == {"alpha", "beta"}
    assert [(one, two) for one, two in itertools.pairwise(spans) if two[0] < one[1]] == []
    assert beta.server.process.poll() is None


def windows(site: Site) -> list[tuple[datetime, datetime, str]]:
    """Return begin, end and host of each replacement: from the start of its successor to the end of its old worker."""
    rql = (
        "Any H, S, E WHERE X is WorkerRestart, X host H, X exited_at E, X new_pid I, NOT X exited_at NULL,"
        " P is LeakwatchProcess, P host H, P pid I, P started_at S, P role 'web'"
    )
    found = site.rows(rql)
    return sorted((datetime.fromisoformat(begin), datetime.fromisoformat(end), host) for host, begin, end in found)


def test_a_host_that_dies_in_mid_replacement_holds_up_nobody(hosts: tuple[Site, Site]) -> None:
    """Its turn ends with its session: the other host goes on within seconds."""
    alpha, beta = hosts
    pids = [row["pid"] for row in rows(alpha) if ":" not in row["name"]]
    log = alpha.server.log
    seen = log.read_text().count("event=started")
    alpha.server.process.send_signal(signal.SIGHUP)
    alpha.wait_for(lambda: log.read_text().count("event=started") > seen, "the successor's start", every_s=0.02)
    os.killpg(alpha.server.process.pid, signal.SIGKILL)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    (record,) = beta.ask("leak-restart", "--process", "web-1", "--wait")
    assert record["outcome"] == "replaced"
    assert time.monotonic() - began < 30
