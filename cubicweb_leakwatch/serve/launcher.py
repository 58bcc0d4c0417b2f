"""The launcher: a small process that holds the listening sockets and starts, replaces and reaps workers.

It runs under ``python -I -S``, imports the standard library alone, and never allocates in step with the load: all
that it remembers is bounded. Signal handlers only queue; :meth:`Launcher.step` is the one place where anything happens.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

from cubicweb_leakwatch.errors import EXIT_DONE, EXIT_FAILED, LeakwatchError
from cubicweb_leakwatch.serve import procfs
from cubicweb_leakwatch.serve.answers import Answers
from cubicweb_leakwatch.serve.children import calm_boot, end_calm_boot, reap, spawn
from cubicweb_leakwatch.serve.controlsocket import ControlSocket
from cubicweb_leakwatch.serve.fleet import Fleet
from cubicweb_leakwatch.serve.journal import Journal
from cubicweb_leakwatch.serve.logline import log
from cubicweb_leakwatch.serve.manager import Manager
from cubicweb_leakwatch.serve.records import DRAINING, SCHEDULER, SERVING, STOPPING, Restart, Worker
from cubicweb_leakwatch.serve.runtime import Runtime
from cubicweb_leakwatch.serve.sdnotify import NotifyReceiver
from cubicweb_leakwatch.serve.signals import SignalQueue, signal_name
from cubicweb_leakwatch.serve.sockets import adopt_listeners, close_listeners, describe, forget_path, open_listeners
from cubicweb_leakwatch.serve.spec import LaunchSpec, read_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# The longest sleep: SIGUSR1 is collected, not delivered, and the watched memory of strangers is read this often.
LONGEST_WAIT_S = 1.0
LONGEST_EXTENSION_S = 120.0


class Launcher:
    """The loop and the hands of the :class:`Fleet`."""

    def __init__(self, spec: LaunchSpec) -> None:
        self.spec = spec
        self.environment = dict(os.environ)
        self.manager = Manager(self.environment)
        self.runtime = Runtime(spec.runtime_dir, spec.instance)
        self.listeners = adopt_listeners(self.environment)
        self.adopted = bool(self.listeners)
        if not self.adopted:
            self.listeners = open_listeners(spec.bind, socket_mode=spec.socket_mode)
        self.listening = [describe(listener) for listener in self.listeners]
        self.signals = SignalQueue()
        self.notices = NotifyReceiver()
        self.journal = Journal(spec.runtime_dir)
        self.fleet = Fleet(spec, self)
        answers = Answers(self.fleet, self.journal, self.listening, self.wall())
        self.control = ControlSocket(spec.runtime_dir, answers)
        self.told_ready = False

    # The loop ---------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until stopped; return the exit code."""
        self.signals.install()
        log("launcher-started", pid=os.getpid(), instance=self.spec.instance, listening=",".join(self.listening))
        self.fleet.start(time.monotonic())
        while self.fleet.workers or not (self.fleet.stopping or self.fleet.failed):
            self.step()
        return self._end()

    def step(self) -> None:
        """Wait for the next event or deadline, then act on all there is."""
        for fd, _events in self._poll():
            self._on_readable(fd)
        now = time.monotonic()
        for number in self.signals.take():
            self._on_signal(number, now)
        for pid in self.signals.take_senders():
            self.fleet.replacements.wanted_by(pid, "asked by SIGUSR1")
        for pid, status in reap():
            # What a child said before it died is still in the socket, and must be read before the death is judged.
            self._take_notices(now)
            self.fleet.ended(pid, status, now)
        self.control.expire(now)
        self.fleet.tick(now)
        if self.fleet.failed and not self.fleet.stopping:
            self._stop(now)
        self._tell_manager(now)

    def _poll(self) -> list[tuple[int, int]]:
        poller = select.poll()
        for source in (self.signals, self.notices, self.control):
            poller.register(source.fileno(), select.POLLIN)
        for fd, talk in self.control.conversations.items():
            poller.register(fd, select.POLLOUT if talk.reply else select.POLLIN)
        return poller.poll(self._wait_s() * 1000)

    def _wait_s(self) -> float:
        now = time.monotonic()
        deadlines = [now + LONGEST_WAIT_S, self.fleet.next_deadline(), self.manager.tick(now)]
        return max(0.0, min(deadline for deadline in deadlines if deadline is not None) - now)

    def _on_readable(self, fd: int) -> None:
        now = time.monotonic()
        if fd == self.notices.fileno():
            self._take_notices(now)
        elif fd == self.control.fileno():
            self.control.accept(now)
        elif fd in self.control.conversations:
            self.control.advance(fd)

    # What comes in ----------------------------------------------------------------------------------------------------

    def _on_signal(self, number: int, now: float) -> None:
        if number == signal.SIGCHLD:
            return
        log("signal", name=signal_name(number))
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(now)
        elif number == signal.SIGQUIT:
            self._stop(now, quick=True)
        elif number == signal.SIGHUP:
            self._replace_all("SIGHUP")
        elif number == signal.SIGTTIN:
            self.fleet.change_workers(self.fleet.workers_wanted + 1, now)
        elif number == signal.SIGTTOU:
            self.fleet.change_workers(self.fleet.workers_wanted - 1, now)

    def _take_notices(self, now: float) -> None:
        while (notice := self.notices.receive()) is not None:
            pid, values = notice
            worker = self.fleet.workers.get(pid)
            if worker is not None:
                self._on_notice(worker, values, now)

    def _on_notice(self, worker: Worker, values: dict[str, str], now: float) -> None:
        if values.get("LEAKWATCH_LIMIT", "").isdigit():
            worker.limit = int(values["LEAKWATCH_LIMIT"])
        if "LEAKWATCH_REFUSED" in values:
            worker.why = values["LEAKWATCH_REFUSED"]
        if values.get("READY") == "1":
            self.fleet.became_ready(worker.pid, now)
        if "LEAKWATCH_WANT" in values:
            self.fleet.replacements.wanted_by(worker.pid, values["LEAKWATCH_WANT"][:500])
        if "LEAKWATCH_DRAIN" in values:
            self._on_drain_report(worker, values["LEAKWATCH_DRAIN"])
        if values.get("STOPPING") == "1" and worker.state == DRAINING:
            worker.state = STOPPING
        if values.get("EXTEND_TIMEOUT_USEC", "").isdigit() and worker.deadline is not None:
            wished = now + int(values["EXTEND_TIMEOUT_USEC"]) / 1e6
            worker.deadline = max(worker.deadline, min(wished, now + LONGEST_EXTENSION_S))

    def _on_drain_report(self, worker: Worker, text: str) -> None:
        try:
            report = json.loads(text)
        except ValueError:
            return
        if isinstance(report, dict):
            self.fleet.replacements.drained(worker.pid, report)

    def _replace_all(self, reason: str) -> None:
        for name in list(self.fleet.slots):
            try:
                self.fleet.replacements.ask(name, reason, "signal")
            except LeakwatchError as error:
                log("not-replaced", process=name, why=error.message)

    def _stop(self, now: float, *, quick: bool = False) -> None:
        """Close our own sockets first: what waits in their queues is then the last that the workers accept."""
        if not self.fleet.stopping:
            self.manager.say(STOPPING=1)
            close_listeners(self.listeners)
        self.fleet.stop(now, quick=quick)

    # The hands of the fleet -------------------------------------------------------------------------------------------

    def start(self, name: str, role: str, generation: int, broken: bool) -> int:
        """Start a child of a slot."""
        kind = self.spec.scheduler if role == SCHEDULER and self.spec.scheduler is not None else self.spec.web
        listeners = [] if role == SCHEDULER else [listener.fileno() for listener in self.listeners]
        environment = self._environment_of(name, generation)
        if broken:
            environment["LEAKWATCH_DRILL"] = "broken"
        pid = spawn(kind, environment, listeners)
        calm_boot(pid)
        return pid

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a child that has not been reaped, so that its pid cannot be another's."""
        os.kill(pid, number)

    def ready(self, worker: Worker) -> None:
        """Let a booted child compete for the processor like any other."""
        end_calm_boot(worker.pid)

    def record(self, restart: Restart) -> None:
        """Log and keep a finished restart."""
        record = restart.as_json()
        shown = ("process", "id", "outcome", "reason", "detail", "accepted", "answered", "client_left", "abandoned")
        log("restart", **{name: record[name] for name in shown})
        self.journal.add(record)

    def note(self, event: str, **fields: object) -> None:
        """Write a line to the log."""
        log(event, **fields)

    def rss(self, pid: int | None) -> int | None:
        """Return the resident bytes of a process."""
        return procfs.rss_of(pid)

    def room(self) -> int | None:
        """Return the bytes that the host and the cgroup can still give."""
        return procfs.available_bytes()

    def wall(self) -> float:
        """Return Unix time."""
        return time.time()

    def _environment_of(self, name: str, generation: int) -> dict[str, str]:
        spec = self.spec
        own = {
            "LEAKWATCH_PROCESS": name,
            "LEAKWATCH_GENERATION": str(generation),
            "LEAKWATCH_RUNTIME_DIR": spec.runtime_dir,
            "LEAKWATCH_MEMORY_LIMIT": str(spec.limits.memory_bytes),
            "LEAKWATCH_MAX_REQUESTS": str(spec.limits.max_requests),
            "LEAKWATCH_MAX_AGE": str(spec.limits.max_age_s),
            "LEAKWATCH_DRAIN_TIMEOUT": str(spec.timing.drain_timeout_s),
            "LEAKWATCH_THREADS": str(spec.threads),
            "NOTIFY_SOCKET": self.notices.address,
        }
        return {**self.environment, **spec.environment, **own}

    # Upward and out ---------------------------------------------------------------------------------------------------

    def _tell_manager(self, now: float) -> None:
        if self.fleet.ever_ready and not self.told_ready:
            self.told_ready = True
            self.manager.say(READY=1, MAINPID=os.getpid())
        serving = sum(worker.state == SERVING for worker in self.fleet.workers.values())
        flags = "; ".join(self.fleet.flags.values())
        self.manager.status(f"{serving} of {len(self.fleet.slots)} processes serving" + (f"; {flags}" if flags else ""))

    def _end(self) -> int:
        self.control.close()
        if not self.adopted:
            for address in self.listening:
                forget_path(address)
        self.runtime.release()
        log("launcher-stopped", pid=os.getpid(), instance=self.spec.instance)
        if self.fleet.failed is None:
            return EXIT_DONE
        complain(self.fleet.failed[0])
        return self.fleet.failed[1]


def complain(message: str, hint: str = "") -> None:
    """Tell the operator in one line."""
    sys.stderr.write(f"leakwatch: {message}" + (f" ({hint})" if hint else "") + "\n")


def main() -> NoReturn:
    """Run the launcher of the specification in the descriptor named by the second argument."""
    try:
        with open(int(sys.argv[2])) as given:  # noqa: PTH123
            spec = read_spec(given.read())
        code = Launcher(spec).run()
    except LeakwatchError as error:
        complain(error.message, error.hint)
        code = error.exit_code
    except OSError as error:
        complain(str(error))
        code = EXIT_FAILED
    sys.exit(code)
