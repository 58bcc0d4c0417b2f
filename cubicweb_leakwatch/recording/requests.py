"""Wishes to replace a process of another host: written to the database here, taken up there within an interval.

Each is taken up once, by whoever changes its row first; one that nobody took for ten minutes, by the database's clock,
is void: a host that comes back after a week must not act on last week's wishes.
"""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.recording.history import RESTART_FIELDS
from cubicweb_leakwatch.recording.records import forget, utc
from cubicweb_leakwatch.recording.shared import database_now
from cubicweb_leakwatch.serve.control import ask_launcher

logger = logging.getLogger("leakwatch.requests")

VALID_S = 600.0


def living(cnx: Any, host: str) -> list[tuple[str, str]]:
    """Return host and slot of each living process of other hosts than ``host``."""
    rows = cnx.execute(
        "Any H, N ORDERBY H, N WHERE P is LeakwatchProcess, P host H, P name N, NOT P host %(h)s, P ended_at NULL",
        {"h": host},
    ).rows
    return list(dict.fromkeys((other, name) for other, name in rows))


def ask(cnx: Any, known: Iterable[tuple[str, str]], process: str, reason: str, by: str) -> list[dict[str, Any]]:
    """Record the wish to replace ``HOST:SLOT``; return it as ``leak-restart`` tells it.

    ``known`` are the host and slot of each process that there is. Raises ``ConfigurationError`` for any other.
    """
    host, _colon, name = process.rpartition(":")
    processes = list(known)
    if (host, name) not in processes:
        there_are = ", ".join(f"{each}:{slot}" for each, slot in processes) or "none on another host"
        raise ConfigurationError(f"no process {process} is known", f"there are: {there_are}", "unknown-process")
    now = utc(database_now(cnx))
    entity = cnx.create_entity("RestartRequest", host=host, process=name, reason=reason, asked_by=by, requested_at=now)
    forget(cnx.repo, [entity.eid])
    return [{"id": str(entity.eid), "process": process}]


def take_up(cnx: Any, host: str, directory: Path) -> int:
    """Hand the wishes for ``host`` to its launcher; return how many there were."""
    rows = cnx.execute(
        "Any X, P, R, B ORDERBY X WHERE X is RestartRequest, X host %(h)s, X taken_at NULL, X requested_at >= %(t)s,"
        " X process P, X reason R, X asked_by B",
        {"h": host, "t": utc(database_now(cnx) - VALID_S)},
    ).rows
    for eid, process, reason, by in rows:
        cnx.execute(
            "SET X taken_at %(t)s, X restart_ids %(i)s, X refusal %(r)s WHERE X eid %(x)s",
            {"x": eid, "t": utc(database_now(cnx)), **_handed_over(directory, process, reason, by)},
        )
    forget(cnx.repo, [row[0] for row in rows])
    return len(rows)


def _handed_over(directory: Path, process: str, reason: str, by: str) -> dict[str, str | None]:
    try:
        answer = ask_launcher(str(directory), "restart", process=process, reason=reason, by=by)
    except LeakwatchError as error:
        logger.warning("a restart asked for elsewhere is refused process=%s: %s", process, error.message)
        return {"i": None, "r": error.message}
    logger.info("a restart asked for elsewhere process=%s by=%s reason=%s", process, by, reason)
    return {"i": json.dumps([wish["id"] for wish in answer["requested"]]), "r": None}


def progress(cnx: Any, request_id: str) -> dict[str, Any]:
    """Return what became of a wish, in the shape of ``leak-restart``; ``stage`` tells how far it has come."""
    (host, name, reason, ids, refusal, taken_at, requested_at) = cnx.execute(
        "Any H, P, R, I, F, T, Q WHERE X eid %(x)s, X host H, X process P, X reason R, X restart_ids I, X refusal F,"
        " X taken_at T, X requested_at Q",
        {"x": int(request_id)},
    ).rows[0]
    known: dict[str, Any] = {"id": request_id, **dict.fromkeys(RESTART_FIELDS), "reason": reason}
    known.update(process=f"{host}:{name}", host=host)
    if taken_at is None and database_now(cnx) - requested_at.timestamp() > VALID_S:
        told = f"no collector of {host} took it up: does its scheduler, or leak-collect, run?"
        return {**known, "stage": "done", "outcome": "not-taken", "detail": told}
    if taken_at is None:
        return {**known, "stage": "asked"}
    if refusal:
        return {**known, "stage": "done", "outcome": "refused", "detail": refusal}
    done = _finished(cnx, host, json.loads(ids))
    return {**known, **done, "process": f"{host}:{name}", "stage": "done" if done else "taken up"}


def _finished(cnx: Any, host: str, ids: Iterable[str]) -> dict[str, Any]:
    names = ", ".join(f"X {name} C{index}" for index, name in enumerate(RESTART_FIELDS))
    columns = ", ".join(f"C{index}" for index in range(len(RESTART_FIELDS)))
    for restart_id in ids:
        rows = cnx.execute(
            f"Any {columns} WHERE X is WorkerRestart, X host %(h)s, X restart_id %(i)s, {names}",
            {"h": host, "i": restart_id},
        ).rows
        if rows:
            row = dict(zip(RESTART_FIELDS, rows[0], strict=True))
            return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
    return {}
