"""Figures for the tests of the metrics, built in one line."""

from typing import Any

from cubicweb_leakwatch.metrics.gather import Figures

MIB = 1024**2


def row(name: str = "web-1", **values: Any) -> dict[str, Any]:
    """Return what is gathered of one process."""
    known = {
        "instance": "site",
        "name": name,
        "pid": 4711,
        "host": "here",
        "role": "scheduler" if name == "scheduler" else "web",
        "state": "serving",
        "started_at": "2026-11-22T12:00:00.500Z",
        "age_s": 100.0,
        "generation": 2,
        "requests": 1234,
        "in_flight": 1,
        "rss": 120 * MIB,
        "uss": 100 * MIB,
        "pss": 110 * MIB,
        "limit": 400 * MIB,
        "gc_objects": 250000,
        "garbage": 0,
        "threads": 6,
        "fds": 30,
        "python_blocks": 900000,
        "malloc_used": 80 * MIB,
        "malloc_free": 5 * MIB,
    }
    return {**known, **values}


FINDING = {
    "process": "web-1",
    "kind": "python-objects",
    "leak": True,
    "rate_bytes_per_h": 3600.0,
    "seconds_to_limit": 90.0,
}
LAUNCHER = {
    "pid": 4000,
    "started_at": "2026-11-22T11:59:59Z",
    "workers_wanted": 2,
    "flags": ["web-2 fails to start"],
    "restarts": {"web-1": {"replaced": 3, "successor-failed": 1}},
    "rss": 10 * MIB,
}


def figures(*rows: dict[str, Any], **values: Any) -> Figures:
    """Return figures of an instance where everything is known."""
    known: dict[str, Any] = {
        "processes": rows or (row(), row("scheduler", limit=None, requests=None, in_flight=None)),
        "silent": 1,
        "findings": {"web-1": FINDING},
        "concluded_at": 1795348800.25,
        "available": 2**34,
        "launcher": LAUNCHER,
    }
    return Figures("site", **{**known, **values})
