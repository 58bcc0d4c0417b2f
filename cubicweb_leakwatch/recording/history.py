"""Reading what was recorded, for pages, commands and conclusions. Rows come as plain data, no entity is built.

Callers have checked that the reader is a manager.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.recording.records import NUMBERS, utc
from cubicweb_leakwatch.watch.finding import Event

RESTART_FIELDS = (
    "process",
    "host",
    "reason",
    "requested_at",
    "ready_at",
    "drained_at",
    "exited_at",
    "in_flight_at_drain",
    "accepted",
    "answered",
    "client_left",
    "abandoned",
    "rss_before",
    "rss_after",
    "old_pid",
    "new_pid",
    "outcome",
    "detail",
    "trimmed",
    "autopsy",
)
FINDING_FIELDS = (
    "host",
    "process",
    "kind",
    "leak",
    "since",
    "rate_bytes_per_h",
    "rate_low",
    "rate_high",
    "bytes_per_request",
    "confidence",
    "culprits",
    "holder",
    "views",
    "ceiling",
    "seconds_to_limit",
    "advice",
    "evidence",
    "opened_at",
    "closed_at",
)
PROCESS_FIELDS = (
    "host",
    "name",
    "role",
    "pid",
    "started_at",
    "ended_at",
    "end_reason",
    "generation",
    "python",
    "versions",
)


def read_samples(
    cnx: Any, since: float, until: float, *, process: str | None = None, types: bool = False, latest: int = 0
) -> list[dict[str, Any]]:
    """Return the samples taken from ``since`` until ``until`` (Unix seconds), oldest first, as documented.

    With ``latest`` only so many, the last ones.
    Each also tells its ``host``; ``process`` is a slot, a pid or ``HOST:SLOT``. Thinned ones tell ``merged`` (how many
    they stand for) and ``spread`` (lowest and highest of each number). Unknown numbers are left out.
    """
    names = ("t", *NUMBERS, "views", "tasks", "note", "merged", "spread", *(("types",) if types else ()))
    wanted = ", ".join(f"S {name} C{index}" for index, name in enumerate(names))
    columns = ", ".join(f"C{index}" for index in range(len(names)))
    values = named(process)
    restriction = "".join(f", P {key} %({key})s" for key in values)
    order = f"ORDERBY C0 DESC LIMIT {latest:d}" if latest else "ORDERBY C0"
    rows = cnx.execute(
        f"Any H, N, I, {columns} {order} WHERE S is MemorySnapshot, S t >= %(since)s, S t <= %(until)s,"
        f" S snapshot_of P, P host H, P name N, P pid I, {wanted}{restriction}",
        {"since": since, "until": until, **values},
    ).rows
    ordered = rows[::-1] if latest else rows
    return [_sample(dict(zip(("host", "process", "pid", *names), row, strict=True))) for row in ordered]


def first_moment(cnx: Any, since: float) -> float | None:
    """Return when the first snapshot after ``since`` was taken (Unix seconds): a young history is drawn in detail."""
    rows = cnx.execute("Any MIN(T) WHERE S is MemorySnapshot, S t T, S t >= %(since)s", {"since": since}).rows
    return rows[0][0] if rows else None


def named(process: str | None) -> dict[str, Any]:
    """Return which attributes of a process a name means: a pid, a slot, or ``HOST:SLOT``; ``None`` means all."""
    if process is None:
        return {}
    if process.isdecimal():
        return {"pid": int(process)}
    host, colon, name = process.rpartition(":")
    return {"host": host, "name": name} if colon else {"name": name}


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("types", "views", "tasks", "spread"):
        if row.get(name):
            row[name] = json.loads(row[name])
    if row["merged"] in (None, 1):
        del row["merged"]
    return {name: value for name, value in row.items() if value is not None and value != ""}


def read_restarts(cnx: Any, since: float, until: float, *, process: str | None = None) -> list[dict[str, Any]]:
    """Return the finished restarts asked for in that time, oldest first, in the shape of ``leak-restart``."""
    rows = _rows(cnx, "WorkerRestart", RESTART_FIELDS, "requested_at", since, until)
    found = [_times_as_text(row) for row in rows if _matches(process, row["host"], row["process"], row["old_pid"])]
    for row in found:
        row["autopsy"] = json.loads(row["autopsy"]) if row["autopsy"] else None
    return found


def autopsy_in_short(autopsy: Mapping[str, Any] | None) -> str:
    """Return what an autopsy showed, in one sentence; empty where there was none."""
    if not autopsy:
        return ""
    grown = [f"{row['delta']:+,} {row['type']}" for row in autopsy.get("growth", ())[:2]]
    held = [f"{row['type']} held by {row['holder']}" for row in autopsy.get("suspects", ())[:1] if row.get("holder")]
    most = [f"{row['count']:,} {row['type']}" for row in autopsy.get("most", ())[:1]]
    return "; ".join([*(grown or most), *held]) or str(autopsy["dump"])


def read_processes(cnx: Any, since: float, until: float, *, process: str | None = None) -> list[dict[str, Any]]:
    """Return the processes that lived at some moment of that time, in the order of their starts."""
    rows = _rows(cnx, "LeakwatchProcess", PROCESS_FIELDS, "started_at", None, until)
    alive = [row for row in rows if row["ended_at"] is None or row["ended_at"] >= utc(since)]
    found = [_times_as_text(row) for row in alive if _matches(process, row["host"], row["name"], row["pid"])]
    for row in found:
        row["versions"] = json.loads(row["versions"]) if row["versions"] else None
    return found


def read_findings(
    cnx: Any, since: float, until: float, *, process: str | None = None, closed: bool = False
) -> list[dict[str, Any]]:
    """Return the findings that opened in that time, oldest first, as documented; with ``closed`` the closed ones too.

    Each also tells its ``host``, ``opened_at`` and ``closed_at``.
    """
    rows = _rows(cnx, "LeakFinding", FINDING_FIELDS, "opened_at", since, until)
    wanted = [row for row in rows if closed or row["closed_at"] is None]
    return [_finding(row) for row in wanted if _matches(process, row["host"], row["process"], None)]


def _finding(row: dict[str, Any]) -> dict[str, Any]:
    for name, empty in (("culprits", []), ("views", []), ("evidence", {})):
        row[name] = json.loads(row[name]) if row[name] else empty
    return {**_times_as_text(row), "since": iso(row["since"])}


def _rows(
    cnx: Any, etype: str, fields: Iterable[str], order: str, since: float | None, until: float
) -> list[dict[str, Any]]:
    names = list(fields)
    columns = ", ".join(f"C{index}" for index in range(len(names)))
    wanted = ", ".join(f"X {name} C{index}" for index, name in enumerate(names))
    bound = f", X {order} >= %(since)s" if since is not None else ""
    rows = cnx.execute(
        f"Any {columns} ORDERBY C{names.index(order)} WHERE X is {etype}, X {order} <= %(until)s{bound}, {wanted}",
        {"since": utc(since or 0.0), "until": utc(until)},
    ).rows
    return [dict(zip(names, row, strict=True)) for row in rows]


def _matches(process: str | None, host: str, name: str, pid: int | None) -> bool:
    return process is None or process in (name, str(pid), f"{host}:{name}")


def _times_as_text(row: dict[str, Any]) -> dict[str, Any]:
    return {name: iso(value) if name.endswith("_at") else value for name, value in row.items()}


def iso(moment: Any) -> str | None:
    """Return a time of the database as ISO 8601 UTC text, to the millisecond."""
    if moment is None:
        return None
    return str(moment.isoformat(timespec="milliseconds")).replace("+00:00", "Z")


def events(processes: Iterable[Mapping[str, Any]], restarts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what stands on the chart: starts, ends, restarts and deployments (the installed versions changed)."""
    from datetime import datetime

    def at(text: str) -> float:
        return datetime.fromisoformat(text).timestamp()

    found: list[tuple[str, str, Event]] = []
    last_versions: dict[tuple[str, str], Any] = {}
    for process in processes:
        lineage = (process["host"], process["name"])
        started = at(process["started_at"])
        found.append((*lineage, Event(started, "start", f"pid {process['pid']}")))
        change = changed_versions(last_versions.get(lineage), process["versions"])
        if change:
            found.append((*lineage, Event(started, "deployment", change)))
        last_versions[lineage] = process["versions"] or last_versions.get(lineage)
        if process["ended_at"]:
            found.append((*lineage, Event(at(process["ended_at"]), "end", process["end_reason"] or "")))
    for restart in restarts:
        text = f"{restart['outcome'] or 'replaced'}: {restart['reason'] or ''}"
        autopsy = autopsy_in_short(restart.get("autopsy"))
        text += f" (autopsy: {autopsy})" if autopsy else ""
        found.append((restart["host"], restart["process"], Event(at(restart["requested_at"]), "restart", text)))
    found.sort(key=lambda item: item[2].t)
    return [{"host": h, "process": p, "t": e.t, "kind": e.kind, "text": e.text} for h, p, e in found]


def changed_versions(before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> str:
    """Return what was deployed between two processes: ``mercurial 6.9.5 → 7.2.4``; empty when nothing was."""
    if not before or not after:
        return ""
    names = sorted(set(before) | set(after))
    return ", ".join(
        f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in names
        if before.get(name) != after.get(name)
    )


def as_samples(rows: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """Return the rows of :func:`read_samples` as the samples that conclusions are drawn from."""
    return [Sample.from_json(dict(row)) for row in rows]
