"""The sentence an operator reads and what it rests on; nothing is decided here."""

from typing import Any

from cubicweb_leakwatch.watch.finding import Finding, Kind, iso_utc
from cubicweb_leakwatch.watch.meters import IN_USE, Meters
from cubicweb_leakwatch.watch.units import format_bytes, format_duration, format_rate

_COUNTED = {"fds": "file descriptors", "threads": "threads", "garbage": "uncollectable objects"}
_BYTES = ("rss", "held", "malloc_used", "malloc_free")
_NEXT: dict[Kind, str] = {
    "steady": "Nothing to do.",
    "warming-up": "Wait: caches are still filling.",
    "plateau": "No leak; see that the ceiling fits under the memory limit.",
    "python-objects": "Ask leak-holders who keeps them.",
    "uncollectable": "Ask leak-gc for the objects no one reaches: a reference count is too high, or a C type has no"
    " tp_clear.",
    "python-memory": "Not objects the collector tracks but strings, bytes or blocks of theirs: leak-trace says which"
    " lines allocate them.",
    "native": "Not Python objects: look for a C extension with leak-trace --native.",
    "fragmentation": "No leak: memory that was freed is kept by the allocators; malloc_trim or fewer malloc arenas"
    " (MALLOC_ARENA_MAX) give some back, a restart all.",
    "file-descriptors": "Files or sockets are opened and not closed: compare the entries of /proc/PID/fd.",
    "threads": "Threads are started and do not end: leak-holders threading.Thread says who keeps them.",
    "not-enough-data": "Wait for more samples.",
}


def advice_for(finding: Finding) -> str:
    """Return one sentence of what happens and one of what to do next."""
    return f"{_what(finding)} {_NEXT[finding.kind]}"


def _what(finding: Finding) -> str:
    """Say kind, rate, culprit, view and the time left."""
    if finding.kind == "plateau" and finding.ceiling is not None:
        return f"Memory grew and ends at about {format_bytes(finding.ceiling)}."
    if not finding.leak and finding.kind != "fragmentation":
        return {"steady": "Memory is steady.", "warming-up": "Memory grows ever more slowly."}.get(
            finding.kind, "There are too few samples to say anything."
        )
    parts = [f"{finding.kind} {'leak' if finding.leak else 'grows'}: {format_rate(finding.rate_bytes_per_h)}"]
    if finding.culprits:
        parts.append(f"most likely {finding.culprits[0].type}")
    if finding.views:
        view = finding.views[0]
        parts.append(
            f"{view.view} keeps {format_bytes(view.bytes_per_request)} a request"
            f" ({format_bytes(view.low)} to {format_bytes(view.high)})"
        )
    if finding.seconds_to_limit is not None:
        parts.append(f"the limit is reached in {format_duration(finding.seconds_to_limit)}")
    return ", ".join(parts) + "."


def evidence_of(meters: Meters, explained_by: str, why: str) -> dict[str, Any]:
    """Return what the conclusion rests on: every meter's own rate and probability of growing on, and the limits."""
    by_name = meters.by_name
    rates = {
        name: {
            "rate_per_h": _rounded(meter.trend.rate * 3600),
            "unit": "bytes" if name in _BYTES else _COUNTED.get(name, "objects" if name == "gc_objects" else "blocks"),
            "growing": round(meter.trend.growing, 3),
            "level": _rounded(meter.level),
        }
        for name, meter in by_name.items()
    }
    return {
        "why": why,
        "meter": explained_by,
        "samples": len(meters.history.samples),
        "lives": int(meters.history.life[-1]) + 1,
        "from": iso_utc(float(meters.history.t[0])),
        "to": iso_utc(float(meters.history.t[-1])),
        "meters": rates,
        "ruled_out": [
            name for name in (*IN_USE, "fds", "threads", "garbage") if name in by_name and not by_name[name].grows
        ],
        "notes": _notes(meters),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _notes(meters: Meters) -> list[str]:
    """Return what limits the conclusion: meters that mean something else here, or are not there."""
    notes = []
    known = meters.by_name
    if not meters.counts_blocks and any(sample.python_blocks is not None for sample in meters.history.samples):
        notes.append("PYTHONMALLOC=malloc or another allocator: Python's memory shows in malloc's figures")
    missing = [name for name in IN_USE if name not in known and not (name == "python_blocks" and notes)]
    if missing:
        notes.append(f"not recorded: {', '.join(missing)}")
    free = known.get("malloc_free")
    if free is not None and free.level > 0.1 * known["rss"].level:
        notes.append(f"{format_bytes(free.level)} are free inside malloc: malloc_trim would give most of it back")
    if meters.history.requests is None:
        notes.append("requests are not recorded: growth is laid to time alone")
    return notes
