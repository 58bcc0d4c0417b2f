"""Restarts under load, side by side: ``python benchmarks/restart/run.py [--seconds N] [--peers PYTHON]``.

Every server gets the same open-loop load from the same honest clients; what is refused, reset, empty, truncated, not
200 or later than 5 s has failed. Ours replaces a worker as fast as its boot and drain allow; the others by their own
means. With ``--broken`` every third successor of ours cannot be imported, hangs, or never answers its first request.
Before that the same load runs without restarts, for half as long: the steady state that is compared with.
One set-up to the end: ``run.py --only "leakwatch 1w" --replacements 60 --requests 20000 --rate 80 --boot 0.3``.
PYTHON is the interpreter of an environment that has gunicorn, uwsgi, granian and uvicorn.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from servers import HERE, OURS, PEERS

from cubicweb_leakwatch.serve.control import LauncherError, ask_launcher
from cubicweb_leakwatch.serve.drill import window_of
from cubicweb_leakwatch.serve.load import Mix, run_load

MARK = "LEAKWATCH_BENCHMARK"
BROKEN = ("import", "hang", "silent")
"""How a successor fails on purpose, see app.py."""


def main():
    """Run the servers asked for, print a table, and write the figures as JSON."""
    options = parse()
    results = []
    for server in OURS + (PEERS if options.peers else []):
        if not chosen(server, options):
            continue
        result = asyncio.run(measure(server, options))
        results.append(result)
        print(row(result), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    return 1 if any(result["failed"] for result in results if result["name"].startswith("leakwatch")) else 0


def chosen(server, options):
    """Whether a server is asked for and installed."""
    asked = options.only in (None, server.name, server.name.split()[0])
    return asked and server.available(options.peers or sys.executable)


def parse():
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, help="load on each server, seconds (40)")
    parser.add_argument("--replacements", type=int, default=0, help="of ours: stop when so many are done (no bound)")
    parser.add_argument("--requests", type=int, default=0, help="and when so many requests are sent (no bound)")
    parser.add_argument("--steady", type=float, help="the load without restarts before, seconds (half of --seconds)")
    parser.add_argument("--rate", type=float, default=50.0, help="new connections a second (50)")
    parser.add_argument("--boot", type=float, default=2.5, help="what importing the application takes, seconds (2.5)")
    parser.add_argument("--pause", type=float, default=1.0, help="between two replacements of ours, seconds (1)")
    parser.add_argument("--peers", help="the Python whose environment has the other servers")
    parser.add_argument("--only", help="only the server of this name, or the servers of this program")
    parser.add_argument("--broken", action="store_true", help="every third successor of ours fails on purpose")
    parser.add_argument("--json", help="write the figures to this file")
    return parser.parse_args()


async def measure(server, options):
    """Return the figures of one server."""
    with started(server, options) as (address, process, folder):
        mix = Mix(new=options.rate, slow=1, upload=0.5, lazy=1, split=1, keep_alive=10, slow_path="/slow")
        steady = await run_load(address, mix, options.steady or options.seconds / 2)
        first = processes_started(folder)
        stop, records = asyncio.Event(), []
        before = rss_kib(process.pid)
        driver = asyncio.create_task(drive(server, process, folder, options, records, stop))
        load = await run_load(address, mix, options.seconds, stop=stop)
        stop.set()
        await driver
        windows = [window_of(record) for record in records]
        figures = load.figures()
        return {
            "name": server.name,
            **asdict(figures),
            "failures": load.failures(),
            "steady": asdict(steady.figures()),
            "inside": asdict(load.figures(windows)) if windows else None,
            "restarts": sum(record["outcome"] == "replaced" for record in records)
            if server.drive == "launcher"
            else processes_started(folder) - first,
            "outcomes": dict(Counter(record["outcome"] for record in records)),
            "longest_drain_s": max((drain_seconds(record) for record in records), default=None),
            "parent_rss_kib": [before, rss_kib(process.pid)],
        }


@contextmanager
def started(server, options):
    """Start a server, wait until it answers, and leave nothing of it behind."""
    folder = Path(tempfile.mkdtemp(prefix="leakwatch-restart-"))
    port = free_port()
    environment = {**os.environ, "BOOT_S": str(options.boot), "LEAK_BYTES": str(server.leak_bytes)}
    environment |= {"STARTS": str(folder / "starts"), MARK: str(folder), "PYTHONPATH": str(HERE)}
    environment |= {"BROKEN": str(folder / "broken")}
    # A server in production has its bytecode.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = server.command(options.peers or sys.executable, port, folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=log, stderr=log)
        address = str(folder / "site.sock") if server.unix else ("127.0.0.1", port)
        running = [process]
        try:
            wait_until_answers(address, process, folder)
            if server.nginx:
                nginx, port = start_nginx(folder, environment, log, address)
                running.insert(0, nginx)
                address = ("127.0.0.1", port)
                wait_until_answers(address, process, folder)
            yield address, process, folder
        finally:
            stop_all(folder, running)
            shutil.rmtree(folder)


def wait_until_answers(address, process, folder):
    """Wait for the first answer; stop waiting when the server died."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            connection = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            connection.settimeout(10)
            with connection:
                connection.connect(address)
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                if b" 200 " in connection.recv(100):
                    return
        time.sleep(0.1)
    raise SystemExit(f"the server does not answer:\n{(folder / 'log').read_text()[-2000:]}")


def start_nginx(folder, environment, log, address):
    """Put nginx in front, which never asks twice: what the server loses must be seen. Return it and its port."""
    port = free_port()
    behind = f"unix:{address}" if isinstance(address, str) else f"{address[0]}:{address[1]}"
    # Started by root, nginx would become nobody, who may not open our socket.
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = f"""
{user}
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream site {{ server {behind}; keepalive 16; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_next_upstream off; proxy_request_buffering off; }} }}
}}
"""
    (folder / "nginx.conf").write_text(configuration)
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    nginx = subprocess.Popen([program, "-c", str(folder / "nginx.conf")], env=environment, stdout=log, stderr=log)
    return nginx, port


async def drive(server, process, folder, options, records, stop):
    """Force replacements until told to stop, in the way this server has."""
    began = time.monotonic()
    await asyncio.sleep(1.0)
    while not stop.is_set() and server.drive is not None:
        if server.drive == "launcher":
            records.append(await replace_by_launcher(folder, options, len(records), server.workers))
            if is_enough(records, options, time.monotonic() - began):
                stop.set()
            await asyncio.sleep(options.pause)
        elif server.drive == "ttin-ttou":
            process.send_signal(signal.SIGTTIN)
            await asyncio.sleep(3.5)
            process.send_signal(signal.SIGTTOU)
            await asyncio.sleep(4.5)
        else:
            process.send_signal(signal.SIGHUP)
            await asyncio.sleep(8)


async def replace_by_launcher(folder, options, number, workers):
    """Force one replacement of ours and return its record."""
    how = BROKEN[number // 3 % len(BROKEN)] if options.broken and number % 3 == 1 else ""
    (folder / "broken").write_text(how)
    runtime, name = str(folder / "rt"), f"web-{number % workers + 1}"
    asked = await asyncio.to_thread(ask_launcher, runtime, "restart", process=name, reason="benchmark", by="benchmark")
    wish = asked["requested"][0]["id"]
    while True:
        with suppress(LauncherError):
            for record in (await asyncio.to_thread(ask_launcher, runtime, "restarts"))["restarts"]:
                if record["id"] == wish and record["stage"] == "done":
                    return record
        await asyncio.sleep(0.1)


def is_enough(records, options, seconds):
    """Whether as many replacements are done and requests sent (by the rates) as were asked for."""
    if not options.replacements:
        return False
    replaced = sum(record["outcome"] == "replaced" for record in records)
    return replaced >= options.replacements and seconds * options.rate >= options.requests


def drain_seconds(record):
    """Return how long the old worker drained, 0 when there was no drain."""
    start, end = window_of({**record, "requested_at": record["ready_at"] or record["requested_at"]})
    return round(end - start, 2)


def processes_started(folder):
    """Return how many processes have loaded the application so far."""
    return len((folder / "starts").read_text().splitlines())


def rss_kib(pid):
    """Return the resident memory of a process in KiB, None when it has gone."""
    with suppress(OSError, ValueError):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status[status.index("VmRSS:") :].split()[1])
    return None


def stop_all(folder, running):
    """End what was started and all that carries our mark: a worker left behind would answer for the next server."""
    for process in running:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={folder}".encode() in (entry / "environ").read_bytes() and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)
    for process in running:
        process.wait(10)


def free_port():
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def row(result):
    """Return one line of the table."""
    inside, steady = result["inside"] or {}, result["steady"]
    reasons = ", ".join(f"{count} {what}" for what, count in result["failures"].items()) or "none"
    cells = [result["name"], result["sent"], f"{result['failed']} ({reasons})", result["restarts"]]
    cells += [steady["p99_ms"], steady["max_ms"], inside.get("p99_ms", result["p99_ms"])]
    cells += [inside.get("max_ms", result["max_ms"]), steady["gap_ms"], inside.get("gap_ms", result["gap_ms"])]
    cells += [result["parent_rss_kib"], result["outcomes"]]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
