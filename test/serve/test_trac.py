"""The story this began with: Trac, which grows past what its host can give, behind nginx. Not one bad gateway."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cubicweb_leakwatch.serve.load import Mix, run_load
from cubicweb_leakwatch.serve.spec import Child, Limits, Timing

pytest.importorskip("trac", reason="Trac is not installed (test requirements)")
pytest.importorskip("flup", reason="flup is not installed (test requirements)")
pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

MIB = 1024 * 1024
REPLACEMENTS = 5
# The whole story: LEAKWATCH_TRAC_RATE=10 LEAKWATCH_TRAC_SECONDS=120. Trac takes 50 ms of processor for a request, so a
# machine that does other things too gets fewer of them, and no more time than the replacements take.
RATE = float(os.environ.get("LEAKWATCH_TRAC_RATE", "4"))
SECONDS = float(os.environ.get("LEAKWATCH_TRAC_SECONDS", "0"))
LONGEST_S = max(120.0, SECONDS)
# Started by root, nginx would become nobody, who may not open our sockets.
NGINX_USER = "user root;" if os.geteuid() == 0 else ""

SITE = """
import os
from trac.web.main import dispatch_request

CACHE = []

def app(environ, start_response):
    environ["trac.env_path"] = os.environ["TRAC_ENV"]
    CACHE.append(bytearray(4_000_000))  # the cache that never expires
    return dispatch_request(environ, start_response)
"""

FCGI = """
import os, time
from flup.server.fcgi import WSGIServer
from cubicweb_leakwatch.serve.sdnotify import notify
from cubicweb_leakwatch.serve.wsgi import first_request
from trac_site import app

class Server(WSGIServer):
    def shutdown(self):
        # flup forgets requests that no thread has taken up yet.
        while self._threadPool._workQueue:
            time.sleep(0.01)
        super().shutdown()

first_request(app, "/about")
notify(os.environ["NOTIFY_SOCKET"], READY=1)
Server(app).run()
"""

NGINX = """
{user}
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen unix:{folder}/front.sock;
    location / {{ {passing} }} }}
}}
"""
HTTP = 'proxy_pass http://unix:{folder}/site.sock; proxy_http_version 1.1; proxy_set_header Connection ""; '
HTTP += "proxy_next_upstream off;"
FASTCGI = "fastcgi_pass unix:{folder}/site.sock; fastcgi_next_upstream off; fastcgi_param SCRIPT_NAME ''; "
FASTCGI += "fastcgi_param PATH_INFO $fastcgi_script_name; fastcgi_param REQUEST_METHOD $request_method; "
FASTCGI += "fastcgi_param QUERY_STRING $query_string; fastcgi_param CONTENT_LENGTH $content_length; "
FASTCGI += "fastcgi_param SERVER_NAME localhost; fastcgi_param SERVER_PORT 80; "
FASTCGI += "fastcgi_param SERVER_PROTOCOL $server_protocol;"


@pytest.fixture(scope="module")
def trac(tmp_path_factory):
    """Return the folder of a Trac environment, with the site's modules beside it."""
    folder = tmp_path_factory.mktemp("trac")
    command = [sys.executable, "-c", "from trac.admin.console import run; run()", str(folder / "env")]
    subprocess.run([*command, "initenv", "Story", "sqlite:db/trac.db"], check=True, capture_output=True, timeout=100)
    (folder / "trac_site.py").write_text(SITE)
    (folder / "trac_fcgi.py").write_text(FCGI)
    return folder


@pytest.fixture
def front(needs_program, tmp_path):
    """Return ``start(how)``: nginx before ``site.sock``, which never asks a second time; its socket's path."""
    program = needs_program("nginx", "nginx-light")
    running = []

    def start(passing):
        configuration = tmp_path / "nginx.conf"
        passing = passing.format(folder=tmp_path)
        configuration.write_text(NGINX.format(user=NGINX_USER, folder=tmp_path, passing=passing))
        running.append(subprocess.Popen([program, "-c", str(configuration), "-e", str(tmp_path / "nginx.log")]))
        return str(tmp_path / "front.sock")

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


async def load_until(address, launched, replacements):
    """Send requests for SECONDS, and until that many replacements are done; two minutes at most."""
    stop, mix = asyncio.Event(), Mix(new=RATE, slow=0, upload=0, lazy=0.2, split=0.2, keep_alive=1, path="/about")
    load = asyncio.create_task(run_load(address, mix, LONGEST_S, stop=stop))
    began = time.monotonic()
    while not load.done():
        await asyncio.sleep(0.5)
        done = await asyncio.to_thread(launched.finished)
        if len(done) >= replacements and time.monotonic() - began >= SECONDS:
            stop.set()
    return await load


@pytest.mark.parametrize("how", ["wsgi", "fcgi"])
def test_trac_past_its_limit_behind_nginx_loses_no_request(launch, front, trac, tmp_path, wait, how):
    """A steady load over five replacements: 0 failed, 0 bad gateways."""
    if how == "wsgi":
        kind = Child(command=(sys.executable, "-m", "cubicweb_leakwatch.serve.wsgi", "trac_site:app", "/about"))
    else:
        command = (sys.executable, str(trac / "trac_fcgi.py"))
        kind = Child(command=command, announces=False, guards_itself=False, fcgi=True)
    launched = launch(
        web=kind,
        bind=(f"unix:{tmp_path}/site.sock",),
        limits=Limits(memory_bytes=150 * MIB),
        timing=Timing(ready_timeout_s=60.0, drain_timeout_s=10.0),
        outside={
            "LEAKWATCH_AUTOPSY": "never",
            "TRAC_ENV": str(trac / "env"),
            "PYTHONPATH": os.pathsep.join([str(trac), *sys.path]),
        },
    )
    wait(launched.workers, "Trac serving", limit_s=60, alive=launched.alive)
    address = front(HTTP if how == "wsgi" else FASTCGI)
    wait(lambda: Path(address).exists(), "nginx")
    result = asyncio.run(load_until(address, launched, REPLACEMENTS))
    records = launched.finished()
    figures = result.figures()
    print(f"\n{how}: {figures.sent} requests, {figures.failed} failed, {len(records)} replacements, {figures}")
    assert result.failures() == {}, launched.text()[-3000:]
    assert [record["outcome"] for record in records[:REPLACEMENTS]] == ["replaced"] * REPLACEMENTS
    assert all("over its limit" in record["reason"] for record in records)
