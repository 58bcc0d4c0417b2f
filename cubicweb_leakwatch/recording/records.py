"""Writing what was measured into the instance's database: short transactions over internal connections.

Each function takes an open connection and leaves the commit to its caller. What is already there is found and left
alone, so that a round that failed half-way, or two collectors at once, double nothing.
"""

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.recording.measuring import Identity, Measured
from cubicweb_leakwatch.recording.restartlog import autopsy_of
from cubicweb_leakwatch.recording.shared import database_now

NUMBERS = (
    "rss",
    "uss",
    "pss",
    "python_blocks",
    "malloc_used",
    "malloc_free",
    "gc_objects",
    "garbage",
    "requests",
    "in_flight",
    "fds",
    "threads",
    "cgroup_limit",
    "cgroup_pressure",
)
PERCENTS = ("cgroup_pressure",)

"""Those of the numbers that are no whole ones."""

AUTOMATIC = ("worker", "policy")
"""Who asks for a restart that counts against the budget."""

RESTART_TIMES = ("requested_at", "ready_at", "drained_at", "exited_at")
RESTART_NUMBERS = (
    "in_flight_at_drain",
    "accepted",
    "answered",
    "client_left",
    "abandoned",
    "rss_before",
    "rss_after",
    "trimmed",
    "old_pid",
    "new_pid",
)


def utc(t: float) -> datetime.datetime:
    """Return Unix seconds as the database takes them."""
    return datetime.datetime.fromtimestamp(t, datetime.UTC)


def record_measured(cnx: Any, measured: Measured, note: str | None = None) -> list[int]:
    """Record a process, if it is new, and those of its samples that are later than what is recorded.

    Return the eids of what was created. ``note`` goes beside the last sample.
    """
    created: list[int] = []
    process = _find_process(cnx, measured.identity)
    if process is None:
        process = _create_process(cnx, measured.identity, measured.limit)
        created.append(process)
    recorded_until = _recorded_until(cnx, process)
    for sample in measured.samples:
        last = sample is measured.samples[-1]
        if sample.t > recorded_until + (0.0 if last else measured.apart_s):
            created.append(_create_snapshot(cnx, process, sample, note if last else None))
            recorded_until = sample.t
    return created


def _find_process(cnx: Any, identity: Identity) -> int | None:
    """Return the process; that it had ended was a mistake, of a host whose clock is wrong, and is taken back."""
    rows = cnx.execute(
        "Any P, E WHERE P is LeakwatchProcess, P host %(host)s, P pid %(pid)s, P started_at %(started_at)s,"
        " P ended_at E",
        {"host": identity.host, "pid": identity.pid, "started_at": utc(identity.started_at)},
    ).rows
    if not rows:
        return None
    process, ended_at = rows[0]
    if ended_at is not None:
        cnx.execute("SET P ended_at NULL, P end_reason NULL WHERE P eid %(p)s", {"p": process})
    return int(process)


def _create_process(cnx: Any, identity: Identity, limit: int | None) -> int:
    entity = cnx.create_entity(
        "LeakwatchProcess",
        host=identity.host,
        name=identity.name,
        role=identity.role,
        pid=identity.pid,
        started_at=utc(identity.started_at),
        generation=identity.generation,
        python=identity.python,
        versions=json.dumps(identity.versions, sort_keys=True) if identity.versions else None,
        memory_limit=limit,
    )
    return int(entity.eid)


def _recorded_until(cnx: Any, process: int) -> float:
    rows = cnx.execute("Any MAX(T) WHERE S snapshot_of P, S t T, P eid %(p)s", {"p": process}).rows
    return rows[0][0] if rows and rows[0][0] is not None else 0.0


def _create_snapshot(cnx: Any, process: int, sample: Sample, note: str | None) -> int:
    entity = cnx.create_entity(
        "MemorySnapshot",
        snapshot_of=process,
        t=sample.t,
        types=_json(sample.types),
        views=_json(sample.views),
        tasks=_json(sample.tasks),
        note=note or None,
        **{name: getattr(sample, name) for name in NUMBERS},
    )
    return int(entity.eid)


def _json(counts: Mapping[str, Any] | None) -> str | None:
    return json.dumps(counts, separators=(",", ":")) if counts else None


def record_ends(cnx: Any, host: str, present: Iterable[int]) -> int:
    """Note the end of each process of ``host`` that is no longer there; return how many had ended.

    It ended when it was last seen, or when the launcher saw it exit; why is known from its restart alone.
    """
    living = set(present)
    rows = cnx.execute(
        "Any P, I, S WHERE P is LeakwatchProcess, P host %(host)s, P pid I, P started_at S, P ended_at NULL",
        {"host": host},
    ).rows
    return _close(cnx, [(process, started_at) for process, pid, started_at in rows if pid not in living])


def record_ends_elsewhere(cnx: Any, host: str, unseen_since: float) -> int:
    """Note the end of processes of other hosts than ``host`` of which nothing was recorded since (Unix seconds).

    A container takes its host name with it: nobody is left there to note the end.
    """
    rows = cnx.execute(
        "Any P, S WHERE P is LeakwatchProcess, NOT P host %(host)s, P started_at S, P started_at < %(since)s,"
        " P ended_at NULL, NOT EXISTS(X snapshot_of P, X t >= %(t)s)",
        {"host": host, "since": utc(unseen_since), "t": unseen_since},
    ).rows
    return _close(cnx, rows)


def _close(cnx: Any, processes: Sequence[tuple[int, datetime.datetime]]) -> int:
    for process, started_at in processes:
        ended_at, reason = _end(cnx, process, started_at)
        cnx.execute(
            "SET P ended_at %(t)s, P end_reason %(r)s WHERE P eid %(p)s", {"t": ended_at, "r": reason, "p": process}
        )
    return len(processes)


def _end(cnx: Any, process: int, started_at: datetime.datetime) -> tuple[datetime.datetime, str]:
    restarts = cnx.execute(
        "Any E, R ORDERBY Q DESC LIMIT 1 WHERE X restart_of P, P eid %(p)s, X exited_at E, NOT X exited_at NULL,"
        " X reason R, X requested_at Q",
        {"p": process},
    ).rows
    if restarts:
        return restarts[0][0], restarts[0][1] or "replaced"
    last_seen = _recorded_until(cnx, process)
    return (utc(last_seen) if last_seen else started_at), "not seen any more"


def record_restarts(cnx: Any, host: str, restarts: Iterable[Mapping[str, Any]]) -> int:
    """Record the launcher's finished restarts that are not recorded yet; return how many were new."""
    known = {restart_id for (restart_id,) in cnx.execute("Any I WHERE X restart_id I, X host %(h)s", {"h": host})}
    new = [restart for restart in restarts if restart["id"] not in known]
    now = utc(database_now(cnx)) if new else None
    for restart in new:
        replaced = _replaced(cnx, host, restart)
        cnx.create_entity("WorkerRestart", host=host, restart_of=replaced, recorded_at=now, **_fields(restart))
    return len(new)


def budget_spent_s(cnx: Any, count: int, within_s: float) -> float:
    """Return for how many seconds no further worker may be replaced with nobody asking by hand; 0.0: one may, now.

    That is until the last ``count`` of all hosts were not all within the same ``within_s`` seconds. By when they were
    recorded, which the database's own clock says: the clocks of the hosts may disagree.
    """
    now = database_now(cnx)
    rows = cnx.execute(
        f"Any T ORDERBY T DESC LIMIT 1 OFFSET {count - 1} WHERE X is WorkerRestart, X asked_by IN (%(a)s, %(b)s),"
        " X recorded_at T, X recorded_at >= %(t)s, NOT X outcome 'successor-failed'",
        {"a": AUTOMATIC[0], "b": AUTOMATIC[1], "t": utc(now - within_s)},
    ).rows
    return float(max(0.0, rows[0][0].timestamp() + within_s - now)) if rows else 0.0


def _replaced(cnx: Any, host: str, restart: Mapping[str, Any]) -> int | None:
    """Return the process that was replaced: the last of its pid that had started when the restart was asked for."""
    rows = cnx.execute(
        "Any P ORDERBY S DESC LIMIT 1 WHERE P is LeakwatchProcess, P host %(h)s, P pid %(i)s, P started_at S,"
        " P started_at <= %(t)s",
        {"h": host, "i": restart.get("old_pid") or 0, "t": _time(restart["requested_at"])},
    ).rows
    return rows[0][0] if rows else None


def _fields(restart: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: restart.get(name) for name in ("process", "reason", "outcome", "detail", *RESTART_NUMBERS)}
    fields.update({name: _time(restart.get(name)) for name in RESTART_TIMES})
    autopsy = autopsy_of(restart)
    fields["autopsy"] = None if autopsy is None else json.dumps(autopsy)
    return {**fields, "restart_id": restart["id"], "asked_by": restart.get("by")}


def _time(text: str | None) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(text) if text else None


def forget(repo: Any, eids: Iterable[int]) -> None:
    """Take entities out of the repository's caches: its map from eid to type is never emptied otherwise.

    A collector that records eight processes a minute would itself grow by a megabyte a day. The parsed query of which
    CubicWeb made SQL last goes as well: kept until the next one, it would be too old by then to be a round's trash.
    """
    repo.clear_caches(list(eids))
    generator = repo.system_source._rql_sqlgen
    with generator._lock:
        generator._state = None
