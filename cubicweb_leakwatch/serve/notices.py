"""What the children say, by ``sd_notify``: told to the fleet. A child is believed about its own affairs alone."""

from __future__ import annotations

import json

from cubicweb_leakwatch.serve.hands import kind_of
from cubicweb_leakwatch.serve.records import DRAINING, STARTING, STOPPING, Worker
from cubicweb_leakwatch.serve.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cubicweb_leakwatch.serve.fleet import Fleet
    from cubicweb_leakwatch.serve.minder import Minder

LONGEST_EXTENSION_S = 120.0
MAX_TEXT = 1000


class Notices:
    """Acts on the NAME=VALUE lines of a child (see :mod:`.sdnotify` for the names)."""

    def __init__(self, fleet: Fleet, minder: Minder) -> None:
        self.fleet, self.minder = fleet, minder

    def take(self, pid: int, values: dict[str, str], now: float) -> None:
        """Act on one datagram; one from a process that is no child of ours changes nothing."""
        worker = self.fleet.workers.get(pid)
        if worker is None:
            return
        self._note_figures(worker, values)
        if values.get("READY") == "1":
            self._on_ready(worker, now)
        self._on_wish(worker, values, now)
        self._on_leaving(worker, values, now)

    @staticmethod
    def _note_figures(worker: Worker, values: dict[str, str]) -> None:
        for key, name in (("LEAKWATCH_LIMIT", "limit"), ("LEAKWATCH_SERVED", "served")):
            number = whole(values.get(key, ""))
            if number is not None:
                setattr(worker, name, number)
        if "LEAKWATCH_QUIET" in values:
            worker.quiet = values["LEAKWATCH_QUIET"] == "1"
        trimmed = whole(values.get("LEAKWATCH_TRIMMED", ""))
        if trimmed is not None:
            worker.trimmed = (worker.trimmed or 0) + trimmed
        if "LEAKWATCH_REFUSED" in values:
            worker.why = values["LEAKWATCH_REFUSED"][:MAX_TEXT]

    def _on_ready(self, worker: Worker, now: float) -> None:
        refusal = None if kind_of(self.fleet.spec, worker.role).guards_itself else self.minder.refusal(worker.pid)
        if refusal is None:
            self.fleet.became_ready(worker.pid, now)
        elif worker.state == STARTING:
            worker.why, worker.refused = refusal, True
            self.fleet.hands.signal(worker.pid, signal.SIGKILL)

    def _on_wish(self, worker: Worker, values: dict[str, str], now: float) -> None:
        if "LEAKWATCH_NEAR" in values:
            self.fleet.replacements.near_limit(worker.pid, now)
        if "LEAKWATCH_WANT" in values:
            reason, planned = values["LEAKWATCH_WANT"][:MAX_TEXT], values.get("LEAKWATCH_PLANNED") == "1"
            self.fleet.replacements.wanted_by(worker.pid, reason, now, planned=planned, repeated=True)

    def _on_leaving(self, worker: Worker, values: dict[str, str], now: float) -> None:
        if "LEAKWATCH_DRAIN" in values:
            self._on_drain_report(worker, values["LEAKWATCH_DRAIN"])
        if "LEAKWATCH_AUTOPSY" in values:
            self.fleet.replacements.examined(worker.pid, values["LEAKWATCH_AUTOPSY"][:MAX_TEXT])
        if values.get("STOPPING") == "1" and worker.state == DRAINING:
            worker.state = STOPPING
        extension_us = whole(values.get("EXTEND_TIMEOUT_USEC", ""))
        if extension_us is not None and worker.deadline is not None and not self.fleet.stopping:
            wished = now + extension_us / 1e6
            worker.deadline = max(worker.deadline, min(wished, now + LONGEST_EXTENSION_S))

    def _on_drain_report(self, worker: Worker, text: str) -> None:
        try:
            report = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(report, dict):
            self.fleet.replacements.drained(worker.pid, report)


def whole(text: str) -> int | None:
    """Return a whole number of bytes, requests or microseconds; None for else, "²" and a million digits too."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
