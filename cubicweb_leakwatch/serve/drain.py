"""A waitress server that can be told to drain: it serves what it has accepted, in whatever state, and then ends.

Signal handlers set a flag and wake the loop; the loop acts. Nothing is ever raised into it.
"""

import contextlib
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from waitress import create_server, wasyncore
from waitress.server import BaseWSGIServer
from waitress.task import ThreadedTaskDispatcher

from cubicweb_leakwatch.serve.books import Balance
from cubicweb_leakwatch.serve.channels import Desk, DrainChannel

LOG = logging.getLogger("leakwatch.serve")

MOST_CONNECTIONS = 2000
SILENCE_S = 120.0
"""After so long without a byte from or to a client its connection is given up, as waitress does."""


def connections_at_most() -> int:
    """Return how many clients may be connected: the application needs descriptors too, and accept(2) must not fail."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if allowed == resource.RLIM_INFINITY else max(64, min(MOST_CONNECTIONS, allowed - 256))


SETTINGS: Mapping[str, Any] = {
    # select() breaks at descriptor 1024.
    "asyncore_use_poll": True,
    # Idle connections of a draining worker count too.
    "connection_limit": connections_at_most(),
    # By the wall clock, which may jump: see ``_sweep``.
    "channel_timeout": 10**10,
    "backlog": 1024,
    "clear_untrusted_proxy_headers": True,
}
SWEEP_S = 0.2


@dataclass(frozen=True)
class DrainTimes:
    """How long a drain may take, in seconds.

    ``idle_s``: for how long a kept-alive connection may still bring one more request, before it is closed with FIN.
    """

    limit_s: float = 30.0
    idle_s: float = 10.0


class DrainingServer:
    """Serves a WSGI application on sockets it is given, until SIGTERM, then drains.

    The callables of ``on_drain`` are run in the loop as the drain begins.
    """

    def __init__(
        self,
        app: Any,
        sockets: list[socket.socket],
        *,
        threads: int = 4,
        times: DrainTimes | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.desk = Desk()
        self.times = times or DrainTimes()
        self._map: dict[int, Any] = {}
        self._dispatcher = ThreadedTaskDispatcher()
        self._dispatcher.set_thread_count(threads)
        for group in _by_kind(sockets):
            # Our own dispatcher: two kinds of socket must share one pool of threads.
            create_server(
                app, self._map, _dispatcher=self._dispatcher, sockets=group, **{**SETTINGS, **(settings or {})}
            )
        self._servers = [entry for entry in self._map.values() if isinstance(entry, BaseWSGIServer)]
        for server in self._servers:
            server.channel_class = partial(DrainChannel, self.desk)
        self._wanted: list[int] = []
        self._closed = False
        self._next_sweep = 0.0
        self.drain_began: float | None = None
        self.in_flight_at_drain: int | None = None
        self.on_drain: list[Callable[[], None]] = []

    # From outside the loop --------------------------------------------------------------------------------------------

    def install_signals(self) -> None:
        """SIGTERM: drain. SIGUSR1: a successor was started, ask clients to leave. SIGUSR2: it failed, keep them."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self.tell)

    def tell(self, number: int, _frame: object = None) -> None:
        """Have the loop act on one of those signal numbers; safe in a signal handler and from any thread."""
        if self._closed:
            return
        self._wanted.append(number)
        # The loop may be in its sleep of a second; pulling takes no lock, so a handler may do it.
        with contextlib.suppress(OSError):
            self._servers[0].pull_trigger()

    def balance(self) -> Balance:
        """Return the balance sheet so far."""
        return self.desk.books.balance()

    # The loop ---------------------------------------------------------------------------------------------------------

    def run(self) -> Balance:
        """Serve until told to drain, drain, and return the balance sheet."""
        while not self._drained():
            wasyncore.loop(timeout=self._patience_s(), use_poll=True, map=self._map, count=1)
            while self._wanted:
                self._act_on(self._wanted.pop(0))
            self._sweep(time.monotonic())
        self._close()
        return self.balance()

    def _act_on(self, number: int) -> None:
        if self.drain_began is not None:
            return
        self.desk.announcing = number != signal.SIGUSR2
        if number == signal.SIGTERM:
            self._begin_drain()

    def _begin_drain(self) -> None:
        """Take what waits in the kernel's queue, then leave the socket to whoever else holds it."""
        self.drain_began = time.monotonic()
        for server in self._servers:
            self._accept_waiting(server)
            wasyncore.dispatcher.close(server)
        self.in_flight_at_drain = self.desk.in_flight
        LOG.info("event=drain in_flight=%d connections=%d", self.in_flight_at_drain, len(self.desk.channels))
        for callback in self.on_drain:
            try:
                callback()
            except Exception:
                LOG.exception("event=drain-callback-failed")

    @staticmethod
    def _accept_waiting(server: Any) -> None:
        before = -1
        while len(server.active_channels) != before:
            before = len(server.active_channels)
            server.handle_accept()

    def _sweep(self, now: float) -> None:
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_S
        for channel in list(self.desk.channels):
            if channel.linger_until is not None and channel.linger_until <= now:
                channel.handle_close()
            elif self.drain_began is not None and now - self.drain_began >= self.times.idle_s and channel.idle:
                channel.finish_idle()
            elif now - channel.last_activity >= SILENCE_S:
                channel.end_silence()
        if self.drain_began is not None and now - self.drain_began >= self.times.limit_s:
            self._give_up()

    def _give_up(self) -> None:
        for channel in list(self.desk.channels):
            channel.give_up()
        for lost in self.desk.books.named:
            LOG.error("event=abandoned path=%s age_s=%.1f state=%r", lost.path, lost.age_s, lost.state)

    def _drained(self) -> bool:
        if self.drain_began is None:
            return False
        over = time.monotonic() - self.drain_began >= self.times.limit_s
        return not self.desk.channels and (over or not self._busy_threads())

    def _busy_threads(self) -> int:
        return int(self._dispatcher.active_count) + len(self._dispatcher.queue)

    def _patience_s(self) -> float:
        return 1.0 if self.drain_began is None else SWEEP_S

    def _close(self) -> None:
        self._closed = True
        # Threads past the time limit are not waited for: they end with the process.
        self._dispatcher.shutdown(cancel_pending=True, timeout=0 if self._busy_threads() else 1)
        for server in self._servers:
            server.trigger.close()
        wasyncore.close_all(self._map)


def _by_kind(sockets: list[socket.socket]) -> list[list[socket.socket]]:
    """waitress refuses Internet and Unix sockets in one call."""
    unix = [each for each in sockets if each.family == socket.AF_UNIX]
    internet = [each for each in sockets if each.family != socket.AF_UNIX]
    return [group for group in (internet, unix) if group]
