"""Helpers for the launcher's and the drain's tests: pretended hands, real sockets, real processes with a mark."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from pathlib import Path

import pytest

from cubicweb_leakwatch.serve.control import LauncherError, ask_launcher
from cubicweb_leakwatch.serve.drain import DrainingServer, DrainTimes
from cubicweb_leakwatch.serve.fleet import Fleet
from cubicweb_leakwatch.serve.run import launcher_command
from cubicweb_leakwatch.serve.spec import Child, LaunchSpec, Timing

MARK = "LEAKWATCH_TEST_MARK"


def wait_for(condition, what, limit_s=15.0, alive=None):
    """Return the first true value of ``condition()``; fail when ``alive()`` turns false or the time is over."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        if alive is not None and not alive():
            pytest.fail(f"the process died while waiting for: {what}")
        time.sleep(0.01)
    pytest.fail(f"not within {limit_s} s: {what}")


@pytest.fixture
def wait():
    """Return ``wait(condition, what)``."""
    return wait_for


# Pretended processes ------------------------------------------------------------------------------------------------


class PretendedHands:
    """The fleet's hands without processes: remembers what it was told to do."""

    def __init__(self):
        self.pids = iter(range(1000, 100000))
        self.started, self.signals, self.records, self.notes, self.broken = [], [], [], [], []
        self.hurried = []
        self.bytes_free, self.bytes_used = None, 100
        self.no_process_left = False

    def start(self, name, role, generation, broken):
        """Remember the start and give it a pid."""
        if self.no_process_left:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        pid = next(self.pids)
        self.started.append((name, generation, pid))
        self.broken.append(broken)
        return pid

    def signal(self, pid, number):
        """Remember the signal."""
        self.signals.append((pid, signal.Signals(number).name))

    def ready(self, worker):
        """Remember who is no longer held back."""
        self.hurried.append(worker.pid)

    def record(self, restart):
        """Remember the record."""
        self.records.append(restart.as_json())

    def note(self, event, **fields):
        """Remember the log line."""
        self.notes.append((event, fields))

    def rss(self, pid):
        """Every process has the same size."""
        return self.bytes_used if pid else None

    def room(self):
        """Return what the test says is free."""
        return self.bytes_free

    def wall(self):
        """Return one moment of 2023."""
        return 1_700_000_000.0


@pytest.fixture
def hands():
    """Return hands that pretend."""
    return PretendedHands()


@pytest.fixture
def make_fleet(hands):
    """Return ``make(**fields of the specification)``: a fleet just started."""

    def make(**fields):
        spec = LaunchSpec(
            **{"instance": "test", "runtime_dir": "/nowhere", "bind": (), "web": Child(command=("x",)), **fields}
        )
        fleet = Fleet(spec, hands)
        fleet.start(0.0)
        return fleet

    return make


# A draining server in this process ----------------------------------------------------------------------------------


class Served:
    """A DrainingServer in a thread, with the listening socket held here as the launcher would."""

    def __init__(self, app, times, threads=4, family=socket.AF_INET, path=None):
        self.listener = socket.socket(family)
        self.listener.bind(path if path else ("127.0.0.1", 0))
        self.listener.listen(128)
        self.address = self.listener.getsockname()
        self.family = family
        self.server = DrainingServer(app, [self.listener.dup()], times=times, threads=threads)
        self.balance = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        self.balance = self.server.run()

    def connect(self):
        """Return a new client connection."""
        client = socket.socket(self.family)
        client.settimeout(10)
        client.connect(self.address)
        return client

    def accepted(self, count):
        """Wait until that many connections are open in the server."""
        wait_for(lambda: len(self.server.desk.channels) >= count, f"{count} connections accepted")

    def announce(self):
        """Tell the server that a successor was started."""
        self.server.tell(signal.SIGUSR1)
        wait_for(lambda: self.server.desk.announcing, "the announcement")

    def drain(self):
        """Tell the server to drain, and wait until it does."""
        self.server.tell(signal.SIGTERM)
        wait_for(lambda: self.server.drain_began, "the drain")

    def end(self):
        """Wait for the end of the drain and return the balance sheet."""
        self.thread.join(15)
        assert not self.thread.is_alive(), "the server did not end"
        return self.balance


@pytest.fixture
def serve_app():
    """Return ``start(app, **options)``: a draining server in a thread."""
    running = []

    def start(app, limit_s=5.0, idle_s=5.0, **options):
        running.append(Served(app, DrainTimes(limit_s=limit_s, idle_s=idle_s), **options))
        return running[-1]

    yield start
    for served in running:
        served.server.times = DrainTimes(limit_s=0.0)
        served.server.tell(signal.SIGTERM)
        served.thread.join(5)
        served.listener.close()


# Real processes -----------------------------------------------------------------------------------------------------

WORKER = """
import ctypes, logging, os, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
logging.basicConfig(level=logging.INFO)
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.serve.worker import refuse, serve
HOARD = []
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(1.0)
    if path == "/leak":
        HOARD.append(bytearray(4_000_000))
    if path == "/files":
        HOARD.extend(open(os.devnull) for _each in range(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 19 // 20))
    if path == "/fragment":
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        blocks = [libc.malloc(100_000) for _each in range(1000)]
        for block in blocks:
            ctypes.memset(block, 1, 100_000)
        HOARD.append(blocks.pop())  # the last block keeps all below it from the kernel
        for block in blocks:
            libc.free(block)
    if path == "/die":
        os.kill(os.getpid(), 9)
    size = len(environ["wsgi.input"].read())
    body = f"{os.environ['LEAKWATCH_PROCESS']} {os.environ['LEAKWATCH_GENERATION']} {os.getpid()} {size}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
def ready_check():
    broken = os.environ.get("TEST_BROKEN")
    if broken and os.path.exists(broken):
        how = open(broken).read().strip()
        if how == "hangs":
            time.sleep(600)
        sys.exit(3)
try:
    serve(app, state=this_process(), ready_check=ready_check)
except LeakwatchError as error:
    sys.exit(refuse(error))
"""


class Launched:
    """A launcher with real workers; everything it starts carries a mark in its environment.

    ``outside``: more for its environment; ``within``: the command that runs it; ``fault``: Python that it runs first.
    """

    def __init__(self, directory, worker_text=WORKER, **fields):
        self.directory = directory
        self.runtime = directory / "runtime"
        self.mark = uuid.uuid4().hex
        self.broken = directory / "broken"
        script = directory / "worker.py"
        script.write_text(textwrap.dedent(worker_text))
        self.log = directory / "launcher.log"
        timing = Timing(ready_timeout_s=20.0, drain_timeout_s=5.0, exit_grace_s=2.0, retry_first_s=0.3)
        defaults = {
            "instance": "test",
            "runtime_dir": str(self.runtime),
            "bind": ("127.0.0.1:0",),
            "web": Child(command=(sys.executable, str(script))),
            "timing": timing,
        }
        outside, within, fault = fields.pop("outside", {}), fields.pop("within", []), fields.pop("fault", "")
        self.spec = LaunchSpec(**{**defaults, **fields})
        environment = {**os.environ, MARK: self.mark, "TEST_BROKEN": str(self.broken)}
        environment.pop("NOTIFY_SOCKET", None)
        environment.update(outside)
        command = launcher_command(self.spec)
        command[4] = command[4].replace("launcher.main()", f"exec({fault!r}); launcher.main()")
        self.process = subprocess.Popen(
            [*within, *command], env=environment, stderr=self.log.open("wb"), pass_fds=[int(command[6])], cwd=directory
        )
        os.close(int(command[6]))

    def alive(self):
        """Whether the launcher runs."""
        return self.process.poll() is None

    def ask(self, question, **parameters):
        """Ask the launcher."""
        return ask_launcher(str(self.runtime), question, **parameters)

    def status(self):
        """Return its status; an empty one while it is starting."""
        try:
            return self.ask("status")
        except LauncherError:
            return {"processes": [], "listening": [], "flags": []}

    def workers(self, state="serving"):
        """Return the rows of the processes in a state."""
        return [row for row in self.status()["processes"] if row["state"] == state]

    def until_serving(self, count=1):
        """Wait for that many serving workers; return self."""
        wait_for(lambda: len(self.workers()) >= count, f"{count} workers serving\n{self.text()}", alive=self.alive)
        return self

    def address(self):
        """Return where to connect."""
        where = self.status()["listening"][0]
        host, _colon, port = where.rpartition(":")
        return (host, int(port))

    def finished(self):
        """Return the records of finished restarts."""
        return [row for row in self.ask("restarts")["restarts"] if row["stage"] == "done"]

    def text(self):
        """Return the log."""
        return self.log.read_text()

    def marked_pids(self):
        """Return every process of this launcher, itself included."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found

    def end(self):
        """Stop it, and make sure that nothing which answers requests is left for the next test."""
        if self.alive():
            self.process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        for pid in self.marked_pids():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(5)


@pytest.fixture
def launch(tmp_path):
    """Return ``start(**fields of the specification)``: a launcher with real workers."""
    running = []

    def start(**fields):
        directory = tmp_path / f"launcher-{len(running)}"
        directory.mkdir()
        running.append(Launched(directory, **fields))
        return running[-1]

    yield start
    for launched in running:
        launched.end()
