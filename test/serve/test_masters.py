"""Under gunicorn and uWSGI, really running, the same policy asks them for a successor; others are left alone."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cubicweb_leakwatch.probe.runtime import find_probes
from cubicweb_leakwatch.serve import masters, othermaster
from cubicweb_leakwatch.serve.journal import Journal
from cubicweb_leakwatch.serve.load import Mix, run_load
from cubicweb_leakwatch.serve.othermaster import Errand, read_errand, run
from cubicweb_leakwatch.serve.records import Restart
from cubicweb_leakwatch.serve.spec import Policy

MIB = 1024 * 1024
SITE = """
import logging, os, threading, time
logging.basicConfig(level=logging.INFO)
from cubicweb_leakwatch.serve.guard import GuardLimits
from cubicweb_leakwatch.serve.guest import watch_this_process
from cubicweb_leakwatch.serve.spec import Policy

HOARD, ONE = [], threading.Lock()
watch_this_process(os.environ["RUNTIME"], "site", GuardLimits(memory_bytes=150 * 1024**2), Policy(budget_count=1))

def app(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        HOARD.append(os.urandom(1 << 20) * 150)
    time.sleep(0.01)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


class Server:
    """A foreign server with two workers, started by ``words``; all that it starts ends with it."""

    def __init__(self, folder, words, port):
        self.runtime, self.port = folder / "runtime", port
        (folder / "site_that_leaks.py").write_text(SITE)
        self.log = (folder / "log").open("wb")
        environment = {**os.environ, "RUNTIME": str(self.runtime)}
        environment.pop("LEAKWATCH_PROCESS", None)
        self.process = subprocess.Popen(words, cwd=folder, env=environment, stdout=self.log, stderr=self.log)

    def workers(self):
        """Return the pids of its workers, the oldest first."""
        return masters._children(masters.Master("", self.process.pid))

    def ready(self):
        """Whether both workers answer their probes."""
        return len({address.pid for address in find_probes(self.runtime)} & set(self.workers())) == 2

    def get(self, path):
        """Return the pid that answered."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return int(client.makefile("rb").read().partition(b"\r\n\r\n")[2])

    def records(self):
        """Return the journal's restarts."""
        journal = self.runtime / "restarts.jsonl"
        return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []

    def text(self):
        """Return the log."""
        return Path(self.log.name).read_text(errors="replace")[-4000:]

    def end(self):
        """End it and its workers."""
        family = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        for each in family:
            each.kill()
        self.process.wait(10)
        self.log.close()


def words_of(kind, port):
    """Return how a server is started with two workers; skip where it is not installed."""
    programs = Path(sys.executable).parent
    if not (programs / kind).exists():
        pytest.skip(f"{kind} is not installed (test requirements)")
    if kind == "gunicorn":
        options = ["-w", "2", "-k", "gthread", "--threads", "4", "-b", f"127.0.0.1:{port}", "--no-control-socket"]
        return [str(programs / kind), *options, "site_that_leaks:app"]
    options = ["--master", "--lazy-apps", "--processes", "2", "--threads", "4", "--http-socket", f"127.0.0.1:{port}"]
    return [str(programs / kind), *options, "--add-header", "Connection: close", "--wsgi-file", "site_that_leaks.py",
            "--callable", "app"]  # fmt: skip


@pytest.fixture
def server(tmp_path, wait, request):
    """Return the server that the test names, serving."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = Server(tmp_path, words_of(request.param, port), port)
    try:
        wait(started.ready, f"{request.param} serving", alive=lambda: started.process.poll() is None)
        yield started
    finally:
        started.end()


def load(address, stop):
    """Send requests until told to stop; return the outcomes."""
    import asyncio

    async def both():
        event = asyncio.Event()
        going = asyncio.create_task(run_load(address, Mix(10, 0, 0, 0, 0, 0), 90.0, stop=event))
        while not going.done():
            await asyncio.sleep(0.2)
            if stop():
                event.set()
        return await going

    return asyncio.run(both())


@pytest.mark.integration
@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"], indirect=True)
def test_a_worker_over_its_limit_is_replaced_by_its_own_master(server):
    """The worker asks, its master gives the successor, no request fails, two workers serve; the budget is one."""
    leaking = server.get("/leak")
    before = set(server.workers())
    result = load(("127.0.0.1", server.port), lambda: server.records() and server.ready())
    assert result.failures() == {}, server.text()
    record = server.records()[0]
    assert (record["old_pid"], record["by"], record["outcome"]) == (leaking, "worker", "replaced"), server.text()
    assert "over its limit 1" in record["reason"]
    assert record["new_pid"] not in before
    assert len(server.workers()) == 2
    assert leaking not in server.workers()
    survivor = server.workers()[0]
    again = run(server.runtime, Errand("web-9", survivor, "memory", "worker", Policy(budget_count=1)))
    assert again is None
    by_hand = Errand("web-9", survivor, "by hand", "me", Policy(budget_count=1), automatic=False)
    assert run(server.runtime, by_hand).outcome == "replaced"


@pytest.mark.integration
def test_a_process_that_nobody_would_start_again_is_left_alone(tmp_path):
    """Neither a test's own process nor a worker of our launcher has another master."""
    assert masters.master_of(os.getpid()) is None
    assert masters.master_of(2**22 + 1) is None
    assert run(tmp_path, Errand("web-1", os.getpid(), "memory", "worker", Policy())) is None


@pytest.mark.parametrize(("automatic", "minutes", "held"), [(True, 5, True), (True, 61, False), (False, 5, False)])
def test_a_master_whose_worker_did_not_answer_is_left_alone_for_an_hour(tmp_path, automatic, minutes, held):
    """gunicorn keeps such a worker, and would get one more each minute; who asks by hand has seen why."""
    failed = Restart("1-1", "web-1", "memory", "worker", time.time() - 60 * minutes)
    failed.outcome = "successor-failed"
    Journal(str(tmp_path)).add(failed.as_json())
    errand = Errand("web-1", 7, "memory", "worker", Policy(), automatic=automatic)
    why_not = othermaster._why_not(tmp_path, errand, othermaster._restart(errand))
    assert ("did not answer" in why_not) == held


def test_an_errand_survives_its_journey_as_json():
    """What the worker wants is what the errand reads."""
    errand = Errand("web-1", 7, "memory", "worker", Policy(mode="advise", budget_count=6), planned=True)
    assert read_errand(errand.text()) == errand
