"""Thinning the recorded snapshots: an hour or a day becomes one row with mean, lowest and highest.

Type counts are three quarters of a snapshot. Past a day, when conclusions no longer rest on them, one an hour keeps its
own: a year of eight processes then takes about half of the 200 MiB that it may.
Small transactions, a few snapshots each: a site on SQLite goes on writing between them.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from cubicweb_leakwatch.records import NUMBERS, utc
from cubicweb_leakwatch.watch.thinning import HOUR_S, Keep, Spread, spread, thin

Write = Callable[[Callable[[Any], Any]], Any]
"""Runs a function with a connection, commits, and returns the function's result."""

DELETE_AT_ONCE = 100
TYPES_S = 86400.0
COLUMNS = ("eid", "t", "merged", "spread", *NUMBERS)


def thin_all(write: Write, keep: Keep, now: float) -> int:
    """Thin the snapshots of every process as ``keep`` says at ``now`` (Unix seconds); return how many rows went."""
    processes = write(lambda cnx: [eid for (eid,) in cnx.execute("Any P WHERE P is LeakwatchProcess")])
    gone = sum(_thin_process(write, process, keep, now) for process in processes)
    write(lambda cnx: _drop_empty(cnx, now - keep.daily_s))
    return gone


def _thin_process(write: Write, process: int, keep: Keep, now: float) -> int:
    times = write(lambda cnx: _times(cnx, process, now - keep.fine_s))
    plan = thin([t for _eid, t in times], now, keep)
    for merge in plan.merges:
        write(partial(_merge, eids=[times[index][0] for index in merge.indexes]))
    write(partial(_drop_types, process=process, until=now - TYPES_S))
    doomed = [times[index][0] for index in plan.delete]
    for start in range(0, len(doomed), DELETE_AT_ONCE):
        write(partial(delete_snapshots, eids=doomed[start : start + DELETE_AT_ONCE]))
    return len(doomed) + sum(len(merge.indexes) - 1 for merge in plan.merges)


def _drop_types(cnx: Any, *, process: int, until: float) -> None:
    """Keep the type counts of the first snapshot of each hour alone."""
    rows = cnx.execute(
        "Any S, T ORDERBY T WHERE S snapshot_of P, P eid %(p)s, S t T, S t < %(until)s, S note NULL, NOT S types NULL",
        {"p": process, "until": until},
    ).rows
    hours: set[int] = set()
    for eid, t in rows:
        if int(t // HOUR_S) in hours:
            cnx.execute("SET S types %(none)s WHERE S eid %(s)s", {"none": None, "s": eid})
        hours.add(int(t // HOUR_S))


def _times(cnx: Any, process: int, until: float) -> list[tuple[int, float]]:
    """Return eid and time of the snapshots old enough to be thinned; notes were written to be kept."""
    rows = cnx.execute(
        "Any S, T ORDERBY T WHERE S snapshot_of P, P eid %(p)s, S t T, S t < %(until)s, S note NULL",
        {"p": process, "until": until},
    )
    return [(eid, t) for eid, t in rows.rows]


def _merge(cnx: Any, eids: Sequence[int]) -> None:
    """Make the first of these snapshots stand for all, and delete the others."""
    columns = ", ".join(f"C{index}" for index in range(1, len(COLUMNS)))
    wanted = ", ".join(f"S {name} C{index}" for index, name in enumerate(COLUMNS) if index)
    rows = cnx.execute(f"Any S, {columns} ORDERBY C1 WHERE S eid IN ({', '.join(map(str, eids))}), {wanted}").rows
    snapshots = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    if len(snapshots) < 2:
        return  # another collector was here first
    spreads = {name: spread(_spread_of(snapshot, name) for snapshot in snapshots) for name in NUMBERS}
    known = {name: found for name, found in spreads.items() if found is not None}
    first = cnx.entity_from_eid(snapshots[0]["eid"])
    first.cw_set(
        merged=sum(snapshot["merged"] or 1 for snapshot in snapshots),
        spread=json.dumps({name: [round(found.low), round(found.high)] for name, found in known.items()}),
        **{name: round(found.mean) for name, found in known.items()},
    )
    delete_snapshots(cnx, [snapshot["eid"] for snapshot in snapshots[1:]])


def _spread_of(snapshot: dict[str, Any], name: str) -> Spread | None:
    value = snapshot[name]
    if value is None:
        return None
    low, high = (json.loads(snapshot["spread"]) if snapshot["spread"] else {}).get(name, (value, value))
    return Spread(value, low, high, snapshot["merged"] or 1)


def delete_snapshots(cnx: Any, eids: Iterable[int]) -> None:
    """Delete these snapshots, in one statement."""
    found = ", ".join(map(str, eids))
    if found:
        cnx.execute(f"DELETE MemorySnapshot S WHERE S eid IN ({found})")


def _drop_empty(cnx: Any, before: float) -> None:
    """Delete processes that ended before ``before`` and of which no snapshot is left, with their restarts."""
    old = {"t": utc(before)}
    cnx.execute("DELETE WorkerRestart X WHERE X requested_at < %(t)s", old)
    cnx.execute("DELETE LeakFinding X WHERE X closed_at < %(t)s", old)
    cnx.execute("DELETE LeakwatchProcess P WHERE P ended_at < %(t)s, NOT EXISTS(S snapshot_of P)", old)
