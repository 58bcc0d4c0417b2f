"""Reading long stretches of history at the resolution of a chart: the database averages, a month costs what a day does.

This is SQL below CubicWeb's permissions: callers have checked that the reader is a manager.
"""

import json
from typing import Any

from cubicweb_leakwatch.history import named
from cubicweb_leakwatch.records import NUMBERS

NARROWEST_S = 1.0


def read_coarse_samples(
    cnx: Any, since: float, until: float, points: int, *, process: str | None = None
) -> list[dict[str, Any]]:
    """Return about ``points`` samples of each process from ``since`` until ``until`` (Unix seconds), oldest first.

    Each stands for what was recorded in its slice of time: its numbers are means; where there are several snapshots,
    ``merged`` tells how many and ``spread`` has lowest and highest of each number, peaks of what was thinned before
    included; of several notes one is told. Types and views are left out, and so is what is not known.
    """
    width = max((until - since) / points, NARROWEST_S)
    slices = {row["key"]: row for row in _slices(cnx, since, until, width, process)}
    for key, spread in _peaks(cnx, since, until, width, process):
        for name, (low, high) in spread.items():
            if name in slices[key]["spread"]:
                known = slices[key]["spread"][name]
                slices[key]["spread"][name] = [min(low, known[0]), max(high, known[1])]
    found = sorted(slices.values(), key=lambda row: row["t"])
    return [_told(row) for row in found]


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out our key, and what says nothing of a single snapshot."""
    hidden = ("key", "merged", "spread") if row["merged"] == 1 else ("key",)
    return {name: value for name, value in row.items() if name not in hidden}


def _slices(cnx: Any, since: float, until: float, width: float, process: str | None) -> list[dict[str, Any]]:
    weight = "COALESCE(s.cw_merged, 1)"
    weighted = ", ".join(
        f"SUM(s.cw_{name} * 1.0 * {weight}) / SUM(CASE WHEN s.cw_{name} IS NULL THEN NULL ELSE {weight} END),"
        f" MIN(s.cw_{name}), MAX(s.cw_{name})"
        for name in NUMBERS
    )
    rows = _select(
        cnx,
        f"p.cw_eid, {_SLICE}, p.cw_host, p.cw_name, p.cw_pid, MAX(s.cw_t), SUM({weight}), MAX(s.cw_note), {weighted}",
        "GROUP BY 1, 2, 3, 4, 5",
        (since, until, width, process),
    )
    return [_slice(row) for row in rows]


def _slice(row: tuple[Any, ...]) -> dict[str, Any]:
    eid, number, host, name, pid, t, merged, note, *figures = row
    sample: dict[str, Any] = {"key": (eid, int(number)), "host": host, "process": name, "pid": pid, "t": t}
    sample.update({"merged": int(merged), "spread": {}, **({"note": note} if note else {})})
    for index, figure in enumerate(NUMBERS):
        mean, low, high = figures[3 * index : 3 * index + 3]
        if mean is not None:
            sample[figure] = round(mean)
            sample["spread"][figure] = [low, high]
    return sample


def _peaks(cnx: Any, since: float, until: float, width: float, process: str | None) -> list[tuple[Any, Any]]:
    """Return the spread of each snapshot that was merged by thinning: a few a day."""
    asked = (since, until, width, process)
    rows = _select(cnx, f"p.cw_eid, {_SLICE}, s.cw_spread", "AND s.cw_spread IS NOT NULL", asked)
    return [((eid, int(number)), json.loads(spread)) for eid, number, spread in rows]


# Whole milliseconds first: PostgreSQL's CAST rounds and SQLite's cuts, but both divide whole numbers alike.
_SLICE = "CAST((s.cw_t - %(since)s) * 1000 AS BIGINT) / %(width_ms)s"
_BY_NAME = {"pid": "p.cw_pid", "host": "p.cw_host", "name": "p.cw_name"}


def _select(cnx: Any, columns: str, end: str, asked: tuple[float, float, float, str | None]) -> list[tuple[Any, ...]]:
    since, until, width, process = asked
    values = named(process)
    restriction = "".join(f" AND {_BY_NAME[key]} = %({key})s" for key in values)
    cursor = cnx.system_sql(
        f"SELECT {columns} FROM cw_memorysnapshot s JOIN cw_leakwatchprocess p ON p.cw_eid = s.cw_snapshot_of"
        f" WHERE s.cw_t >= %(since)s AND s.cw_t <= %(until)s{restriction} {end}",
        {"since": since, "until": until, "width_ms": round(width * 1000), **values},
    )
    return list(cursor.fetchall())
