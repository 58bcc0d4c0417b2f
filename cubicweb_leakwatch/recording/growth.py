"""What grows between two snapshots of one process: reads the type counts of some snapshots, never those of all.

This is SQL below CubicWeb's permissions: callers have checked that the reader is a manager.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

CHOICES = 40
"""Snapshots that are offered to choose from, evenly spread over the time that is shown."""

TYPES = 15
"""Types that are told, those that grow most."""

_SLICES = (
    "SELECT MAX(s.cw_eid) FROM cw_memorysnapshot s JOIN cw_leakwatchprocess p ON p.cw_eid = s.cw_snapshot_of"
    " WHERE p.cw_host = %(host)s AND p.cw_pid = %(pid)s AND s.cw_t >= %(since)s AND s.cw_t <= %(until)s"
    " AND s.cw_types IS NOT NULL GROUP BY CAST((s.cw_t - %(since)s) * 1000 AS BIGINT) / %(width_ms)s"
)


def read_counts(cnx: Any, host: str, pid: int, since: float, until: float) -> list[tuple[float, dict[str, int]]]:
    """Return (Unix seconds, count by type) of at most ``CHOICES`` snapshots of one process, oldest first."""
    width_ms = max(1, round((until - since) / CHOICES * 1000))
    asked = {"host": host, "pid": pid, "since": since, "until": until, "width_ms": width_ms}
    cursor = cnx.system_sql(
        f"SELECT cw_t, cw_types FROM cw_memorysnapshot WHERE cw_eid IN ({_SLICES}) ORDER BY cw_t", asked
    )
    return [(t, json.loads(types)) for t, types in cursor.fetchall()]


def growth(
    counted: Sequence[tuple[float, Mapping[str, int]]], first: float | None = None, last: float | None = None
) -> dict[str, Any]:
    """Return what grew between the two snapshots nearest to ``first`` and ``last`` (Unix seconds; the ends by default).

    ``times`` are the snapshots to choose from, ``from`` and ``to`` the chosen ones, ``types`` the types that grew most:
    ``before``, ``after``, ``delta``, ``share`` of all growth, ``since`` when it was first among the recorded ones, and
    ``counts`` on the way (null where it was not recorded).
    """
    times = [t for t, _types in counted]
    if len(times) < 2:
        return {"times": times, "from": None, "to": None, "types": []}
    begin, end = sorted((_nearest(times, times[0] if first is None else first),
                         _nearest(times, times[-1] if last is None else last)))  # fmt: skip
    between = counted[begin : end + 1]
    grown = sorted(filter(None, (_grown(name, between) for name in between[-1][1])), key=lambda row: -row["delta"])
    total = sum(row["delta"] for row in grown)
    rows = [{**row, "share": row["delta"] / total} for row in grown[:TYPES]]
    return {"times": times, "from": times[begin], "to": times[end], "types": rows}


def _nearest(times: Sequence[float], wanted: float) -> int:
    return min(range(len(times)), key=lambda index: abs(times[index] - wanted))


def _grown(name: str, between: Sequence[tuple[float, Mapping[str, int]]]) -> dict[str, Any] | None:
    """Return the row of a type; None unless there are more of it than when it was first recorded."""
    since, before = next((t, types[name]) for t, types in between if name in types)
    after = between[-1][1][name]
    if after <= before:
        return None
    counts = [types.get(name) for _t, types in between]
    return {"type": name, "before": before, "after": after, "delta": after - before, "since": since, "counts": counts}
