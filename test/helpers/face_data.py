"""Data as the probes and the services give it, for the tests of the faces."""

import ast
import re
from pathlib import Path
from typing import Any

import cubicweb_leakwatch

PACKAGE = Path(cubicweb_leakwatch.__file__).parent

HOSTILE = '<script>alert("x")</script>\x1b[31m\u202e&amp;\n\x00'
"""A type name whose author means harm: markup, a terminal escape, a direction override, control characters."""

HANDLER = "mercurial.url.httphandler"


def process(name: str = "web-1", **values: Any) -> dict[str, Any]:
    """Return a row of ``leak-status``."""
    row = {
        "name": name,
        "pid": 4242,
        "host": "here",
        "role": "web",
        "state": "serving",
        "started_at": "2026-01-02T03:04:05Z",
        "age_s": 3700.0,
        "generation": 2,
        "requests": 1234,
        "in_flight": 1,
        "rss": 120 * 1024**2,
        "uss": 100 * 1024**2,
        "pss": 110 * 1024**2,
        "limit": 400 * 1024**2,
        "gc_objects": 250000,
        "garbage": 0,
        "threads": 6,
        "fds": 30,
        "verdict": "steady",
        "leak": False,
        "rate_bytes_per_h": 1024.0,
        "seconds_to_limit": None,
    }
    return {**row, **values}


def status(*processes: dict[str, Any], verdict: str = "no leak seen") -> dict[str, Any]:
    """Return the data of ``leak-status``."""
    return {"verdict": verdict, "processes": list(processes or (process(),))}


def cycle(**values: Any) -> dict[str, Any]:
    """Return one shape of cycles of ``leak-gc``."""
    shape = {
        "count": 2000,
        "objects": 4000,
        "bytes": 2_048_000,
        "reachable": True,
        "finalizers": [HANDLER],
        "types": [{"type": HANDLER, "count": 2000}, {"type": "urllib.request.OpenerDirector", "count": 2000}],
        "path": [HANDLER, ".parent", "urllib.request.OpenerDirector", "['http']", HANDLER],
        "holder": "cubicweb_leakdemo.polling.POLLER.handlers[…]",
    }
    return {**shape, **values}


def report(name: str = "scheduler", **values: Any) -> dict[str, Any]:
    """Return one item of ``leak-gc``."""
    item = {
        "process": {"name": name, "pid": 77, "role": "scheduler"},
        "taken_at": "2026-01-02T03:04:05Z",
        "pause_ms": 3.25,
        "elapsed_ms": 1500.0,
        "partial": None,
        "memory": {
            "rss": 120 * 1024**2,
            "uss": 100 * 1024**2,
            "python_blocks": 800000,
            "malloc_used": 90 * 1024**2,
            "malloc_free": None,
        },
        "garbage": {"count": 2, "bytes": 2048, "types": [{"type": "pkg.Stuck", "count": 2, "bytes": 2048}]},
        "types": [
            {"type": "builtins.dict", "count": 40000, "bytes": 4_000_000, "delta": 1500},
            {"type": HANDLER, "count": 2000, "bytes": None, "delta": None},
        ],
        "growth_since": "2026-01-02T02:04:05Z",
        "cycles": [cycle()],
        "roles": {
            "request": 3,
            "connection_open": 1,
            "connection_closed": 9,
            "entity": {"CWUser": 4},
            "rset": 5,
            "rql": 6,
            "form": None,
            "session": 2,
        },
    }
    return {**item, **values}


def sample(t: float, rss: int = 100 * 1024**2, process: str = "web-1", **values: Any) -> dict[str, Any]:
    """Return a recorded sample."""
    return {"t": t, "rss": rss, "process": process, "host": "here", "pid": 4242, **values}


def restart(**values: Any) -> dict[str, Any]:
    """Return a record of ``leak-restart``."""
    record = {
        "id": "1-1",
        "process": "web-1",
        "reason": "memory limit",
        "requested_at": "2026-01-02T03:00:00Z",
        "ready_at": "2026-01-02T03:00:02Z",
        "drained_at": "2026-01-02T03:00:03Z",
        "exited_at": "2026-01-02T03:00:03Z",
        "in_flight_at_drain": 2,
        "accepted": 100,
        "answered": 100,
        "client_left": 0,
        "abandoned": 0,
        "rss_before": 410 * 1024**2,
        "rss_after": 90 * 1024**2,
        "old_pid": 4242,
        "new_pid": 4300,
        "outcome": "replaced",
        "stage": "done",
    }
    return {**record, **values}


def finding(**values: Any) -> dict[str, Any]:
    """Return a recorded finding."""
    record = {
        "host": "here",
        "process": "web-1",
        "kind": "python-objects",
        "leak": True,
        "since": "2026-01-02T02:00:00Z",
        "rate_bytes_per_h": 30.0 * 1024**2,
        "rate_low": 20.0 * 1024**2,
        "rate_high": 40.0 * 1024**2,
        "bytes_per_request": 2048.0,
        "confidence": 0.97,
        "culprits": [{"type": HANDLER, "objects_per_h": 720.0, "bytes_per_h": 1e6}],
        "holder": "cubicweb_leakdemo.polling.POLLER.handlers[…]",
        "views": [{"view": "changeset", "bytes_per_request": 4096.0, "share": 0.9, "low": 4000.0, "high": 4200.0}],
        "ceiling": None,
        "seconds_to_limit": 7200.0,
        "advice": "python-objects leak. Ask leak-holders who keeps them.",
        "evidence": {
            "why": "objects tracked by the collector grow with the memory",
            "samples": 60,
            "lives": 1,
            "meters": {"rss": {"rate_per_h": 3e7, "unit": "bytes", "growing": 0.99, "level": 1e8}},
            "notes": ["requests are not recorded: growth is laid to time alone"],
        },
        "opened_at": "2026-01-02T03:00:00Z",
        "closed_at": None,
    }
    return {**record, **values}


def catalogue(lang: str) -> dict[tuple[str, str], str]:
    """Return a catalogue by context and message."""
    text = (PACKAGE / "i18n" / f"{lang}.po").read_text(encoding="utf-8")
    found = {}
    for block in re.split(r"\n{2,}", text):
        fields = {
            key: ast.literal_eval(f"({value})")
            for key, value in re.findall(r'^(msgctxt|msgid|msgstr) ((?:".*"\n?)+)', block, re.MULTILINE)
        }
        if fields.get("msgid"):
            found[fields.get("msgctxt", ""), fields["msgid"]] = fields["msgstr"]
    return found
