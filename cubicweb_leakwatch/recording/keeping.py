"""Thinning the recorded snapshots: an hour or a day becomes one row with mean, lowest and highest.

Type counts are three quarters of a snapshot. Past a day, when conclusions no longer rest on them, one an hour keeps its
own: a year of eight processes then takes about half of the 200 MiB that it may.

Small transactions, an hour or a day of one process each: a site on SQLite goes on writing between them. No query names
an entity in its text: CubicWeb keeps three thousand queries, and ours would fill that cache with tens of megabytes.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from cubicweb_leakwatch.recording.records import NUMBERS, PERCENTS, forget, utc
from cubicweb_leakwatch.watch.thinning import Keep, Merge, Spread, spread, thin

Act = Callable[[Any], Any]
Write = Callable[[Act], Any]
"""Runs a function with a connection, commits, and returns the function's result."""

DELETE_AT_ONCE_S = 6 * 3600.0
TYPES_S = 86400.0
COLUMNS = ("eid", "t", "merged", "spread", *NUMBERS)


class Thinned(NamedTuple):
    """How many snapshots went, and whether all that was due is done."""

    gone: int
    finished: bool


def thin_all(write: Write, keep: Keep, now: float, *, time_s: float = math.inf) -> Thinned:
    """Thin the snapshots of every process as ``keep`` says at ``now`` (Unix seconds), for about ``time_s`` seconds."""
    deadline = time.monotonic() + time_s
    gone = 0
    for process in write(lambda cnx: [eid for (eid,) in cnx.execute("Any P WHERE P is LeakwatchProcess")]):
        for step in _steps(write, process, keep, now):
            gone += write(step)
            if time.monotonic() >= deadline:
                return Thinned(gone, finished=False)
    write(partial(_drop_old, before=now - keep.daily_s))
    return Thinned(gone, finished=True)


def _steps(write: Write, process: int, keep: Keep, now: float) -> Iterator[Act]:
    """Return what is to be done about one process, as transactions that each return how many snapshots went."""
    times = write(partial(_times, process=process, until=now - keep.fine_s))
    plan = thin(times, now, keep)
    for merge in plan.merges:
        yield partial(_merge, process=process, merge=merge)
    doomed = [times[index] for index in plan.delete]
    if doomed:
        start = min(doomed)
        while start <= max(doomed):
            end = min(start + DELETE_AT_ONCE_S, math.nextafter(max(doomed), math.inf))
            yield partial(_delete, process=process, after=math.nextafter(start, 0.0), before=end)
            start += DELETE_AT_ONCE_S
    yield partial(_drop_types, process=process, until=now - TYPES_S)


def _times(cnx: Any, *, process: int, until: float) -> list[float]:
    """Return the times of the snapshots old enough to be thinned; notes were written to be kept."""
    rows = cnx.execute(
        "Any T ORDERBY T WHERE S snapshot_of P, P eid %(p)s, S t T, S t < %(until)s, S note NULL",
        {"p": process, "until": until},
    )
    return [t for (t,) in rows.rows]


def _merge(cnx: Any, *, process: int, merge: Merge) -> int:
    """Make the first snapshot of an hour or day stand for all of it, and delete the others."""
    snapshots = _snapshots(cnx, process, merge)
    if len(snapshots) < 2:
        return 0  # another collector was here first
    first = cnx.entity_from_eid(snapshots[0]["eid"])
    first.cw_set(**_merged(snapshots))
    forget(cnx.repo, [first.eid])
    return _delete(cnx, process=process, after=snapshots[0]["t"], before=merge.start + merge.length_s)


def _snapshots(cnx: Any, process: int, merge: Merge) -> list[dict[str, Any]]:
    columns = ", ".join(f"C{index}" for index in range(1, len(COLUMNS)))
    wanted = ", ".join(f"S {name} C{index}" for index, name in enumerate(COLUMNS) if index)
    rows = cnx.execute(
        f"Any S, {columns} ORDERBY C1 WHERE S snapshot_of P, P eid %(p)s, S t >= %(start)s, S t < %(end)s,"
        f" S note NULL, {wanted}",
        {"p": process, "start": merge.start, "end": merge.start + merge.length_s},
    ).rows
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _merged(snapshots: Sequence[dict[str, Any]]) -> dict[str, Any]:
    spreads = {name: spread(_spread_of(snapshot, name) for snapshot in snapshots) for name in NUMBERS}
    known = {name: found for name, found in spreads.items() if found is not None}
    ranges = {name: [_rounded(name, end) for end in (found.low, found.high)] for name, found in known.items()}
    return {
        "merged": sum(snapshot["merged"] or 1 for snapshot in snapshots),
        "spread": json.dumps(ranges),
        **{name: _rounded(name, found.mean) for name, found in known.items()},
    }


def _rounded(name: str, value: float) -> float:
    """Return a number as it is recorded: whole, but for percents."""
    return round(value, 2) if name in PERCENTS else round(value)


def _spread_of(snapshot: dict[str, Any], name: str) -> Spread | None:
    value = snapshot[name]
    if value is None:
        return None
    low, high = (json.loads(snapshot["spread"]) if snapshot["spread"] else {}).get(name, (value, value))
    return Spread(value, low, high, snapshot["merged"] or 1)


def _delete(cnx: Any, *, process: int, after: float, before: float) -> int:
    """Delete the snapshots of a process taken after one moment and before another, but for those with a note."""
    deleted = cnx.execute(
        "DELETE MemorySnapshot S WHERE S snapshot_of P, P eid %(p)s, S t > %(after)s, S t < %(before)s, S note NULL",
        {"p": process, "after": after, "before": before},
    )
    return len(deleted)


def _drop_types(cnx: Any, *, process: int, until: float) -> int:
    """Keep the type counts of the first snapshot of each hour alone.

    In SQL: it concerns no rule of CubicWeb's, and through RQL each row would take a millisecond and stay in its caches.
    """
    cnx.system_sql(
        "UPDATE cw_memorysnapshot SET cw_types = NULL WHERE cw_snapshot_of = %(p)s AND cw_t < %(until)s"
        " AND cw_note IS NULL AND cw_types IS NOT NULL AND cw_eid NOT IN (SELECT MIN(cw_eid) FROM cw_memorysnapshot"
        " WHERE cw_snapshot_of = %(p)s AND cw_t < %(until)s AND cw_types IS NOT NULL"
        " GROUP BY CAST(cw_t * 1000 AS BIGINT) / 3600000)",
        {"p": process, "until": until},
    )
    return 0


def _drop_old(cnx: Any, *, before: float) -> None:
    """Delete what is older than all levels: restarts, closed findings, processes of which no snapshot is left."""
    old = {"t": utc(before)}
    cnx.execute("DELETE WorkerRestart X WHERE X requested_at < %(t)s", old)
    cnx.execute("DELETE RestartRequest X WHERE X requested_at < %(t)s", old)
    cnx.execute("DELETE LeakFinding X WHERE X closed_at < %(t)s", old)
    cnx.execute("DELETE LeakwatchProcess P WHERE P ended_at < %(t)s, NOT EXISTS(S snapshot_of P)", old)
