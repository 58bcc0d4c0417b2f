"""Moments in time as one types them: a time, or how long ago."""

import argparse
import time
from datetime import datetime

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.watch.units import parse_duration


def moment(text: str) -> float:
    """Read a moment, in Unix seconds: ``2026-05-01``, ``2026-05-01T12:00`` (local time), ``24h`` (ago), ``now``.

    Nothing was recorded before 1970.
    """
    if text == "now":
        return time.time()
    try:
        return max(0.0, time.time() - parse_duration(text))
    except LeakwatchError:
        pass
    try:
        return max(0.0, datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no moment; write for example 24h (ago), 2026-05-01 or 2026-05-01T12:00"
        ) from None
