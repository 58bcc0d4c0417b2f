"""Who looked into a heap, who had a process replaced: in the log ``leakwatch.audit``, and in a file of the instance.

Standard library alone. The file lies in the runtime directory, for the instance's user alone, one JSON object a line.
"""

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from cubicweb_leakwatch.errors import LeakwatchError

logger = logging.getLogger("leakwatch.audit")

FILE = "audit.jsonl"
MAX_BYTES = 1024 * 1024
"""Then the file becomes ``audit.jsonl.1``, in the place of an earlier one."""

LOOKS_A_MINUTE = 12
"""Live looks that the pages of an instance may take: each costs a copy of a process and seconds of a core."""

LOOK = "look"


def note(directory: Path, event: str, **fields: object) -> None:
    """Write down what happened; a disk that is full keeps nobody from working, and the log still tells it."""
    logger.info("%s %s", event, " ".join(f"{name}={value!r}" for name, value in fields.items()))
    line = json.dumps({"t": round(time.time(), 3), "event": event, **fields}, default=str)
    with contextlib.suppress(OSError), _open(directory) as descriptor:
        os.write(descriptor, line.encode() + b"\n")
        if os.fstat(descriptor).st_size > MAX_BYTES:
            (directory / FILE).replace(directory / f"{FILE}.1")


def admit_look(directory: Path, **fields: object) -> None:
    """Note a look, or refuse it: raises ``LeakwatchError`` (``too-many-looks``) after twelve within a minute."""
    now = time.time()
    recent = [t for t in _looks(directory) if 0 <= now - t < 60.0]
    if len(recent) >= LOOKS_A_MINUTE:
        wait_s = 60.0 - (now - recent[-LOOKS_A_MINUTE])
        raise LeakwatchError(
            f"{len(recent)} looks were taken within a minute, each of which copies a process",
            f"ask again in {wait_s:.0f} s",
            "too-many-looks",
        )
    note(directory, LOOK, **fields)


def _looks(directory: Path) -> list[float]:
    """Return when the last looks were taken; the end of the file is enough."""
    try:
        with (directory / FILE).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 65536))
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
            entry = json.loads(line)
            if entry["event"] == LOOK:
                found.append(float(entry["t"]))
    return found


@contextlib.contextmanager
def _open(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
