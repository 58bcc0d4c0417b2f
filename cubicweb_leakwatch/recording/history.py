"""Reading what was recorded, for pages, commands and conclusions. Rows come as plain data, no entity is built.

This is SQL below CubicWeb's permissions: callers have checked that the reader is a manager. A query through RQL costs
milliseconds more, and each of its moments on SQLite a quarter of one; a site that restarts its workers often has
thousands.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.recording.records import NUMBERS, utc
from cubicweb_leakwatch.recording.shared import is_shared
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
    columns = ", ".join(f"s.cw_{name}" for name in names)
    values = named(process)
    restriction = "".join(f" AND p.cw_{key} = %({key})s" for key in values)
    rows = cnx.system_sql(
        f"SELECT p.cw_host, p.cw_name, p.cw_pid, {columns} FROM cw_memorysnapshot s"
        " JOIN cw_leakwatchprocess p ON p.cw_eid = s.cw_snapshot_of"
        f" WHERE s.cw_t >= %(since)s AND s.cw_t <= %(until)s{restriction}"
        + (f" ORDER BY s.cw_t DESC LIMIT {latest:d}" if latest else " ORDER BY s.cw_t"),
        {"since": since, "until": until, **values},
    ).fetchall()
    ordered = rows[::-1] if latest else rows
    return [_sample(dict(zip(("host", "process", "pid", *names), row, strict=True))) for row in ordered]


def first_moment(cnx: Any, since: float) -> float | None:
    """Return when the first snapshot after ``since`` was taken (Unix seconds): a young history is drawn in detail."""
    asked = {"since": since}
    (found,) = cnx.system_sql("SELECT MIN(cw_t) FROM cw_memorysnapshot WHERE cw_t >= %(since)s", asked).fetchone()
    return None if found is None else float(found)


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
    found = [row for row in rows if _matches(process, row["host"], row["process"], row["old_pid"])]
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
    rows = _rows(cnx, "LeakwatchProcess", PROCESS_FIELDS, "started_at", None, until, alive_since=since)
    found = [row for row in rows if _matches(process, row["host"], row["name"], row["pid"])]
    known: dict[str, Any] = {"": None}  # a hundred lives have the same versions
    for row in found:
        text = row["versions"] or ""
        row["versions"] = known[text] if text in known else known.setdefault(text, json.loads(text))
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
    return row


def _rows(
    cnx: Any, etype: str, fields: Iterable[str], order: str, since: float | None, until: float,
    alive_since: float | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the entities of one type in the order of a time, which lies between the two that are given.

    Times come as ISO 8601 UTC text, to the millisecond.
    """
    names = list(fields)
    times = [index for index, name in enumerate(names) if name.endswith("_at") or name == "since"]
    columns = ", ".join(f"CAST(cw_{name} AS TEXT)" if index in times else f"cw_{name}"
                        for index, name in enumerate(names))  # fmt: skip
    asked = {"since": since, "until": until, "alive": alive_since}
    wanted = [f"cw_{order} <= %(until)s"]
    if since is not None:
        wanted.append(f"cw_{order} >= %(since)s")
    if alive_since is not None:
        wanted.append("(cw_ended_at IS NULL OR cw_ended_at >= %(alive)s)")
    cursor = cnx.system_sql(
        f"SELECT {columns} FROM cw_{etype.lower()} WHERE {' AND '.join(wanted)} ORDER BY cw_{order}",
        {name: _database_time(cnx, moment) for name, moment in asked.items() if moment is not None},
    )
    return [_row(names, list(row), times) for row in cursor.fetchall()]


def _database_time(cnx: Any, t: float) -> datetime:
    """Return a moment as the database compares it: SQLite has the text of UTC without a zone."""
    moment = utc(max(0.0, t))
    return moment if is_shared(cnx.repo) else moment.replace(tzinfo=None)


def _row(names: list[str], values: list[Any], times: list[int]) -> dict[str, Any]:
    for index in times:
        values[index] = values[index] and _iso_text(values[index])
    row = dict(zip(names, values, strict=True))
    if "leak" in row:
        row["leak"] = bool(row["leak"])
    return row


def _iso_text(text: str) -> str:
    """Return a time as a database writes it (2026-11-22 12:00:00.25) as ISO 8601 UTC text, to the millisecond.

    A time without a zone is UTC, as SQLite has it; those are put together from their parts, a page having hundreds.
    """
    if len(text) in (19, 26) and text[-3] not in "+-":  # to the second, or to the microsecond, and no zone
        return f"{text[:10]}T{text[11:19]}.{text[20:23] or '000'}Z"
    moment = datetime.fromisoformat(text)
    return str(iso(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))


def _matches(process: str | None, host: str, name: str, pid: int | None) -> bool:
    return process is None or process in (name, str(pid), f"{host}:{name}")


def iso(moment: Any) -> str | None:
    """Return a time of the database as ISO 8601 UTC text, to the millisecond."""
    if moment is None:
        return None
    return str(moment.astimezone(UTC).isoformat(timespec="milliseconds")).replace("+00:00", "Z")


def events(processes: Iterable[Mapping[str, Any]], restarts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what stands on the chart: starts, ends, restarts and deployments (the installed versions changed)."""

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
