"""A web worker: serves a WSGI application on the launcher's sockets, says when it is ready, drains when told to."""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.probe.meters import private_bytes
from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.server import Probe
from cubicweb_leakwatch.serve import autopsy
from cubicweb_leakwatch.serve.books import Balance
from cubicweb_leakwatch.serve.ceilings import ceilings
from cubicweb_leakwatch.serve.drain import DrainingServer, DrainTimes
from cubicweb_leakwatch.serve.guard import Guard, GuardLimits, Surroundings, refuse_small_limit
from cubicweb_leakwatch.serve.quiet import QuietMinutes
from cubicweb_leakwatch.serve.sdnotify import notify
from cubicweb_leakwatch.serve.sockets import adopt_listeners
from cubicweb_leakwatch.serve.title import set_title

LOG = logging.getLogger("leakwatch.serve")


def serve(
    app: Any,
    *,
    state: ProcessState,
    ready_check: Callable[[], None],
    probe: Probe | None = None,
    threads: int = 4,
    settings: Mapping[str, Any] | None = None,
) -> Balance:
    """Serve ``app`` on the sockets of ``LISTEN_FDS`` until SIGTERM, drain, and return the balance sheet.

    Must run in the main thread. ``ready_check`` makes a first request to the application and raises when it does not
    answer; only then is READY=1 said. The limits and the drain time come from the environment, as the launcher sets
    it. ``settings`` are waitress adjustments. Raises ConfigurationError when there is no socket, or when the memory
    limit is below what the worker needs at start; the launcher has been told why by then.
    """
    sockets = [socket.socket(fileno=listener.detach()) for listener in adopt_listeners(os.environ)]
    if not sockets:
        raise ConfigurationError("no socket was handed down (LISTEN_FDS)", "start workers by the launcher")
    server = DrainingServer(app, sockets, threads=threads, times=drain_times(os.environ), settings=settings)
    worker = Worker(server, state, os.environ.get("NOTIFY_SOCKET"))
    try:
        worker.prove(ready_check)
        worker.guard(guard_limits(os.environ), probe)
    except LeakwatchError as error:
        refuse(error)
        raise
    # Not before: until now SIGTERM simply ends the process, which has promised nobody an answer.
    server.install_signals()
    worker.now("serving")
    say_ready(worker.launcher, LEAKWATCH_LIMIT=state.limit or 0)
    server.on_drain.append(worker.drain_began)
    balance = server.run()
    worker.drained(balance)
    worker.be_examined(probe)
    return balance


def say_ready(address: str | None, **values: object) -> None:
    """Say READY=1, again where it was not taken: a launcher that never hears it ends this process at its time."""
    for _each in range(10 if address else 1):
        if notify(address, READY=1, **values):
            return


class Worker:
    """Keeps the process's state, its title and the launcher informed."""

    def __init__(self, server: DrainingServer, state: ProcessState, launcher: str | None) -> None:
        self.server, self.state, self.launcher = server, state, launcher
        self.asked = False
        self.has_launcher = "LEAKWATCH_PROCESS" in os.environ
        state.in_flight_source = lambda: server.desk.in_flight
        state.requests_source = lambda: server.desk.books.answered

    def prove(self, ready_check: Callable[[], None]) -> None:
        """Make the first request; a drill may want it to fail."""
        if os.environ.get("LEAKWATCH_DRILL") == "broken":
            raise LeakwatchError("this successor was told to fail, for a drill")
        ready_check()

    def guard(self, limits: GuardLimits, probe: Probe | None) -> None:
        """Watch our own limits each second, in the probe's thread or one of our own."""
        desk = self.server.desk
        around = Surroundings(
            ask=self.want_successor,
            requests=lambda: desk.books.answered,
            near=lambda used: self._tell(LEAKWATCH_NEAR=used),
            trimmed=self.gave_back,
            ceilings=lambda: ceilings(connections=len(desk.channels)),
        )
        guard = Guard(limits, around)
        self.state.limit = guard.memory_bytes or None
        quiet = QuietMinutes(around.requests, lambda quiet: self._tell(LEAKWATCH_QUIET=int(quiet)))
        tasks = [guard.check, quiet.look, self.show]
        if probe is not None:
            probe.every_second.extend(tasks)
        else:
            threading.Thread(target=run_each_second, args=(tasks,), name="leakwatch-guard", daemon=True).start()

    def want_successor(self, reason: str, planned: bool) -> None:
        """Ask the launcher for a successor; where none listens, drain and leave: who started us starts another."""
        if self.server.drain_began is not None:
            return
        self.asked = True
        LOG.warning("event=successor-wanted reason=%r", reason)
        if self.has_launcher:
            self._tell(LEAKWATCH_WANT=reason, LEAKWATCH_PLANNED=int(planned))
        else:
            self.server.tell(signal.SIGTERM)

    def gave_back(self, given_back: int) -> None:
        """Tell what ``malloc_trim`` brought."""
        LOG.info("event=trimmed bytes=%d", given_back)
        self._tell(LEAKWATCH_TRIMMED=given_back)

    def _tell(self, **values: object) -> None:
        notify(self.launcher, LEAKWATCH_SERVED=self.server.desk.books.answered, **values)

    def now(self, state: str) -> None:
        """Enter a state."""
        self.state.state = state
        self.show()

    def show(self) -> None:
        """Put role, generation, state and requests in flight into the process title."""
        process = self.state
        set_title(f"{process.name} gen {process.generation}: {process.state}, {process.in_flight} in flight")

    def drain_began(self) -> None:
        """Turn readiness off and open the restart's balance sheet."""
        self.now("draining")
        self._report(self.server.balance(), final=False)

    def drained(self, balance: Balance) -> None:
        """Close the restart's balance sheet."""
        self.now("stopping")
        self._report(balance, final=True)
        LOG.info(
            "event=drained accepted=%d answered=%d client_left=%d abandoned=%d",
            balance.accepted,
            balance.answered,
            balance.client_left,
            balance.abandoned,
        )

    def be_examined(self, probe: Probe | None) -> None:
        """Have the autopsy taken, when there is to be one; the launcher is asked for the time it takes."""
        if probe is None or not autopsy.is_wanted(os.environ.get("LEAKWATCH_AUTOPSY", ""), self.asked):
            return
        notify(self.launcher, EXTEND_TIMEOUT_USEC=int((autopsy.TIME_LIMIT_S + 2 * autopsy.READ_LIMIT_S + 10) * 1e6))
        path = autopsy.take(probe)
        if path:
            notify(self.launcher, LEAKWATCH_AUTOPSY=path)

    def _report(self, balance: Balance, *, final: bool) -> None:
        report = {
            **asdict(balance),
            "in_flight_at_drain": self.server.in_flight_at_drain,
            "abandoned_requests": [lost.as_json() for lost in self.server.desk.books.named],
            "final": final,
        }
        notify(self.launcher, LEAKWATCH_DRAIN=json.dumps(report), **({"STOPPING": 1} if final else {}))


def drain_times(environment: Mapping[str, str]) -> DrainTimes:
    """Return the drain times that the launcher asks for; idle connections get a third of the whole."""
    limit = float(environment.get("LEAKWATCH_DRAIN_TIMEOUT") or 30)
    return DrainTimes(limit_s=limit, idle_s=limit / 3)


def guard_limits(environment: Mapping[str, str]) -> GuardLimits:
    """Return the limits that the launcher sets."""
    return GuardLimits(
        memory_bytes=int(environment.get("LEAKWATCH_MEMORY_LIMIT") or 0),
        max_requests=int(environment.get("LEAKWATCH_MAX_REQUESTS") or 0),
        max_age_s=float(environment.get("LEAKWATCH_MAX_AGE") or 0),
    )


def run_each_second(tasks: list[Callable[[], None]]) -> None:
    """Run the tasks each second, for the life of the process; one that fails does not stop the others."""
    while True:
        time.sleep(1)
        for task in tasks:
            try:
                task()
            except Exception:
                LOG.exception("event=guard-failed")


def refuse_early(limits: GuardLimits) -> None:
    """Raise ConfigurationError, and tell the launcher, when the libraries alone take more than the memory limit.

    What the application itself needs is known only after its boot; see :class:`Guard`.
    """
    try:
        refuse_small_limit(limits.memory_bytes, private_bytes())
    except ConfigurationError as error:
        refuse(error)
        raise


def refuse(error: LeakwatchError) -> int:
    """Tell why this process will not serve: the launcher, which passes it on, or else standard error.

    Returns the exit code to end with.
    """
    sentence = f"{error.message} ({error.hint})" if error.hint else error.message
    if not notify(os.environ.get("NOTIFY_SOCKET"), LEAKWATCH_REFUSED=sentence.replace("\n", " ")):
        sys.stderr.write(f"leakwatch: {sentence}\n")
    return error.exit_code
