"""The hands of the fleet: what its decisions do to real processes."""

from __future__ import annotations

import os
import time

from cubicweb_leakwatch.serve import procfs
from cubicweb_leakwatch.serve.children import calm_boot, end_calm_boot, spawn
from cubicweb_leakwatch.serve.logline import log
from cubicweb_leakwatch.serve.records import SCHEDULER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket

    from cubicweb_leakwatch.serve.journal import Journal
    from cubicweb_leakwatch.serve.records import Restart, Worker
    from cubicweb_leakwatch.serve.spec import Child, LaunchSpec


class ProcessHands:
    """Starts, signals and measures the children of one launcher."""

    def __init__(
        self,
        spec: LaunchSpec,
        environment: dict[str, str],
        listeners: list[socket.socket],
        notify_address: str,
        journal: Journal,
    ) -> None:
        self.spec, self.environment, self.listeners = spec, environment, listeners
        self.notify_address, self.journal = notify_address, journal

    def start(self, name: str, role: str, generation: int, broken: bool) -> int:
        """Start a child of a slot."""
        kind = kind_of(self.spec, role)
        listeners = [] if role == SCHEDULER else [listener.fileno() for listener in self.listeners]
        environment = self._environment_of(name, generation)
        if broken:
            environment["LEAKWATCH_DRILL"] = "broken"
        pid = spawn(kind, environment, listeners)
        calm_boot(pid)
        return pid

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a child that has not been reaped, so that its pid cannot be another's."""
        try:
            os.kill(pid, number)
        except OSError as error:  # it has become another user, and cannot be asked
            log("not-signalled", pid=pid, signal=number, why=error.strerror)

    def ready(self, worker: Worker) -> None:
        """Let a booted child compete for the processor like any other."""
        end_calm_boot(worker.pid)

    def record(self, restart: Restart) -> None:
        """Log and keep a finished restart."""
        record = restart.as_json()
        shown = ("process", "id", "outcome", "reason", "detail", "accepted", "answered", "client_left", "abandoned")
        log("restart", **{name: record[name] for name in shown})
        self.journal.add(record)
        self.journal.count(restart.process, str(restart.outcome))

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
            "NOTIFY_SOCKET": self.notify_address,
        }
        return {**self.environment, **spec.environment, **own}


def kind_of(spec: LaunchSpec, role: str) -> Child:
    """Return how the processes of a role are started and treated."""
    return spec.scheduler if role == SCHEDULER and spec.scheduler is not None else spec.web
