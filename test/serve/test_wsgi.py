"""Any WSGI callable under the launcher, by the command line."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.serve.__main__ import parser, specification
from cubicweb_leakwatch.serve.control import LauncherError, ask_launcher
from cubicweb_leakwatch.serve.wsgi import first_request, load

SITE = """
HOARD = []

class Handler:
    def __init__(self, size):
        self.held = bytearray(size)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        HOARD.extend(Handler(4_000) for _each in range(1000))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"site"]

def make():
    return app
"""


def answering(status):
    """Return an application that answers with a status."""

    def app(environ, start_response):
        start_response(status, [])
        return [b""]

    return app


def test_the_first_request_must_be_answered():
    """Below 500 is an answer: a site may well send visitors to log in."""
    first_request(answering("200 OK"))
    first_request(answering("401 Unauthorized"))


@pytest.mark.parametrize("app", [answering("503 Starting"), lambda environ, start_response: 1 / 0, lambda *_: [b""]])
def test_a_first_request_that_fails_keeps_the_worker_out(app):
    """An error, an exception or no answer at all: not ready."""
    with pytest.raises(LeakwatchError, match="the first request failed: GET /"):
        first_request(app)


@pytest.mark.parametrize("name", ["nothing", "no.such.module:app", "json:no_such_name", ":app"])
def test_a_callable_that_is_not_there_is_refused(name):
    """One sentence with the name."""
    with pytest.raises(ConfigurationError, match=name.partition(":")[0] or "app"):
        load(name)


def test_options_become_a_specification():
    """Sizes and durations are numbers by then, in bytes and seconds."""
    words = "--bind unix:/run/x --workers 3 --memory-limit 90MB --max-age 1h --drain-timeout 10s --wsgi site:app"
    spec = specification(parser().parse_args(words.split()))
    assert (spec.bind, spec.workers, spec.limits.memory_bytes) == (("unix:/run/x",), 3, 90_000_000)
    assert (spec.limits.max_age_s, spec.timing.drain_timeout_s) == (3600.0, 10.0)
    assert spec.web.announces and spec.web.guards_itself


def test_a_command_is_not_expected_to_know_us():
    """After -- comes any command; it is watched from outside."""
    spec = specification(parser().parse_args(["--fcgi", "--", "./trac.fcgi", "--option"]))
    assert spec.web.command == ("./trac.fcgi", "--option")
    assert (spec.web.fcgi, spec.web.announces, spec.web.guards_itself) == (True, False, False)


@pytest.mark.parametrize("words", [[], ["--wsgi", "a:b", "--", "c"], ["--fcgi", "--wsgi", "a:b"]])
def test_contradictions_are_refused(words):
    """Either a callable or a command."""
    with pytest.raises(ConfigurationError):
        specification(parser().parse_args(words))


@pytest.mark.integration
def test_a_wsgi_site_is_served_replaced_and_examined(tmp_path, wait):
    """Past its limit the worker is replaced, and its heap is kept for the hunt."""
    import urllib.request

    (tmp_path / "leaking_site.py").write_text(SITE)
    runtime = str(tmp_path / "runtime")
    command = [sys.executable, "-m", "cubicweb_leakwatch.serve", "--bind", "127.0.0.1:0", "--runtime-dir", runtime]
    command += ["--memory-limit", "90MiB", "--name", "site", "--wsgi", "leaking_site:make()"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=log, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    alive = lambda: process.poll() is None  # noqa: E731

    def ask(question):
        try:
            return ask_launcher(runtime, question)
        except LauncherError:
            return {"processes": [], "restarts": []}

    def done():
        return [row for row in ask("restarts")["restarts"] if row["stage"] == "done"]

    try:
        wait(lambda: any(row["state"] == "serving" for row in ask("status")["processes"]), "serving", alive=alive)
        address = ask("status")["listening"][0]
        for _each in range(20):
            with urllib.request.urlopen(f"http://{address}/leak", timeout=10) as answer:
                assert answer.read() == b"site"
        record = wait(done, "the restart", limit_s=60, alive=alive)[0]
        assert record["outcome"] == "replaced"
        assert "over its limit" in record["reason"]
        report = subprocess.run(
            [sys.executable, "-m", "cubicweb_leakwatch.heap", "gc", record["autopsy"]], capture_output=True, check=True
        )
        types = {row["type"]: row["count"] for row in json.loads(report.stdout)["types"]}
        assert types["leaking_site.Handler"] == 20_000
        summary = json.loads(Path(record["autopsy"]).with_suffix(".json").read_text())
        assert {"type": "leaking_site.Handler", "count": 20_000} in [
            {"type": row["type"], "count": row["count"]} for row in summary["most"]
        ]
        assert "leaking_site" in summary["suspects"][0]["holder"]
        status = ask("status")["processes"]
        assert [row["generation"] for row in status] == [2]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_wsgi_site_that_cannot_be_loaded_is_one_line(tmp_path):
    """Exit code 4, what failed and on which name; no traceback from the launcher."""
    command = [sys.executable, "-m", "cubicweb_leakwatch.serve", "--bind", "127.0.0.1:0"]
    command += ["--runtime-dir", str(tmp_path / "runtime"), "--wsgi", "no_such_module:app"]
    began = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=30)
    assert ended.returncode == 4
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("leakwatch: web-1 ended before it was ready: cannot load no_such_module")
    assert "Traceback" not in ended.stderr
    assert time.monotonic() - began < 20


@pytest.mark.integration
def test_alone_under_a_service_manager_it_drains_and_exits(tmp_path):
    """No launcher above it: past its limit it answers what it has, ends with 0, and says so to the manager."""
    (tmp_path / "leaking_site.py").write_text(SITE)
    with socket.socket() as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        command = 'exec 3<&$0; unset LISTEN_PID; exec "$@"'
        words = [sys.executable, "-m", "cubicweb_leakwatch.serve.wsgi", "leaking_site:make()", "/"]
        given = {"LISTEN_FDS": "1", "LEAKWATCH_MAX_REQUESTS": "4", "NOTIFY_SOCKET": str(tmp_path / "notify")}
        given |= {"PYTHONPATH": str(tmp_path), "LEAKWATCH_RUNTIME_DIR": str(tmp_path / "runtime")}
        shell = ["/bin/bash", "-c", command, str(listener.fileno()), *words]
        with subprocess.Popen(shell, env={**os.environ, **given}, pass_fds=[listener.fileno()]) as process:
            assert manager.recv(4096).startswith(b"READY=1")
            for _each in range(4):
                with socket.create_connection(listener.getsockname(), timeout=10) as client:
                    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    assert client.makefile("rb").read().endswith(b"site")
            assert process.wait(20) == 0
        assert b"STOPPING=1" in b"".join(manager.recv(4096) for _each in range(2))
