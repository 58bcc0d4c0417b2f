"""What the last round of the looping task took, kept beside the probes' sockets: pages tell what watching costs.

Imports nothing of CubicWeb.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cubicweb_leakwatch.apart import DAMAGED, write_private

FILE = "cost.json"
NAMES = ("round_cpu_ms", "round_elapsed_ms")


@contextmanager
def noted(directory: Path) -> Iterator[None]:
    """Note how long the block took, and how much processor time of this thread."""
    cpu, started = time.thread_time(), time.monotonic()
    try:
        yield
    finally:
        took = ((time.thread_time() - cpu) * 1000, (time.monotonic() - started) * 1000)
        with suppress(OSError):
            write_private(directory / FILE, json.dumps(dict(zip(NAMES, took, strict=True))))


def read(directory: Path) -> dict[str, float | None]:
    """Return processor time and time of the last round in milliseconds, by ``NAMES``; None where it is unknown."""
    try:
        document = json.loads((directory / FILE).read_text(encoding="utf-8"))
        return {name: float(document[name]) for name in NAMES}
    except DAMAGED:
        return dict.fromkeys(NAMES)
