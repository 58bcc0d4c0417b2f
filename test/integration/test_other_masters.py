"""An instance under gunicorn and under uWSGI, as the manual says: every worker is known, and replaced by its master."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cubicweb_leakdemo.runner import processes
from cubicweb_leakdemo.runner.instance import HOST, Instance
from cubicweb_leakdemo.runner.traffic import Traffic
from sites import Site, answers, make_instance

from cubicweb_leakwatch.probe.runtime import find_probes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
APPLICATION = "cubicweb.pyramid:wsgi_application()"
OPTIONS = {"leakwatch-max-requests": "20", "leakwatch-restart-budget": "1/h", "leakwatch-interval": "1s"}


def gunicorn(port: int) -> list[str]:
    """Return the words of docs/deployment.rst."""
    return ["gunicorn", "--workers", "2", "--threads", "4", "--bind", f"{HOST}:{port}", APPLICATION]


def uwsgi(port: int) -> list[str]:
    """Return the words of docs/deployment.rst, on the command line."""
    own = ["--master", "--die-on-term", "--lazy-apps", "--enable-threads", "--processes", "2", "--threads", "4"]
    return ["uwsgi", *own, "--module", APPLICATION, "--http-socket", f"{HOST}:{port}"]


@contextmanager
def served_by(words: Callable[[int], list[str]], home: Path) -> Iterator[Site]:
    """Serve an instance by another master, with a collector beside it."""
    instance = make_instance(home, "leakwatch", options=OPTIONS)
    environment = {**instance.environment(), "CW_INSTANCE": instance.name}
    program, *options = words(instance.port)
    command = [str(instance.programs / program), *options]
    server = processes.start(program, command, environment, home / f"{program}.log")
    site = Site(instance, server)
    try:
        site.wait_for(lambda: len(find_probes(runtime(instance))) == 2, "both workers' probes")
        site.wait_for(lambda: answers(instance.port, "/_leakwatch/readyz"), "the first answer")
        yield site
    finally:
        server.stop()


def runtime(instance: Instance) -> Path:
    """Return the instance's runtime directory."""
    return instance.home / "run" / "leakwatch"


def replaced(instance: Instance) -> list[dict[str, Any]]:
    """Return the restarts in the journal."""
    journal = runtime(instance) / "restarts.jsonl"
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []


@pytest.mark.parametrize("words", [gunicorn, uwsgi])
def test_the_workers_of_another_master(words: Callable[[int], list[str]], tmp_path: Path) -> None:
    """Commands, records and policy know them; past its limit one is replaced by its master, and no request is lost."""
    with served_by(words, tmp_path / "home") as site:
        assert site.names() == ["web-1", "web-2"]
        assert site.ask("leak-collect", "--once") == {"recorded": ["web-1", "web-2"]}
        before = {address.pid for address in find_probes(runtime(site.instance))}
        traffic = Traffic(HOST, site.port, lambda _number: "/", rate=8.0)
        traffic.start()
        site.wait_for(lambda: bool(replaced(site.instance)), "a worker's replacement")
        count = traffic.stop()
        (record,) = replaced(site.instance)
        assert (record["by"], record["outcome"], count.failed) == ("worker", "replaced", {}), processes.tail(
            site.server.log
        )
        assert "requests served, its limit is" in record["reason"]
        assert record["old_pid"] in before
        assert record["new_pid"] not in before
        assert len(site.names()) == 2  # a successor that overlaps, as gunicorn's, takes the next free name
        assert not Path(f"/proc/{record['old_pid']}").exists()
