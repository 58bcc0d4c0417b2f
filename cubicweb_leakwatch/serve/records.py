"""What the launcher remembers: its children, their slots, and one record a restart."""

from __future__ import annotations

from cubicweb_leakwatch.serve.logline import iso

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WEB, SCHEDULER = "web", "scheduler"
STARTING, SERVING, DRAINING, STOPPING = "starting", "serving", "draining", "stopping"
QUEUED, DONE = "queued", "done"
REPLACED, SUCCESSOR_FAILED, DRAIN_TIMEOUT = "replaced", "successor-failed", "drain-timeout"

BALANCE = ("in_flight_at_drain", "accepted", "answered", "client_left", "abandoned")


class Worker:
    """One child process. ``deadline`` (monotonic seconds): when it is killed unless it became ready, or ended."""

    def __init__(self, name: str, role: str, generation: int, pid: int, started_at: float) -> None:
        self.name, self.role, self.generation, self.pid = name, role, generation, pid
        self.started_at = started_at
        self.since = 0.0
        self.state = STARTING
        self.deadline: float | None = None
        self.limit: int | None = None
        self.rss_ready: int | None = None
        self.killed = False
        self.ended = False
        self.refused = self.hurried = False
        self.why = ""
        # What it tells of itself, None until it does: whether this minute is a quiet one, requests answered, and the
        # bytes that the allocator gave back when asked to.
        self.quiet: bool | None = None
        self.served: int | None = None
        self.trimmed: int | None = None
        self.advised = False

    def row(self) -> dict[str, Any]:
        """Return the row of the control socket's status."""
        row = {name: getattr(self, name) for name in ("name", "pid", "role", "state", "generation", "limit", "trimmed")}
        return {**row, "started_at": iso(self.started_at)}


class Slot:
    """A place in the instance (``web-1``): who serves it, who is to take over, and how its last starts went."""

    def __init__(self, name: str, role: str) -> None:
        self.name, self.role = name, role
        self.generation = 0
        self.current: Worker | None = None
        self.successor: Worker | None = None
        self.retry_at: float | None = None
        self.failures = 0
        # See relapse.py: how long the last worker lasted until it asked for its successor, in seconds and requests.
        self.good_life_s = 0.0
        self.good_served: int | None = None
        self.stopped_until: float | None = None
        self.deaths: list[float] = []
        self.wanted = True


class Restart:
    """One replacement, from the wish to its end; times are Unix seconds, memory bytes."""

    def __init__(self, id: str, process: str, reason: str, by: str, requested_at: float) -> None:
        self.id, self.process, self.reason, self.by = id, process, reason, by
        self.requested_at = requested_at
        self.stage = QUEUED
        self.not_before = 0.0
        self.again = False
        self.broken = False
        # Nobody asked by hand; ``planned`` may wait for its hour, and of those ``predicted`` for a quiet minute always.
        self.automatic = self.planned = self.predicted = False
        # An automatic wish is about one process, and lapses unless it is repeated.
        self.for_pid: int | None = None
        self.valid_until: float | None = None
        self.open_since: float | None = None
        self.held: str | None = None
        self.trimmed: int | None = None
        self.ready_at: float | None = None
        self.drained_at: float | None = None
        self.exited_at: float | None = None
        self.old_pid: int | None = None
        self.new_pid: int | None = None
        self.rss_before: int | None = None
        self.rss_after: int | None = None
        self.outcome: str | None = None
        self.detail: str | None = None
        self.autopsy: str | None = None
        self.balance: dict[str, int] = {}
        self.named: list[dict[str, Any]] = []

    def as_json(self) -> dict[str, Any]:
        """Return the record of ``leak-restart``, with ``id``, ``stage``, ``by`` and what else is known."""
        record: dict[str, Any] = {"id": self.id, "process": self.process, "reason": self.reason, "by": self.by}
        for name in ("requested_at", "ready_at", "drained_at", "exited_at"):
            record[name] = iso(getattr(self, name))
        for name in BALANCE:
            record[name] = self.balance.get(name)
        for name in ("rss_before", "rss_after", "old_pid", "new_pid", "outcome", "stage", "detail", "autopsy",
                     "held", "trimmed"):  # fmt: skip
            record[name] = getattr(self, name)
        record["abandoned_requests"] = self.named
        return record
