"""What a conclusion rests on, for whoever asks why: each meter's own rate, what was ruled out, and the limits."""

from typing import Any

from cubicweb_leakwatch.watch.finding import iso_utc
from cubicweb_leakwatch.watch.meters import IN_USE, Meters
from cubicweb_leakwatch.watch.sentences import Sentence, _, made_of

_COUNTED = {"fds": "file descriptors", "threads": "threads", "garbage": "uncollectable objects"}
_BYTES = ("rss", "held", "malloc_used", "malloc_free")


def evidence_of(meters: Meters, explained_by: str, why: str) -> dict[str, Any]:
    """Return what the conclusion rests on: every meter's own rate and probability of growing on, and the limits."""
    by_name, notes = meters.by_name, _notes(meters)
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
        "notes": notes,
        "messages": made_of(why, *notes),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _notes(meters: Meters) -> list[str]:
    """Return what limits the conclusion: meters that mean something else here, or are not there."""
    notes: list[str] = []
    known = meters.by_name
    if not meters.counts_blocks and any(sample.python_blocks is not None for sample in meters.history.samples):
        notes.append(_("PYTHONMALLOC=malloc or another allocator: Python's memory shows in malloc's figures"))
    if not meters.counts_malloc:
        notes.append(_("glibc's malloc is not in use (jemalloc, tcmalloc): what the allocator holds is not known"))
    missing = [name for name in IN_USE if name not in known and not (name == "python_blocks" and notes)]
    if missing:
        notes.append(Sentence(_("not recorded: %(meters)s"), meters=", ".join(missing)))
    free = known.get("malloc_free")
    if free is not None and free.level > 0.1 * known["rss"].level:
        told = _("%(free_bytes)s are free inside malloc: malloc_trim would give most of it back")
        notes.append(Sentence(told, free_bytes=float(free.level)))
    if meters.history.requests is None:
        notes.append(_("requests are not recorded: growth is laid to time alone"))
    return notes
