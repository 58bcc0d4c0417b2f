"""Reading long stretches of history at the resolution of a chart: the database averages, a month costs what a day does.

This is SQL below CubicWeb's permissions: callers have checked that the reader is a manager.
"""

import json
from collections.abc import Sequence
from typing import Any

from cubicweb_leakwatch.recording.history import named
from cubicweb_leakwatch.recording.records import NUMBERS

Slices = dict[tuple[int, int], dict[str, Any]]
NARROWEST_S = 1.0
INDEXES = (
    "CREATE INDEX IF NOT EXISTS leakwatch_chart ON cw_memorysnapshot (cw_snapshot_of, cw_t, cw_rss, cw_merged, cw_eid)",
    "CREATE INDEX IF NOT EXISTS leakwatch_peaks ON cw_memorysnapshot (cw_t, cw_snapshot_of)"
    " WHERE cw_spread IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS leakwatch_types ON cw_memorysnapshot (cw_snapshot_of, cw_t, cw_eid)"
    " WHERE cw_types IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS leakwatch_notes ON cw_memorysnapshot (cw_t, cw_snapshot_of) WHERE cw_note IS NOT NULL",
)
"""What makes a chart of a month as quick as one of a day: its columns by themselves, and the few rows with more."""

OTHERS = tuple(name for name in NUMBERS if name != "rss")
"""What a chart does not draw: averaging these as well would take five times as long."""

# Whole milliseconds first: PostgreSQL's CAST rounds and SQLite's cuts, but both divide whole numbers alike.
_SLICE = "CAST((s.cw_t - %(since)s) * 1000 AS BIGINT) / %(width_ms)s"
_FROM = "FROM cw_memorysnapshot s WHERE s.cw_t >= %(since)s AND s.cw_t <= %(until)s"
_OF_ANY = " AND s.cw_snapshot_of IN (SELECT cw_eid FROM cw_leakwatchprocess)"
_BY_NAME = {"pid": "cw_pid", "host": "cw_host", "name": "cw_name"}


def read_coarse_samples(
    cnx: Any, since: float, until: float, points: int, *, process: str | None = None, others: Sequence[str] = OTHERS
) -> list[dict[str, Any]]:
    """Return about ``points`` samples of each process from ``since`` until ``until`` (Unix seconds), oldest first.

    Each stands for what was recorded in its slice of time. ``rss`` is the mean; where there are several snapshots,
    ``merged`` tells how many and ``spread`` has its lowest and highest, peaks of what was thinned before included. The
    other numbers, those named in ``others``, are of the slice's last snapshot; of several notes one is told. Types and
    views are left out, and so is what is not known.
    """
    width_s = max((until - since) / points, NARROWEST_S)
    slices = read_slices(cnx, since, until, width_s, process=process, others=others)
    return [told(row) for row in sorted(slices.values(), key=lambda row: row["t"])]


def read_slices(
    cnx: Any, since: float, until: float, width_s: float, *, process: str | None = None, others: Sequence[str] = ()
) -> Slices:
    """Return the slices of ``width_s`` seconds, by the process's eid and how many slices after ``since`` it is."""
    asked = {"since": since, "until": until, "width_ms": round(width_s * 1000), **named(process)}
    slices = {row["key"]: row for row in _slices(cnx, asked, others)}
    for key, note in _notes(cnx, asked):
        if key in slices:  # a snapshot may have come between two queries
            slices[key]["note"] = note
    for key, (low, high) in _peaks(cnx, asked):
        if key in slices:
            known = slices[key]["spread"]["rss"]
            slices[key]["spread"]["rss"] = [min(low, known[0]), max(high, known[1])]
    return slices


def _slices(cnx: Any, asked: dict[str, Any], numbers: Sequence[str]) -> list[dict[str, Any]]:
    """Group by what the index ``leakwatch_chart`` holds, ordered by process; the snapshots themselves are wide."""
    grouped = (
        f"SELECT s.cw_snapshot_of AS process, {_SLICE} AS slice, MAX(s.cw_eid) AS last, SUM(s.cw_merged) AS merged,"
        " SUM(s.cw_rss * s.cw_merged) AS rss, MIN(s.cw_rss) AS low, MAX(s.cw_rss) AS high"
        f" {_FROM}{_restriction(asked) or _OF_ANY} GROUP BY 1, 2"
    )
    others = "".join(f", d.cw_{name}" for name in numbers)
    cursor = cnx.system_sql(
        "SELECT g.process, g.slice, p.cw_host, p.cw_name, p.cw_pid, d.cw_t, g.merged, g.rss, g.low, g.high"
        f"{others} FROM ({grouped}) g JOIN cw_memorysnapshot d ON d.cw_eid = g.last"
        " JOIN cw_leakwatchprocess p ON p.cw_eid = g.process",
        asked,
    )
    return [_slice(row, numbers) for row in cursor.fetchall()]


def _slice(row: tuple[Any, ...], numbers: Sequence[str]) -> dict[str, Any]:
    process, number, host, name, pid, t, merged, total, low, high, *others = row
    return {
        "key": (process, int(number)),
        "host": host,
        "process": name,
        "pid": pid,
        "t": t,
        "merged": int(merged),
        "note": None,
        "rss": round(total / merged),
        "spread": {"rss": [int(low), int(high)]},
        **dict(zip(numbers, others, strict=True)),
    }


def _peaks(cnx: Any, asked: dict[str, Any]) -> list[tuple[Any, list[int]]]:
    """Return lowest and highest RSS of each snapshot that was merged by thinning: a few a day."""
    cursor = cnx.system_sql(
        f"SELECT s.cw_snapshot_of, {_SLICE}, s.cw_spread {_FROM}{_restriction(asked)} AND s.cw_spread IS NOT NULL",
        asked,
    )
    return [((process, int(number)), json.loads(spread)["rss"]) for process, number, spread in cursor.fetchall()]


def _notes(cnx: Any, asked: dict[str, Any]) -> list[tuple[Any, str]]:
    """Return the notes, few, by where they belong."""
    cursor = cnx.system_sql(
        f"SELECT s.cw_snapshot_of, {_SLICE}, s.cw_note {_FROM}{_restriction(asked)} AND s.cw_note IS NOT NULL", asked
    )
    return [((process, int(number)), note) for process, number, note in cursor.fetchall()]


def _restriction(asked: dict[str, Any]) -> str:
    """Return the condition that keeps to the process that was named, if one was."""
    wanted = [f"{column} = %({key})s" for key, column in _BY_NAME.items() if key in asked]
    return _OF_ANY[:-1] + f" WHERE {' AND '.join(wanted)})" if wanted else ""


def told(row: dict[str, Any]) -> dict[str, Any]:
    """Return a slice as a sample: without our key, what is not known, and what says nothing of a single snapshot."""
    hidden = ("key", "merged", "spread") if row["merged"] == 1 else ("key",)
    return {name: value for name, value in row.items() if name not in hidden and value is not None}
