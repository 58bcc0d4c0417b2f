"""The launcher: a small process that holds the listening sockets and starts, replaces and reaps workers.

It runs under ``python -I -S``, imports the standard library alone, and never allocates in step with the load: all
that it remembers is bounded. Signal handlers only queue; :meth:`Launcher.step` is the one place where anything happens.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

from cubicweb_leakwatch.errors import EXIT_DONE, EXIT_FAILED, LeakwatchError
from cubicweb_leakwatch.serve.answers import Answers
from cubicweb_leakwatch.serve.children import ended_child, reap
from cubicweb_leakwatch.serve.controlsocket import ControlSocket
from cubicweb_leakwatch.serve.fleet import Fleet, cause_of
from cubicweb_leakwatch.serve.hands import ProcessHands, kind_of
from cubicweb_leakwatch.serve.journal import Journal
from cubicweb_leakwatch.serve.logline import log
from cubicweb_leakwatch.serve.manager import Manager
from cubicweb_leakwatch.serve.minder import Minder
from cubicweb_leakwatch.serve.notices import Notices
from cubicweb_leakwatch.serve.records import SERVING, Worker
from cubicweb_leakwatch.serve.runtime import Runtime
from cubicweb_leakwatch.serve.sdnotify import NotifyReceiver
from cubicweb_leakwatch.serve.signals import SignalQueue, signal, signal_name
from cubicweb_leakwatch.serve.sockets import (
    PATIENCE_AFTER_CRASH_S,
    adopt_listeners,
    close_listeners,
    describe,
    forget_path,
    inherited,
    open_listeners,
)
from cubicweb_leakwatch.serve.spec import LaunchSpec, read_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from typing import Any, NoReturn

# The longest sleep: SIGUSR1 is collected, not delivered, and the watched memory of strangers is read this often.
LONGEST_WAIT_S = 1.0
PAUSE_AFTER_FAILURE_S = 0.2
# Read in one pass: strangers may send to the notify socket as well, and must not keep us from the rest.
NOTICES_A_PASS = 256


class Launcher:
    """The loop: hears signals, children and the control socket, and tells the :class:`Fleet`."""

    def __init__(self, spec: LaunchSpec, state: dict[str, Any] | None = None) -> None:
        """``state`` is what the launcher before us, in this very process, handed over."""
        self.spec, kept = spec, state or {}
        self.environment = dict(os.environ)
        self.manager = Manager(self.environment)
        self.runtime = Runtime(spec.runtime_dir, spec.instance, kept.get("lock_fd"))
        self.adopted, self.listeners = self._listeners(kept)
        self.listening = [describe(listener) for listener in self.listeners]
        self.signals = SignalQueue()
        self.notices = NotifyReceiver(kept.get("notices_fd"), kept.get("notices", ""))
        self.journal = Journal(spec.runtime_dir)
        hands = ProcessHands(spec, self.environment, self.listeners, self.notices.address, self.journal)
        self.fleet = Fleet(spec, hands)
        self.minder = Minder(spec.limits, self._want, self._near)
        self.hearing = Notices(self.fleet, self.minder)
        self.started_at: float = kept.get("started_at", time.time())
        answers = Answers(self.fleet, self.journal, self.listening, self.started_at)
        self.control = ControlSocket(spec.runtime_dir, answers, kept.get("control_fd"))
        self.told_ready = bool(kept.get("told_ready"))
        self.handing_over = self.reloading = False
        self.trial: int | None = None
        if state is not None:
            handover().restore_fleet(self.fleet, state["fleet"])

    def _listeners(self, kept: dict[str, Any]) -> tuple[bool, list[socket.socket]]:
        """Return whether the sockets belong to a service manager, and the sockets."""
        if kept:
            # Handed down long ago, to the launcher before us: not to be told to the children as theirs.
            self.environment.pop("LISTEN_FDS", None)
            return bool(kept["adopted"]), inherited(kept["listener_fds"])
        adopted = adopt_listeners(self.environment)
        if adopted:
            return True, adopted
        patience_s = PATIENCE_AFTER_CRASH_S if self.runtime.unclean else 0.0
        return False, open_listeners(self.spec.bind, socket_mode=self.spec.socket_mode, patience_s=patience_s)

    # The loop ---------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until stopped; return the exit code."""
        self.signals.install()
        if not self.fleet.slots:
            log("launcher-started", pid=os.getpid(), instance=self.spec.instance, listening=",".join(self.listening))
            self.fleet.start(time.monotonic())
        while self.fleet.workers or not (self.fleet.stopping or self.fleet.failed):
            try:
                self.step()
            except Exception as error:
                # All the workers are our children: whatever went wrong here, they are served on.
                log("step-failed", why=f"{type(error).__name__}: {error}", at=place_of(error))
                time.sleep(PAUSE_AFTER_FAILURE_S)
        return self._end()

    def step(self) -> None:
        """Wait for the next event or deadline, then act on all there is."""
        for fd, _events in self._poll():
            self._on_readable(fd)
        now = time.monotonic()
        for number in self.signals.take():
            self._on_signal(number, now)
        for pid in self.signals.take_senders():
            self.fleet.replacements.wanted_by(pid, "asked by SIGUSR1", now)
        while (ended := ended_child()) is not None:
            # What a child said before it died is still in the socket, and must be read before the death is judged.
            # It may bring a signal for any child of the fleet, this one included: none is reaped before.
            self._take_notices(now)
            status = reap(ended)
            if ended == self.trial:
                self._on_trial(status)
            self.fleet.ended(ended, status, now)
        self.control.expire(now)
        self.minder.look(self._unguarded(), now)
        self.fleet.tick(now)
        if self.handing_over:
            self._hand_over_in_turn()
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
            self.manager.say(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
            self.reloading = True
            self._replace_all("SIGHUP")
        elif number == signal.SIGTTIN:
            self.fleet.change_workers(self.fleet.workers_wanted + 1, now)
        elif number == signal.SIGTTOU:
            self.fleet.change_workers(self.fleet.workers_wanted - 1, now)
        elif number == signal.SIGUSR2 and self.trial is None and not self.fleet.stopping:
            self._try_program()

    def _take_notices(self, now: float) -> None:
        for _each in range(NOTICES_A_PASS):
            notice = self.notices.receive()
            if notice is None:
                return
            self.hearing.take(*notice, now)

    def _want(self, pid: int, reason: str, *, planned: bool = False) -> None:
        """A child that does not guard itself is over a limit; it is told again each second."""
        self.fleet.replacements.wanted_by(pid, reason, time.monotonic(), planned=planned, repeated=True)

    def _near(self, pid: int) -> None:
        self.fleet.replacements.near_limit(pid, time.monotonic())

    def _unguarded(self) -> list[Worker]:
        workers = self.fleet.workers.values()
        return [each for each in workers if each.state == SERVING and not kind_of(self.spec, each.role).guards_itself]

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

    # Handover -------------------------------------------------------------------------------------------------------

    def _try_program(self) -> None:
        try:
            self.trial = handover().try_program()
        except Exception as error:  # whatever an upgrade has left on disk, or no process to be had
            log("handover-refused", why=f"{type(error).__name__}: {error}")

    def _hand_over_in_turn(self) -> None:
        try:
            if handover().is_quiet(self.fleet):
                self._hand_over()
        except Exception as error:  # the program on disk does not know this one's fleet
            self.handing_over = False
            log("handover-refused", why=f"{type(error).__name__}: {error}")

    def _on_trial(self, status: int) -> None:
        """The new program was tried in a child: take its place in turn, or go on as we are."""
        self.trial = None
        if status == 0:
            self.handing_over = True
        else:
            log("handover-refused", why=f"the new launcher cannot be imported: {cause_of(status)}")

    def _hand_over(self) -> None:
        self.handing_over = False
        state = {
            "adopted": self.adopted,
            "control_fd": self.control.fileno(),
            "fleet": handover().dump_fleet(self.fleet),
            "listener_fds": [listener.fileno() for listener in self.listeners],
            "lock_fd": self.runtime.lock_fd,
            "notices": self.notices.address,
            "notices_fd": self.notices.fileno(),
            "started_at": self.started_at,
            "told_ready": self.told_ready,
        }
        log("handover", pid=os.getpid())
        self.manager.restore(os.environ)
        kept = [self.control.fileno(), self.runtime.lock_fd, self.notices.fileno()]
        kept += [listener.fileno() for listener in self.listeners]
        document = json.dumps({"spec": self.spec.fields(), "state": state})
        handover().exec_program(document, kept, self.signals.are_waiting)
        # A signal that came in the last moment is heard first.
        self.handing_over = self.signals.are_waiting()
        log("handover-failed", pid=os.getpid())

    # Upward and out ---------------------------------------------------------------------------------------------------

    def _tell_manager(self, now: float) -> None:
        if self.fleet.ever_ready and not self.told_ready:
            self.told_ready = True
            self.manager.say(READY=1, MAINPID=os.getpid())
        if self.reloading and self.fleet.replacements.at_rest():
            self.reloading = False
            self.manager.say(READY=1)
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


def handover() -> Any:
    """Return the module that is needed once in a launcher's life, if at all: it would cost each one 60 KiB."""
    from cubicweb_leakwatch.serve import handover as module

    return module


def place_of(error: Exception) -> str:
    """Return file and line in which it was raised; a whole traceback would need a module of 200 KiB."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return f"{os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else "?"  # noqa: PTH119


def complain(message: str, hint: str = "") -> None:
    """Tell the operator in one line."""
    sys.stderr.write(f"leakwatch: {message}" + (f" ({hint})" if hint else "") + "\n")


def main() -> NoReturn:
    """Run the launcher of the specification in the descriptor named by the second argument."""
    if sys.argv[2] == "check":  # a new launcher is being tried, see handover.py
        handover()
        sys.exit(EXIT_DONE)
    try:
        with open(int(sys.argv[2])) as given:  # noqa: PTH123
            document = json.load(given)
        code = Launcher(read_spec(document["spec"]), document["state"]).run()
    except LeakwatchError as error:
        complain(error.message, error.hint)
        code = error.exit_code
    except OSError as error:
        complain(str(error))
        code = EXIT_FAILED
    sys.exit(code)
