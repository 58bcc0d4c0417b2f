"""The database goes away under load: workers answer on, are replaced, and what was measured arrives once."""

import itertools
import time
from collections.abc import Callable, Iterator

import pytest
from clusters import Cluster, cluster
from cubicweb_leakdemo.runner.instance import HOST, Instance
from cubicweb_leakdemo.runner.traffic import Traffic, send
from sites import answers, make_instance, query, served

from cubicweb_leakwatch.serve.control import ask_launcher

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
OPTIONS = {"leakwatch-interval": "1s", "leakwatch-types": "0"}


@pytest.fixture
def postgres(needs_program: Callable[[str, str], str]) -> Iterator[Cluster]:
    """Run a cluster that can be stopped and started again."""
    with cluster(needs_program) as running:
        yield running


def times(instance: Instance) -> list[tuple[int, float]]:
    """Return process and time of each recorded snapshot."""
    rows = query(instance, "Any I, T ORDERBY T WHERE S snapshot_of P, P pid I, S t T")
    return [(pid, t) for pid, t in rows]


def outcome(directory: str, restart_id: str) -> str | None:
    """Return how a restart ended; None while it goes on."""
    found = ask_launcher(directory, "restarts")["restarts"]
    return next((record["outcome"] for record in found if record["id"] == restart_id), None)


def test_the_database_is_away_for_a_while(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Worker and scheduler are replaced, no request is lost; afterwards all is as if nothing had been."""
    home = tmp_path_factory.mktemp("down") / "home"
    instance = make_instance(home, "leakwatch", options=OPTIONS, database={**postgres.source, "db-name": "down"})
    directory = str(instance.home / "run" / "leakwatch")

    def log() -> str:
        return (instance.home / "leak-serve.log").read_text()

    def replaced(process: str) -> str:
        (wish,) = ask_launcher(directory, "restart", process=process, reason="test", by="me")["requested"]
        site.wait_for(lambda: outcome(directory, wish["id"]) is not None, "the end of a restart", timeout_s=90)
        return str(outcome(directory, wish["id"]))

    with served(instance) as site:
        site.wait_for(lambda: len(times(instance)) >= 4, "the first snapshots")
        traffic = Traffic("127.0.0.1", site.port, lambda _number: "/_leakwatch/livez", rate=20.0)
        postgres.stop()
        last = time.time()
        traffic.start()
        pages = [send(HOST, site.port, "/", late_s=20.0) for _time in range(8)]  # more than the pool has places
        assert pages[-1].detail == "status 503"
        assert {page.kind for page in pages} == {"status"}, "one was not answered at once"
        assert [replaced("web-1"), replaced("scheduler")] == ["replaced", "replaced"]
        count = traffic.stop()
        postgres.start()
        assert (count.failed, count.answered) == ({}, count.sent)
        assert [answers(site.port, "/") for _time in range(10)] == [True] * 10
        site.wait_for(lambda: log().count("event=boot-confirmed") == 2, "what was remembered being found true")
        site.wait_for(lambda: sum(t > last for _pid, t in times(instance)) >= 10, "what was measured meanwhile")
        assert replaced("web-1") == "replaced"
        assert log().count("event=boot-without-database") == 2
    recorded = times(instance)
    assert len(recorded) == len(set(recorded))
    # Nobody measures while the scheduler is replaced: what each process noted by itself fills the hole.
    for pid in {pid for pid, _t in recorded}:
        own = [t for other, t in recorded if other == pid]
        assert max((after - before for before, after in itertools.pairwise(own)), default=0.0) < 15.0, "one is missing"
