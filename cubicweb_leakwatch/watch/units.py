"""Sizes and durations as people write and read them: the one place for units.

Bytes and seconds are stored and sent; MiB (1024²) and minutes are shown. Nothing but the standard library is imported.
"""

import itertools
import math
import re

from cubicweb_leakwatch.errors import ConfigurationError

KIB = 1024
MIB = 1024**2
GIB = 1024**3
TIB = 1024**4

MOST_BYTES = 2**63
"""More is beyond what a kernel counts."""

MOST_SECONDS = 1000 * 365 * 86400.0
"""More is beyond what a calendar counts."""

# As systemd and the kernel read them, a bare letter is a power of 1024; with a B alone it is a power of 1000.
_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "k": KIB,
    "kib": KIB,
    "kb": 1000,
    "m": MIB,
    "mib": MIB,
    "mb": 1000**2,
    "g": GIB,
    "gib": GIB,
    "gb": 1000**3,
    "t": TIB,
    "tib": TIB,
    "tb": 1000**4,
}
_DURATION_UNITS = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 7 * 86400.0,
    "y": 365 * 86400.0,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|sec|min|s|m|h|d|w|y)\s*", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` means: ``250MiB``, ``90MB`` (powers of 1000), ``1.5G`` (of 1024), ``4096``.

    Raises ConfigurationError when it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ConfigurationError(f"{text!r} is not a size", "write for example 250MiB, 1.5GiB or a number of bytes")
    size = float(match[1]) * factor
    if size > MOST_BYTES:
        raise ConfigurationError(f"{text!r} is more than any memory", "write for example 250MiB or 1.5GiB")
    return round(size)


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` means: ``30s``, ``5min``, ``1h30min``, ``7d``, ``2y``; a bare number is seconds.

    Raises ConfigurationError when it is no duration.
    """
    stripped = text.strip()
    parts = list(_DURATION_PART.finditer(stripped))
    if re.fullmatch(r"\d+(\.\d+)?", stripped):
        seconds = float(stripped)
    elif parts and "".join(part[0] for part in parts) == stripped:
        seconds = sum(float(part[1]) * _DURATION_UNITS[part[2].lower()] for part in parts)
    else:
        raise ConfigurationError(f"{text!r} is not a duration", "write for example 30s, 5min, 12h or 7d")
    if seconds > MOST_SECONDS:
        raise ConfigurationError(f"{text!r} is longer than 1000 years", "write for example 30s, 5min, 12h or 7d")
    return seconds


def format_bytes(size: float | None) -> str:
    """Return ``size`` bytes for people: ``n/a``, ``512 B``, ``48.0 KiB``, ``1.5 MiB``; the sign is kept."""
    if size is None or not math.isfinite(size):
        return "n/a"
    for unit, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        # 1023.95 KiB would round to "1024.0 KiB": the next unit takes over from there
        if abs(size) >= factor * (1 - 1 / 20480):
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} B"


def format_rate(bytes_per_hour: float | None) -> str:
    """Return a growth for people, per hour or, when slow, per day: ``+3.2 MiB/h``, ``-1.0 KiB/day``, ``n/a``."""
    if bytes_per_hour is None or not math.isfinite(bytes_per_hour):
        return "n/a"
    slow = abs(bytes_per_hour) < MIB / 10
    amount, unit = (bytes_per_hour * 24, "day") if slow else (bytes_per_hour, "h")
    return f"{'+' if amount > 0 else ''}{format_bytes(amount)}/{unit}"


def format_duration(seconds: float | None) -> str:
    """Return ``seconds`` for people in at most two units: ``n/a``, ``250 ms``, ``45 s``, ``2 h 5 min``, ``3 d``."""
    if seconds is None or not math.isfinite(seconds):
        return "n/a"
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    steps = [("y", 365 * 86400), ("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    whole = round(seconds)
    for (unit, length), (next_unit, next_length) in itertools.pairwise(steps):
        if whole >= length:
            rest = (whole % length) // next_length
            return f"{whole // length} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{whole} s"
