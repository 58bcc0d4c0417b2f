"""Replacing a worker: successor first, ready, then retire the old. One at a time over the whole instance.

The scheduler alone goes the other way round: there are never two of it, so the old one stops before the new one starts.
"""

from __future__ import annotations

from collections import deque

from cubicweb_leakwatch.serve.records import (
    BALANCE,
    DONE,
    DRAIN_TIMEOUT,
    DRAINING,
    REPLACED,
    SCHEDULER,
    STARTING,
    SUCCESSOR_FAILED,
    Restart,
    Slot,
    Worker,
)
from cubicweb_leakwatch.serve.signals import signal
from cubicweb_leakwatch.serve.wishes import Wishes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cubicweb_leakwatch.serve.fleet import Fleet


class Replacements(Wishes):
    """The wishes in order, the one being done, and the deaths being made good."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        # By pid: old workers that have drained and are still examined, or shutting down; they hold up nobody.
        self.leaving: dict[int, Restart] = {}
        self._deaths: dict[str, Restart] = {}

    # Wishes -----------------------------------------------------------------------------------------------------------

    def in_progress(self) -> list[Restart]:
        """Return what is wanted or being done, oldest first."""
        return list(self.leaving.values()) + ([self.active] if self.active else []) + list(self.queue)

    def at_rest(self) -> bool:
        """Whether nothing is being done, and no wish waits for its turn alone."""
        return self.active is None and not self.leaving and not self.free_to_begin()

    def forget(self, slot: Slot) -> None:
        """Drop the wishes for a slot that is given up."""
        self.queue = deque(wish for wish in self.queue if wish.process != slot.name)
        for key in (slot.name, f"{slot.name} waits", f"{slot.name} advice"):
            self.fleet.flags.pop(key, None)
        active = self.active
        if active is None or active.process != slot.name:
            return
        if active.stage == STARTING or active.old_pid is None:
            self._finish(SUCCESSOR_FAILED, "the slot was given up")
        else:
            # Its old worker drains: its end closes the record, and nobody need wait for it.
            self.active, self.leaving[active.old_pid] = None, active

    def give_up(self) -> None:
        """Drop what is not yet being drained: the instance stops."""
        self.queue.clear()
        if self.active is not None and self.active.stage == STARTING:
            self._finish(SUCCESSOR_FAILED, "the instance was stopped")

    # Steps ------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Begin the next replacement when none is being done and its time has come."""
        chosen = None if self.active is not None else self.next_wish(now)
        if chosen is not None:
            self._begin(*chosen, now)

    def successor_ready(self, slot: Slot, now: float) -> None:
        """Hand the slot over and retire the old worker."""
        restart, old = self.active, slot.current
        slot.current, slot.successor = slot.successor, None
        if restart is None:
            return
        restart.ready_at = self.fleet.hands.wall()
        if old is None or old.ended:
            self._finish(REPLACED)
        else:
            self._retire(restart, old, now)

    def successor_ended(self, slot: Slot, cause: str, now: float) -> None:
        """Keep the old worker, withdraw the announcement, say so, and try again later if need be."""
        slot.successor = None
        restart = self.active
        if restart is None or self.fleet.stopping:
            return
        self._announce(slot.current, signal.SIGUSR2)
        self.gate.came_to_nothing(restart)
        retry_at = self.fleet.back_off(slot, now)
        self.fleet.flag(slot.name, f"the successor of {slot.name} failed ({cause}); the old one serves on")
        self._finish(SUCCESSOR_FAILED, cause)
        if slot.current is None:
            slot.retry_at = retry_at
        elif restart.again:
            self.queue.append(self._retried(restart, retry_at))

    def retired_ended(self, worker: Worker, cause: str, now: float) -> bool:
        """Close the record of a replacement whose old worker has gone; False when it was not one."""
        restart = self._retiring(worker.pid)
        if restart is None:
            return False
        restart.exited_at = self.fleet.hands.wall()
        late = worker.killed or bool(restart.balance.get("abandoned"))
        if worker.role == SCHEDULER and not self.fleet.stopping:
            slot = self.fleet.slots[worker.name]
            restart.stage, restart.outcome = STARTING, DRAIN_TIMEOUT if late else None
            slot.current = None
            restart.new_pid = _pid_of(self.fleet.start_in(slot, now))
            return True
        self.leaving.pop(worker.pid, None)
        if restart is self.active:
            self.active = None
        self._close(restart, DRAIN_TIMEOUT if late else REPLACED, cause if worker.killed else restart.detail)
        return True

    def old_died(self, slot: Slot, worker: Worker, cause: str, now: float) -> None:
        """The old worker died while its successor boots: the successor is now the slot's only hope."""
        slot.current, slot.successor = slot.successor, None
        if self.active is not None:
            self.active.detail = f"the old worker died meanwhile: {cause}"
            self.active.exited_at = self.fleet.hands.wall()

    def start_failed(self, name: str, cause: str) -> None:
        """Close the record of a replacement whose new process failed when the old one had already gone."""
        if self.active is not None and self.active.process == name and self.active.stage == STARTING:
            self._finish(SUCCESSOR_FAILED, cause)

    def died(self, worker: Worker, cause: str) -> None:
        """Open a record for a worker that died by itself."""
        restart = self.new(worker.name, f"died: {cause}", "launcher")
        restart.old_pid, restart.exited_at = worker.pid, restart.requested_at
        restart.stage = STARTING
        self._deaths.setdefault(worker.name, restart)

    def reborn(self, worker: Worker) -> None:
        """Close the record of the death, or of the scheduler's restart, that this child makes good."""
        active = self.active
        if active is not None and active.process == worker.name and active.stage == STARTING:
            active.new_pid, active.ready_at = worker.pid, self.fleet.hands.wall()
            self._finish(active.outcome or REPLACED, active.detail)
        death = self._deaths.pop(worker.name, None)
        if death is not None:
            death.new_pid, death.ready_at = worker.pid, self.fleet.hands.wall()
            self._close(death, REPLACED, None)

    def drained(self, pid: int, report: dict[str, Any]) -> None:
        """Take the balance sheet of a draining worker (see :mod:`..drain`)."""
        restart = self._retiring(pid)
        if restart is None:
            return
        restart.balance = {name: report[name] for name in BALANCE if isinstance(report.get(name), int)}
        rows = report.get("abandoned_requests")
        restart.named = [row for row in rows if isinstance(row, dict)][:20] if isinstance(rows, list) else []
        if report.get("final"):
            restart.drained_at = self.fleet.hands.wall()
            self._let_leave(restart, pid)

    def examined(self, pid: int, path: str) -> None:
        """Note where the autopsy of a drained worker is."""
        restart = self._retiring(pid)
        if restart is not None:
            restart.autopsy = path

    # Means ------------------------------------------------------------------------------------------------------------

    def _retried(self, failed: Restart, not_before: float) -> Restart:
        """Return the wish of a worker that is still over its limit, once more."""
        wish = self.new(failed.process, failed.reason, failed.by)
        for name in ("again", "automatic", "planned", "predicted", "for_pid"):
            setattr(wish, name, getattr(failed, name))
        wish.not_before = not_before
        return wish

    def _retiring(self, pid: int) -> Restart | None:
        """Return the restart whose old worker has this pid."""
        if self.active is not None and self.active.old_pid == pid:
            return self.active
        return self.leaving.get(pid)

    def _let_leave(self, restart: Restart, pid: int) -> None:
        """Serve no more is what counts: the next replacement need not wait for the old worker's autopsy."""
        if restart is self.active and self.fleet.slots[restart.process].role != SCHEDULER:
            self.active, self.leaving[pid] = None, restart

    def _begin(self, restart: Restart, slot: Slot, now: float) -> None:
        old = slot.current
        assert old is not None
        lack = self._lack_of_room(slot, old)
        if lack:
            restart.not_before = self.fleet.back_off(slot, now)
            self.fleet.flag(slot.name, lack)
            self.queue.append(restart)
            return
        if self.gate.only_advises(restart):
            self.advise(restart, old)
            self.gate.has_begun(restart, now)
            return
        self.gate.has_begun(restart, now)
        self.fleet.flags.pop(f"{slot.name} advice", None)
        restart.old_pid, restart.rss_before = old.pid, self.fleet.hands.rss(old.pid)
        restart.trimmed = old.trimmed
        self.active = restart
        if slot.role == SCHEDULER:
            self._retire(restart, old, now)
            return
        restart.stage = STARTING
        restart.new_pid = _pid_of(self.fleet.start_in(slot, now, successor=True, broken=restart.broken))
        if slot.successor is not None:
            self._announce(old, signal.SIGUSR1)

    def _lack_of_room(self, slot: Slot, old: Worker) -> str | None:
        """Old and new live side by side for a while: that must not wake the OOM killer."""
        room, needed = self.fleet.hands.room(), old.rss_ready
        if slot.role == SCHEDULER or room is None or needed is None or room > needed * 1.2:
            return None
        mib = 1024 * 1024
        return (
            f"no room for a successor of {slot.name}: a fresh worker needs {needed / mib:.0f} MiB, "
            f"{room / mib:.0f} MiB are available; the old one serves on"
        )

    def _retire(self, restart: Restart, old: Worker, now: float) -> None:
        restart.stage = DRAINING
        self.fleet.retire(old, now)

    def _announce(self, old: Worker | None, number: int) -> None:
        if old is not None and not old.ended and self.fleet.spec.web.announces:
            self.fleet.hands.signal(old.pid, number)

    def _finish(self, outcome: str, detail: str | None = None) -> None:
        restart, self.active = self.active, None
        if restart is not None:
            self._close(restart, outcome, detail or restart.detail)

    def _close(self, restart: Restart, outcome: str, detail: str | None) -> None:
        restart.stage, restart.outcome, restart.detail = DONE, outcome, detail
        if outcome != SUCCESSOR_FAILED:
            restart.rss_after = self.fleet.hands.rss(restart.new_pid)
        self.fleet.hands.record(restart)


def _pid_of(worker: Worker | None) -> int | None:
    return worker.pid if worker is not None else None
