"""The slots and their workers: who is started, replaced, retried, stopped, and when. Touches no process itself.

Everything the fleet does goes through its *hands* (start, signal, note), and time is told to it, so that every rule
here is tested without a single process.
"""

from __future__ import annotations

import os

from cubicweb_leakwatch.errors import EXIT_CONFIGURATION, EXIT_FAILED
from cubicweb_leakwatch.serve.records import (
    DRAINING,
    SCHEDULER,
    SERVING,
    STARTING,
    STOPPING,
    WEB,
    Slot,
    Worker,
)
from cubicweb_leakwatch.serve.replacement import Replacements
from cubicweb_leakwatch.serve.signals import signal, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from cubicweb_leakwatch.serve.records import Restart
    from cubicweb_leakwatch.serve.spec import LaunchSpec

    class Hands(Protocol):
        """What the fleet needs done; the launcher does it, tests pretend."""

        def start(self, name: str, role: str, generation: int, broken: bool) -> int:
            """Start a child, told to fail if ``broken``; return its pid. OSError where no process can be made."""

        def signal(self, pid: int, number: int) -> None:
            """Send a signal to a child."""

        def ready(self, worker: Worker) -> None:
            """Treat a child as booted."""

        def record(self, restart: Restart) -> None:
            """Keep a finished restart."""

        def note(self, event: str, **fields: object) -> None:
            """Write a line to the log."""

        def rss(self, pid: int | None) -> int | None:
            """Return the resident bytes of a process."""

        def room(self) -> int | None:
            """Return the bytes that may still be used."""

        def wall(self) -> float:
            """Return Unix time."""


FIRST_BOOT_TRIES = 3
# A boot is calm for a sixth of the time that it may take, then as urgent as any work.
CALM_SHARE = 6


class Fleet:
    """The slots of one instance. ``failed`` is set, with the reason, when the first boot is given up."""

    def __init__(self, spec: LaunchSpec, hands: Hands) -> None:
        self.spec, self.hands = spec, hands
        self.slots: dict[str, Slot] = {}
        self.workers: dict[int, Worker] = {}
        self.flags: dict[str, str] = {}
        self.ever_ready = False
        self.stopping = False
        self.failed: tuple[str, int] | None = None
        self.workers_wanted = spec.workers
        self.replacements = Replacements(self)
        self._first_failures = 0

    # What happens -----------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Start a worker in every slot."""
        for number in range(1, self.workers_wanted + 1):
            self._add_slot(f"web-{number}", WEB, now)
        if self.spec.scheduler is not None:
            self._add_slot("scheduler", SCHEDULER, now)

    def became_ready(self, pid: int, now: float) -> None:
        """Note that a child says READY=1; a second time, or from a stranger, changes nothing."""
        worker = self.workers.get(pid)
        if worker is None or worker.state != STARTING:
            return
        worker.state, worker.deadline = SERVING, None
        worker.rss_ready = self.hands.rss(pid)
        self.hands.ready(worker)
        slot = self.slots[worker.name]
        self.ever_ready = self.ever_ready or worker.role == WEB
        self._recover(slot)
        self.hands.note("ready", process=worker.name, pid=pid, generation=worker.generation)
        if slot.successor is worker:
            self.replacements.successor_ready(slot, now)
        else:
            self.replacements.reborn(worker)

    def ended(self, pid: int, status: int, now: float) -> None:
        """Note that a child has ended, with the status of ``waitpid``; why decides what comes next."""
        worker = self.workers.pop(pid, None)
        if worker is None:
            return
        worker.ended = True
        cause = worker.why or cause_of(status)
        self.hands.note("ended", process=worker.name, pid=pid, generation=worker.generation, cause=cause)
        slot = self.slots.get(worker.name)
        if slot is not None and slot.successor is worker:
            self.replacements.successor_ended(slot, cause, now)
        elif worker.state in (DRAINING, STOPPING) and self.replacements.retired_ended(worker, cause, now):
            return
        elif slot is not None and slot.current is worker:
            slot.current = None
            self._current_ended(slot, worker, status, cause, now)

    def tick(self, now: float) -> None:
        """Act on every deadline that has passed."""
        for worker in list(self.workers.values()):
            if worker.deadline is not None and worker.deadline <= now:
                self._overdue(worker)
            elif worker.state == STARTING and not worker.hurried and now - worker.since >= self._calm_s():
                # On a machine that is busy throughout, who lets everybody go first never boots.
                worker.hurried = True
                self.hands.ready(worker)
        if self.stopping:
            return
        for slot in self.slots.values():
            if slot.current is None and slot.retry_at is not None and slot.retry_at <= now:
                self.start_in(slot, now)
        self.replacements.tick(now)

    def next_deadline(self) -> float | None:
        """Return the monotonic time of the next thing to do, None when all is quiet."""
        deadlines = [worker.deadline for worker in self.workers.values()]
        if not self.stopping:
            deadlines += [slot.retry_at for slot in self.slots.values() if slot.current is None]
        deadlines.append(self.replacements.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # What is asked for ------------------------------------------------------------------------------------------------

    def stop(self, now: float, *, quick: bool = False) -> None:
        """End everything: in order, or (``quick``) within a second."""
        first, self.stopping = not self.stopping, True
        self.replacements.give_up()
        for worker in self.workers.values():
            if first and worker.state != DRAINING:
                self.retire(worker, now)
            if quick:
                worker.deadline = now + 1.0

    def change_workers(self, count: int, now: float) -> None:
        """Serve with one worker more or fewer, never with none."""
        if self.stopping or count < 1:
            return
        self.workers_wanted = count
        for number in range(1, count + 1):
            if f"web-{number}" not in self.slots:
                self._add_slot(f"web-{number}", WEB, now)
        for slot in [slot for slot in self.slots.values() if slot.role == WEB and int(slot.name[4:]) > count]:
            self._drop_slot(slot, now)

    # Means ------------------------------------------------------------------------------------------------------------

    def start_in(self, slot: Slot, now: float, *, successor: bool = False, broken: bool = False) -> Worker | None:
        """Start the next generation of a slot; None where the host has no process left to give: tried again later."""
        slot.generation += 1
        slot.retry_at = None
        try:
            pid = self.hands.start(slot.name, slot.role, slot.generation, broken)
        except OSError as error:  # fork(2): EAGAIN by ulimit -u or pids.max, ENOMEM
            cause = f"it could not be started: {error.strerror}"
            if successor:
                self.replacements.successor_ended(slot, cause, now)
            else:
                self._start_failed(slot, EXIT_FAILED, cause, now)
            return None
        worker = Worker(slot.name, slot.role, slot.generation, pid, self.hands.wall())
        worker.since = now
        worker.deadline = now + self.spec.timing.ready_timeout_s
        self.workers[pid] = worker
        if successor:
            slot.successor = worker
        else:
            slot.current = worker
        self.hands.note("started", process=slot.name, pid=pid, generation=slot.generation)
        return worker

    def retire(self, worker: Worker, now: float) -> None:
        """Have a worker drain and exit; it is killed when it exceeds its time."""
        worker.state = DRAINING
        worker.deadline = now + self.spec.timing.drain_timeout_s + self.spec.timing.exit_grace_s
        self.hands.signal(worker.pid, signal.SIGTERM)

    def back_off(self, slot: Slot, now: float) -> float:
        """Count one more failed start of a slot; return when the next may be tried."""
        slot.failures += 1
        timing = self.spec.timing
        wait = min(timing.retry_last_s, timing.retry_first_s * 2.0 ** min(slot.failures - 1, 20))
        # Jitter: instances that share a broken back end must not all retry in the same second.
        return now + wait * (0.8 + 0.4 * int.from_bytes(os.urandom(2), "big") / 65535)

    def flag(self, key: str, text: str) -> None:
        """Raise a flag that the pages show until it is taken down."""
        if self.flags.get(key) != text:
            self.hands.note("flag", text=text)
        self.flags[key] = text

    def _add_slot(self, name: str, role: str, now: float) -> None:
        self.slots[name] = Slot(name, role)
        self.start_in(self.slots[name], now)

    def _calm_s(self) -> float:
        return self.spec.timing.ready_timeout_s / CALM_SHARE

    def _drop_slot(self, slot: Slot, now: float) -> None:
        self.replacements.forget(slot)
        del self.slots[slot.name]
        for worker in (slot.current, slot.successor):
            if worker is not None and not worker.ended and worker.state != DRAINING:
                self.retire(worker, now)

    def _recover(self, slot: Slot) -> None:
        slot.failures = 0
        for key in (slot.name, f"{slot.name} waits", f"{slot.name} advice"):
            self.flags.pop(key, None)

    def _overdue(self, worker: Worker) -> None:
        if worker.state == STARTING:
            worker.why = f"not ready within {self.spec.timing.ready_timeout_s:g} s"
        elif not worker.killed:
            worker.why = "killed: its time to drain and exit was over"
        worker.killed, worker.deadline = True, None
        self.hands.signal(worker.pid, signal.SIGKILL)

    def _current_ended(self, slot: Slot, worker: Worker, status: int, cause: str, now: float) -> None:
        if self.stopping:
            return
        if slot.successor is not None:
            self.replacements.old_died(slot, worker, cause, now)
        elif worker.state == STARTING:
            code = EXIT_CONFIGURATION if worker.refused else os.waitstatus_to_exitcode(status)
            self._start_failed(slot, code, cause, now)
        else:
            self._died(slot, worker, cause, now)

    def _start_failed(self, slot: Slot, code: int, cause: str, now: float) -> None:
        slot.retry_at = self.back_off(slot, now)
        self.replacements.start_failed(slot.name, cause)
        text = f"{slot.name} ended before it was ready: {cause}"
        self.flag(slot.name, f"{text}; started again with growing pauses")
        if slot.role == WEB and not self.ever_ready:
            self._first_failures += 1
            if code == EXIT_CONFIGURATION or self._first_failures >= FIRST_BOOT_TRIES:
                self.failed = (text, EXIT_CONFIGURATION if code == EXIT_CONFIGURATION else EXIT_FAILED)

    def _died(self, slot: Slot, worker: Worker, cause: str, now: float) -> None:
        """Replace at once a worker that died by itself, unless it keeps dying."""
        budget = self.spec.crash_budget
        slot.deaths = [*(death for death in slot.deaths if death > now - budget.seconds), now]
        self.replacements.died(worker, cause)
        if len(slot.deaths) > budget.deaths:
            slot.retry_at = self.back_off(slot, now)
            self.flag(slot.name, f"{slot.name} died {len(slot.deaths)} times within {budget.seconds:g} s: {cause}")
        else:
            self.start_in(slot, now)


def cause_of(status: int) -> str:
    """Return a ``waitpid`` status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    return f"killed by {signal_name(-code)}"
