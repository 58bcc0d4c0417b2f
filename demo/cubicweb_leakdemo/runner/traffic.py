"""A small traffic generator that counts honestly: whatever is not a whole, timely page is a failed request.

Requests leave at a fixed rate, whether or not the earlier ones were answered, each over a connection of its own.
"""

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

PAGE_END = b"</html>"
ANSWERED = "answered"
MAX_WAITING = 64


@dataclass(frozen=True)
class Outcome:
    """What became of one request: ``kind`` is ``answered`` or how it failed; ``detail`` is for people."""

    kind: str
    path: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Count:
    """The running count: ``failed`` maps each way of failing to a number; latencies in milliseconds."""

    sent: int
    answered: int
    failed: dict[str, int]
    median_ms: float | None
    slowest_ms: float | None
    examples: tuple[str, ...]

    @property
    def lost(self) -> int:
        """Return how many requests failed, in any way."""
        return sum(self.failed.values())


def failure_kind(error: Exception) -> str:
    """Return in one word how a request ended that raised ``error``."""
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (TimeoutError, "late"),
        (ConnectionRefusedError, "refused"),
        (http.client.RemoteDisconnected, "empty"),
        (http.client.IncompleteRead, "truncated"),
        (ConnectionError, "reset"),
    )
    return next((word for kind, word in kinds if isinstance(error, kind)), "error")


def send(host: str, port: int, path: str, late_s: float) -> Outcome:
    """Ask for one page and return what became of it; never raises for a failed request."""
    start = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=late_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return Outcome(failure_kind(error), path, time.monotonic() - start, repr(error))
    finally:
        connection.close()
    # A health check's answer is no page of HTML: http.client has seen that it is whole.
    is_page = not response.headers.get("Content-Type", "").startswith("text/plain")
    return _judge(path, response.status, body if is_page else PAGE_END, time.monotonic() - start, late_s)


def _judge(path: str, status: int, body: bytes, seconds: float, late_s: float) -> Outcome:
    if status != http.client.OK:
        return Outcome("status", path, seconds, f"status {status}")
    if not body.rstrip().endswith(PAGE_END):
        return Outcome("truncated", path, seconds, f"{len(body)} bytes without the page's end")
    return Outcome(ANSWERED if seconds <= late_s else "late", path, seconds)


@dataclass
class Traffic:
    """Sends ``rate`` requests a second to ``host:port`` from ``start()`` to ``stop()``.

    ``path_of`` gives the path of the n-th request, from 0; a page that takes more than ``late_s`` seconds has failed.
    """

    host: str
    port: int
    path_of: Callable[[int], str]
    rate: float = 10.0
    late_s: float = 15.0
    _outcomes: list[Outcome] = field(default_factory=list)
    _sent: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send, in threads of its own."""
        self._thread = threading.Thread(target=self._send_all, name="traffic", daemon=True)
        self._thread.start()

    def stop(self) -> Count:
        """Send no more, wait for the answers that are due, and return the final count."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return self.count()

    def count(self) -> Count:
        """Return the count so far."""
        outcomes = list(self._outcomes)
        times = sorted(outcome.seconds * 1000 for outcome in outcomes if outcome.kind == ANSWERED)
        failed = [outcome for outcome in outcomes if outcome.kind != ANSWERED]
        return Count(
            sent=self._sent,
            answered=len(times),
            failed=dict(Counter(outcome.kind for outcome in failed)),
            median_ms=times[len(times) // 2] if times else None,
            slowest_ms=times[-1] if times else None,
            examples=tuple(f"{outcome.path}: {outcome.kind} {outcome.detail}" for outcome in failed[:5]),
        )

    def _send_all(self) -> None:
        begin = time.monotonic()
        with ThreadPoolExecutor(MAX_WAITING, thread_name_prefix="traffic") as pool:
            # wait() is the pace: it returns True, at once, when stop() was called.
            while not self._stop.wait(max(0.0, begin + self._sent / self.rate - time.monotonic())):
                pool.submit(self._send_one, self.path_of(self._sent))
                self._sent += 1

    def _send_one(self, path: str) -> None:
        self._outcomes.append(send(self.host, self.port, path, self.late_s))


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_in_use(port: int) -> bool:
    """Return whether something listens on ``port`` of 127.0.0.1 already."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
