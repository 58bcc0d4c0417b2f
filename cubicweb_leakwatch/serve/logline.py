"""One log line an event, on standard error: time, event, then key=value."""

from __future__ import annotations

import sys
import time


def iso(seconds: float | None) -> str | None:
    """Return Unix time as ISO 8601 UTC with milliseconds; None stays None."""
    if seconds is None:
        return None
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1000):03d}Z"


def log(event: str, **fields: object) -> None:
    """Write one event; a log that cannot be written must not end the launcher (disk full, pipe closed)."""
    pairs = " ".join(f"{name}={_shown(value)}" for name, value in fields.items() if value is not None)
    try:
        sys.stderr.write(f"{iso(time.time())} leakwatch event={event} {pairs}".rstrip() + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def _shown(value: object) -> str:
    text = str(value).replace("\n", " ")
    return '"' + text.replace('"', "'") + '"' if " " in text else text
