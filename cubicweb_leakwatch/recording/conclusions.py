"""What was concluded last, for whoever shows it: pages and commands read it here, where no NumPy and no database is.

Imports nothing of CubicWeb. The findings lie in the runtime directory, written by the looping task.
"""

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.apart import DAMAGED, run_apart, write_private
from cubicweb_leakwatch.watch.finding import Finding

FILE = "findings.json"
JUDGE_TIMEOUT_S = 120.0
STALE_S = 3600.0
"""Findings older than this are of another time: whoever wrote them has stopped."""

OVERDUE_S, OVERDUE_INTERVALS = 300.0, 3
"""A conclusion is overdue after so many seconds, and so many intervals: a round on a busy host takes its time."""


def conclude_apart(
    samples: Sequence[Mapping[str, Any]], limits: Mapping[str, int | None], events: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Return a finding (as documented) for each process in ``samples``, worked out in a process of its own.

    ``limits`` are bytes by process, ``events`` what happened (``process``, ``t``, ``kind``, ``text``).
    Raises ``LeakwatchError`` when that fails.
    """
    found: list[dict[str, Any]] = run_apart(
        "cubicweb_leakwatch.recording.judge",
        kind=list,
        what="the conclusion",
        time_limit_s=JUDGE_TIMEOUT_S,
        given=json.dumps({"samples": list(samples), "limits": dict(limits), "events": list(events)}),
    )
    return found


def write_findings(directory: Path, findings: Sequence[Mapping[str, Any]]) -> None:
    """Put the findings of all processes where pages and commands find them."""
    write_private(directory / FILE, json.dumps({"t": time.time(), "findings": list(findings)}))


def read_findings(directory: Path) -> list[dict[str, Any]]:
    """Return the last findings, at most an hour old; an empty list where there are none."""
    try:
        t, findings = _read(directory)
        return findings if time.time() - t <= STALE_S else []
    except DAMAGED:
        return []


def overdue_since(directory: Path, interval_s: float | None) -> float | None:
    """Return when the last conclusion was drawn (Unix seconds), where the next one is long overdue; else None.

    One is drawn after each recording, every ``interval_s`` seconds; where recording is off, or none was ever drawn,
    none is overdue.
    """
    try:
        t, _findings = _read(directory)
    except DAMAGED:
        return None
    overdue = interval_s is not None and time.time() - t > max(OVERDUE_S, OVERDUE_INTERVALS * interval_s)
    return t if overdue else None


def _read(directory: Path) -> tuple[float, list[dict[str, Any]]]:
    document = json.loads((directory / FILE).read_text(encoding="utf-8"))
    return float(document["t"]), list(document["findings"])


def finding_of(findings: Sequence[Mapping[str, Any]], process: str) -> Finding:
    """Return what was concluded about a slot, as far as a line or a row shows it; else that there is no conclusion."""
    for found in findings:
        if found.get("process") == process:
            return Finding.from_json(found)
    return Finding(process, "not-enough-data")


def _unix(text: str | None) -> float | None:
    return None if text is None else datetime.datetime.fromisoformat(text).timestamp()
