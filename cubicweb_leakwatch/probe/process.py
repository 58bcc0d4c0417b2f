"""What the running process says of itself: its slot, role, state and the requests it has served."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cubicweb_leakwatch.host import this_host

MAX_VIEWS = 200
"""Names of views counted apart; a site that invents view names must not make us grow."""

OTHER_VIEWS = "(other)"


@dataclass
class ProcessState:
    """One process of an instance; the server that runs it keeps the plain attributes up to date.

    ``name`` is the slot (``web-1``, ``scheduler``), ``role`` one of ``web``, ``scheduler``, ``other``;
    ``state`` one of ``starting``, ``serving``, ``draining``, ``stopping``. ``started_at`` is Unix seconds,
    ``limit`` bytes. ``requests`` and ``in_flight`` are ``None`` where nobody counts them.
    """

    name: str
    role: str
    pid: int = field(default_factory=os.getpid)
    generation: int = 1
    started_at: float = field(default_factory=time.time)
    state: str = "starting"
    limit: int | None = None
    requests: int | None = None
    in_flight_source: Callable[[], int] | None = None
    requests_source: Callable[[], int] | None = None
    views: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, dict[str, int]] = field(default_factory=dict)
    host: str = field(default_factory=this_host)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count_request(self, view: str | None = None) -> None:
        """Count one request served, and which view or route served it."""
        with self._lock:
            self.requests = (self.requests or 0) + 1
            if view is not None:
                name = view if view in self.views or len(self.views) < MAX_VIEWS else OTHER_VIEWS
                self.views[name] = self.views.get(name, 0) + 1

    def count_task(self, name: str, blocks: int, malloc: int) -> None:
        """Count one run of a looping task, and what it left behind: blocks of Python, and bytes of malloc."""
        told = self.tasks.setdefault(name, {"runs": 0, "blocks": 0, "malloc": 0})
        told["runs"] += 1
        told["blocks"] += blocks
        told["malloc"] += malloc

    @property
    def in_flight(self) -> int | None:
        """Requests accepted and not yet answered in full; ``None`` where the server does not tell."""
        return self.in_flight_source() if self.in_flight_source else None

    @property
    def requests_served(self) -> int | None:
        """Requests served since the process started; ``None`` where nobody counts."""
        return self.requests_source() if self.requests_source else self.requests

    @property
    def age_s(self) -> float:
        """Seconds since the process started."""
        return max(0.0, time.time() - self.started_at)


_THIS: dict[int, ProcessState] = {}


def this_process() -> ProcessState:
    """Return the state of the running process, named as the launcher asked through the environment.

    A process that no launcher started has an empty ``name`` until its probe claims a slot.
    A fork of a process that had a state gets one of its own.
    """
    pid = os.getpid()
    if pid not in _THIS:
        _THIS.clear()
        name = os.environ.get("LEAKWATCH_PROCESS", "")
        role = "scheduler" if name == "scheduler" else "web"
        limit = int(os.environ.get("LEAKWATCH_MEMORY_LIMIT") or 0) or None
        generation = int(os.environ.get("LEAKWATCH_GENERATION") or 1)
        _THIS[pid] = ProcessState(name=name, role=role, generation=generation, limit=limit)
    return _THIS[pid]
