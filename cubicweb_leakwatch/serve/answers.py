"""The launcher's answers on its control socket."""

from __future__ import annotations

import json
import os
import time

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.serve.logline import iso

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cubicweb_leakwatch.serve.fleet import Fleet
    from cubicweb_leakwatch.serve.journal import Journal

MAX_REASON = 500


class Answers:
    """Answers ``status``, ``restart``, ``restarts`` and ``turn``; anything else is refused with a sentence."""

    def __init__(self, fleet: Fleet, journal: Journal, listening: list[str], started_at: float) -> None:
        self.fleet, self.journal = fleet, journal
        self.listening, self.started_at = listening, started_at

    def __call__(self, question: dict[str, Any]) -> str:
        """Return the answer as JSON text; raises LeakwatchError to refuse."""
        kind = question.get("ask")
        if kind == "status":
            return json.dumps(self.status())
        if kind == "restart":
            return json.dumps(self.restart(question))
        if kind == "restarts":
            return self.restarts(question)
        if kind == "turn":
            return json.dumps(self.turn(question))
        raise LeakwatchError("the launcher knows: status, restart, restarts, turn", "", "bad-question")

    def status(self) -> dict[str, Any]:
        """Say what runs, since when, and what is wrong."""
        workers = sorted(self.fleet.workers.values(), key=lambda worker: (worker.name, worker.generation))
        return {
            "pid": os.getpid(),
            "instance": self.fleet.spec.instance,
            "started_at": iso(self.started_at),
            "listening": self.listening,
            "workers_wanted": self.fleet.workers_wanted,
            "threads": self.fleet.spec.threads,
            "flags": list(self.fleet.flags.values()),
            "restarts": self.journal.counts,
            "processes": [worker.row() for worker in workers],
        }

    def restart(self, question: dict[str, Any]) -> dict[str, Any]:
        """Queue the replacement of one process, or of all."""
        name = question.get("process")
        names = list(self.fleet.slots) if name is None else [str(name)]
        reason = str(question.get("reason") or "by hand")[:MAX_REASON]
        by = str(question.get("by") or "control socket")[:MAX_REASON]
        if question.get("policy") is True:
            planned = question.get("planned") is True
            now = time.monotonic()
            wishes = [self.fleet.replacements.propose(each, reason, by, now, planned=planned) for each in names]
            return {"requested": [{"id": wish.id, "process": wish.process} for wish in wishes]}
        broken = question.get("broken") is True
        wishes = [self.fleet.replacements.ask(each, reason, by, broken=broken) for each in names]
        return {"requested": [{"id": wish.id, "process": wish.process} for wish in wishes]}

    def turn(self, question: dict[str, Any]) -> dict[str, Any]:
        """Let nothing but the wish ``grant`` begin for ``for_s`` seconds; tell what waits for it and goes on.

        ``spent_s``: the budget of all hosts together is spent for so long.
        """
        replacements, now = self.fleet.replacements, time.monotonic()
        for_s, grant = question.get("for_s"), question.get("grant")
        if isinstance(for_s, (int, float)):
            replacements.turns.arrange(now, for_s, str(grant) if grant else None)
        spent_s = question.get("spent_s")
        if isinstance(spent_s, (int, float)):
            replacements.gate.spent_elsewhere(now, spent_s)
        queued = {wish.id for wish in replacements.queue}
        going_on = [wish.id for wish in replacements.in_progress() if wish.id not in queued]
        return {"waiting": replacements.turns.waiting(replacements.queue), "going_on": going_on}

    def restarts(self, question: dict[str, Any]) -> str:
        """List the restarts after an id: finished ones first, then those in progress."""
        finished = self.journal.after(str(question.get("after") or ""))
        going_on = [json.dumps(wish.as_json()) for wish in self.fleet.replacements.in_progress()]
        return '{"restarts":[' + ",".join(finished + going_on) + "]}"
