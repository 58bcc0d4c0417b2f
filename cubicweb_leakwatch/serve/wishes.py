"""What is wanted replaced: by hand, by a worker past its limit, by the looping task; and which wish may begin now.

A wish by hand begins as soon as nothing else does. The others pass the :class:`Gate`, are refused where restarts do not
help, and lapse when their reason is gone.
"""

from __future__ import annotations

from collections import deque

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.serve import relapse
from cubicweb_leakwatch.serve.gate import TASK_ASKS_AGAIN_S, WORKER_ASKS_AGAIN_S, Gate
from cubicweb_leakwatch.serve.records import SERVING, Restart, Slot, Worker
from cubicweb_leakwatch.serve.turns import Turns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cubicweb_leakwatch.serve.fleet import Fleet


class Wishes:
    """The wishes in order, and the one being fulfilled (``active``)."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.gate = Gate(fleet.spec.policy, fleet.hands.wall)
        self.turns = Turns()
        self.queue: deque[Restart] = deque()
        self.active: Restart | None = None
        self.origin = f"{int(fleet.hands.wall() * 1000)}"
        self.count = 0

    # Asking -----------------------------------------------------------------------------------------------------------

    def ask(self, name: str, reason: str, by: str, *, again: bool = False, broken: bool = False) -> Restart:
        """Queue the replacement of a process by hand; a wish already there is returned, and waits no longer.

        ``again``: try anew, later, when the successor fails (a worker over its limit stays over it).
        ``broken``: the successor is told to fail, for a drill.
        Raises ConfigurationError for a process that does not exist, LeakwatchError while stopping.
        """
        slot = self._slot(name)
        slot.stopped_until = None
        wish = self._waiting_for(name)
        if wish is None:
            wish = self._queue(name, reason, by)
            wish.broken = broken
        wish.again = wish.again or again
        wish.automatic, wish.not_before = False, 0.0
        return wish

    def propose(self, name: str, reason: str, by: str, now: float, *, planned: bool) -> Restart:
        """Queue what the looping task thinks due; it is subject to the operator's policy. Raises as :meth:`ask`."""
        slot = self._slot(name)
        if not self.gate.takes_wishes() or relapse.is_stopped(slot, now):
            raise LeakwatchError(self.fleet.flags.get(name) or "automatic restarts are off", "", "refused")
        return self._automatic(slot, reason, by, now, TASK_ASKS_AGAIN_S, planned=planned, predicted=planned)

    def wanted_by(self, pid: int, reason: str, now: float, *, planned: bool = False, repeated: bool = False) -> None:
        """Queue the replacement of a worker that asks for its successor itself, unless restarts do not help it.

        ``repeated``: it asks again for as long as it has reason to; otherwise the wish stays until it is fulfilled.
        """
        slot, worker = self._slot_of(pid)
        if slot is None or worker is None or worker.advised or not self.gate.takes_wishes():
            return
        wish = self._waiting_for(slot.name)
        if wish is None and not self._stop_if_relapsed(slot, worker, "back at its limit", now):
            relapse.remember(slot, now - worker.since, worker.served)
        if not relapse.is_stopped(slot, now):
            lapse_s = WORKER_ASKS_AGAIN_S if repeated else None
            self._automatic(slot, reason, "worker", now, lapse_s, planned=planned).again = True

    def near_limit(self, pid: int, now: float) -> None:
        """A worker has come above 80 % of its memory limit: in a tenth of the last life, restarts are over."""
        slot, worker = self._slot_of(pid)
        if slot is not None and worker is not None and self._waiting_for(slot.name) is None:
            self._stop_if_relapsed(slot, worker, "back above 80 % of its limit", now)

    # Choosing ---------------------------------------------------------------------------------------------------------

    def next_wish(self, now: float) -> tuple[Restart, Slot] | None:
        """Take the first wish out of the queue whose time has come; say why the others wait."""
        for wish in list(self.queue):
            slot = self.fleet.slots[wish.process]
            old = slot.current
            if wish.not_before <= now:
                wish.not_before = 0.0  # a moment that has passed would be a deadline for ever
            if self._has_lapsed(wish, old, now):
                self._drop(wish)
            elif old is not None and self._is_due(wish, old, now) and self.turns.has_come(wish, now):
                self.queue.remove(wish)
                return wish, slot
        return None

    def free_to_begin(self) -> bool:
        """Whether a wish waits for nothing but its turn."""
        return any(wish.held is None and not wish.not_before for wish in self.queue)

    def next_deadline(self) -> float | None:
        """Return when the next wish may begin, None while one is being done or none waits for its time."""
        if self.active is not None:
            return None
        return min((wish.not_before for wish in self.queue if wish.not_before > 0), default=None)

    def advise(self, wish: Restart, old: Worker) -> None:
        """Tell what would be done now, once a process, instead of doing it."""
        old.advised = True
        self.fleet.hands.note("advice", process=wish.process, would="replace", pid=old.pid, reason=wish.reason)
        text = f"{wish.process} should be replaced: {wish.reason}; nothing is done (leakwatch-restart is advise)"
        self.fleet.flag(f"{wish.process} advice", text)

    # Means ------------------------------------------------------------------------------------------------------------

    def new(self, name: str, reason: str, by: str) -> Restart:
        """Return a record with the next id."""
        self.count += 1
        return Restart(f"{self.origin}-{self.count:06d}", name, reason, by, self.fleet.hands.wall())

    def _slot(self, name: str) -> Slot:
        if self.fleet.stopping:
            raise LeakwatchError("the instance is stopping")
        if name not in self.fleet.slots:
            known = ", ".join(self.fleet.slots)
            raise ConfigurationError(f"no process {name!r}", f"there are: {known}", "unknown-process")
        return self.fleet.slots[name]

    def _slot_of(self, pid: int) -> tuple[Slot | None, Worker | None]:
        """Return the slot that a process serves; a stranger, a successor or one that retires serves none."""
        worker = self.fleet.workers.get(pid)
        slot = self.fleet.slots.get(worker.name) if worker else None
        serves = slot is not None and slot.current is worker and not self.fleet.stopping
        return (slot, worker) if serves else (None, None)

    def _waiting_for(self, name: str) -> Restart | None:
        waiting = ([self.active] if self.active else []) + list(self.queue)
        return next((wish for wish in waiting if wish.process == name), None)

    def _queue(self, name: str, reason: str, by: str) -> Restart:
        wish = self.new(name, reason, by)
        self.queue.append(wish)
        self.fleet.hands.note("restart-wanted", process=name, id=wish.id, by=by, reason=reason)
        return wish

    def _automatic(
        self,
        slot: Slot,
        reason: str,
        by: str,
        now: float,
        lapse_s: float | None,
        *,
        planned: bool,
        predicted: bool = False,
    ) -> Restart:
        wish = self._waiting_for(slot.name)
        if wish is None:
            wish = self._queue(slot.name, reason, by)
            wish.automatic = wish.planned = True
            wish.predicted = predicted
            wish.for_pid = slot.current.pid if slot.current else None
        if wish.automatic and not planned and wish.planned:
            wish.planned, wish.reason = False, reason
        wish.valid_until = None if lapse_s is None else max(now + lapse_s, wish.valid_until or 0.0)
        return wish

    def _stop_if_relapsed(self, slot: Slot, worker: Worker, how: str, now: float) -> bool:
        if not relapse.is_stopped(slot, now) and relapse.is_relapse(slot, now - worker.since, worker.served):
            self.fleet.flag(slot.name, relapse.stop(slot, now - worker.since, how, now))
            return True
        return relapse.is_stopped(slot, now)

    def _has_lapsed(self, wish: Restart, old: Worker | None, now: float) -> bool:
        if not wish.automatic:
            return False
        another = old is not None and wish.for_pid is not None and old.pid != wish.for_pid
        return another or (wish.valid_until is not None and now >= wish.valid_until)

    def _drop(self, wish: Restart) -> None:
        self.queue.remove(wish)
        self.fleet.flags.pop(f"{wish.process} waits", None)
        self.fleet.hands.note("restart-lapsed", process=wish.process, id=wish.id, reason=wish.reason)

    def _is_due(self, wish: Restart, old: Worker, now: float) -> bool:
        return old.state == SERVING and wish.not_before <= now and self._may_begin(wish, old, now)

    def _may_begin(self, wish: Restart, old: Worker, now: float) -> bool:
        wish.held = self.gate.refusal(wish, old, now) or None
        if wish.held is None:
            self.fleet.flags.pop(f"{wish.process} waits", None)
            return True
        self.fleet.flag(f"{wish.process} waits", f"{wish.process} waits to be replaced ({wish.reason}): {wish.held}")
        return False
