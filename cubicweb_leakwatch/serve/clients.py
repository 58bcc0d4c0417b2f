"""The clients of a load: each sends one request in its own manner and judges the answer without mercy.

Refused, reset, empty, truncated, not 200, or late: failed. Nothing is ever retried.
"""

import asyncio
import time
from dataclasses import dataclass

LATE_S = 5.0
"""An answer that takes longer has failed, whatever it says."""

UPLOAD_BYTES = 20_000

Address = tuple[str, int] | str
"""(host, port), or the path of a Unix socket."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Outcome:
    """One request: its kind, when it was due (monotonic seconds), how long it took, and why it failed, if it did."""

    kind: str
    due: float
    seconds: float
    failed: str | None = None


class Failed(Exception):
    """The answer was not what a client may expect."""


async def connect(address: Address) -> Streams:
    """Open a connection."""
    if isinstance(address, str):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*address)


def head(method: str, path: str, *lines: str) -> bytes:
    """Return a request head."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", "")).encode()


async def read_answer(reader: asyncio.StreamReader) -> bool:
    """Read one answer to its last byte; return whether the server keeps the connection. Raises Failed."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise Failed("truncated" if error.partial else "empty") from None
    status, headers = _parse(raw)
    if status != 200:
        raise Failed(f"status {status}")
    try:
        await _read_body(reader, headers)
    except asyncio.IncompleteReadError:
        raise Failed("truncated") from None
    return headers.get("connection", "").lower() != "close"


def _parse(raw: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = raw.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return int(first.split()[1]), {name.strip().lower(): value.strip() for name, _colon, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> None:
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).strip() or b"0", 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        await reader.read()


async def ask_new(address: Address, path: str) -> None:
    """A new connection, one request."""
    await _exchange(address, [(0.0, head("GET", path, "Connection: close"))])


async def ask_lazy(address: Address, path: str) -> None:
    """Connect, wait 1.5 s, then ask."""
    await _exchange(address, [(1.5, head("GET", path, "Connection: close"))])


async def ask_split(address: Address, path: str) -> None:
    """Send half a head, wait 1 s, send the rest."""
    request = head("GET", path, "Connection: close")
    await _exchange(address, [(0.0, request[:20]), (1.0, request[20:])])


async def ask_upload(address: Address, path: str) -> None:
    """Send a body in ten pieces over a second."""
    start = head("POST", path, "Connection: close", f"Content-Length: {UPLOAD_BYTES}")
    piece = b"u" * (UPLOAD_BYTES // 10)
    await _exchange(address, [(0.0, start), *[(0.1, piece)] * 10])


async def _exchange(address: Address, pieces: list[tuple[float, bytes]]) -> None:
    reader, writer = await connect(address)
    try:
        for pause_s, piece in pieces:
            await asyncio.sleep(pause_s)
            writer.write(piece)
            await writer.drain()
        await read_answer(reader)
    finally:
        writer.close()


MANNERS = {"new": ask_new, "slow": ask_new, "lazy": ask_lazy, "split": ask_split, "upload": ask_upload}
OWN_PAUSE_S = {"lazy": 1.5, "split": 1.0, "upload": 1.0}
"""What a manner waits by itself: no fault of the server, so not part of its time."""


async def judge(kind: str, address: Address, path: str, due: float) -> Outcome:
    """Send one request of a kind and return its outcome; never raises."""
    pause_s = OWN_PAUSE_S.get(kind, 0.0)
    try:
        async with asyncio.timeout(LATE_S + pause_s + 5.0):
            await MANNERS[kind](address, path)
        return judged(kind, due, time.monotonic() - due - pause_s)
    except (OSError, Failed, TimeoutError, ValueError, IndexError) as error:
        return Outcome(kind, due, time.monotonic() - due - pause_s, reason(error))


def judged(kind: str, due: float, seconds: float) -> Outcome:
    """Return the outcome of a complete answer: failed only when late."""
    return Outcome(kind, due, max(0.0, seconds), "late" if seconds > LATE_S else None)


def reason(error: Exception) -> str:
    """Return in a word why a request failed."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return "reset"
    if isinstance(error, TimeoutError):
        return "late"
    return str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"


class KeptAlive:
    """A client that keeps its connection, as browsers do: it looks whether the server has closed before it asks."""

    def __init__(self, address: Address, path: str) -> None:
        self.address, self.path = address, path
        self._streams: Streams | None = None

    async def ask(self, due: float) -> Outcome:
        """Send one request, on the kept connection when there is one."""
        try:
            async with asyncio.timeout(LATE_S + 5.0):
                await self._ask()
            return judged("keep-alive", due, time.monotonic() - due)
        except (OSError, Failed, TimeoutError, ValueError, IndexError) as error:
            self.close()
            return Outcome("keep-alive", due, time.monotonic() - due, reason(error))

    async def _ask(self) -> None:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()
        if self._streams is None:
            self._streams = await connect(self.address)
        reader, writer = self._streams
        writer.write(head("GET", self.path))
        await writer.drain()
        if not await read_answer(reader):
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
