"""Concluding from the recorded history, and recording what is concluded: findings open and close by themselves.

Few points, evenly spread over a day, are enough for a conclusion, and they keep the task light.
"""

import datetime
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cubicweb_leakwatch import reports
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.recording import conclusions, history
from cubicweb_leakwatch.recording.records import NUMBERS, utc

logger = logging.getLogger("leakwatch.findings")

LOOK_BACK_S = 86400.0
POINTS = 480
"""Snapshots of one process that a conclusion rests on: a day at one every three minutes."""

ROUNDS_TO_OPEN = 2
ROUNDS_TO_CLOSE = 3
"""Conclusions in a row before a finding opens or closes: one doubtful hour neither alarms nor reassures."""

COLUMNS = ("t", *NUMBERS, "types", "views")
PLAIN = ("kind", "leak", "bytes_per_request", "confidence", "holder", "ceiling", "seconds_to_limit", "advice")
RATES = ("rate_bytes_per_h", "rate_low", "rate_high")
AS_JSON = ("culprits", "views", "evidence")

Write = Callable[[Callable[[Any], Any]], Any]


class Findings:
    """The findings of one host's processes: kept in the database, and beside the probes for commands and pages."""

    def __init__(self, host: str, directory: Path) -> None:
        self.host = host
        self.directory = directory
        self._in_a_row: dict[tuple[str, bool], int] = {}
        self._holders: dict[str, str] = {}

    def update(self, write: Write, limits: Mapping[str, int | None]) -> list[dict[str, Any]]:
        """Conclude anew about every process; return the findings. ``limits`` are bytes by slot.

        Raises ``LeakwatchError`` when no conclusion can be drawn, and what the database raises.
        """
        now = time.time()
        samples = write(lambda cnx: spread_samples(cnx, self.host, now))
        deployments = write(lambda cnx: read_deployments(cnx, self.host, now))
        found = [self._with_holder(finding) for finding in self._conclude(samples, limits, deployments)]
        for finding in found:
            write(partial(self._record, finding=finding))
        conclusions.write_findings(self.directory, found)
        return found

    def _conclude(
        self, samples: list[dict[str, Any]], limits: Mapping[str, int | None], deployments: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        found = conclusions.conclude_apart(samples, limits, deployments) if samples else []
        for finding in found:
            key, other = (finding["process"], finding["leak"]), (finding["process"], not finding["leak"])
            self._in_a_row[key] = self._in_a_row.get(key, 0) + 1
            self._in_a_row.pop(other, None)
        return found

    def _with_holder(self, finding: dict[str, Any]) -> dict[str, Any]:
        """Add what keeps the culprits, looked up once a finding: when it opens, since a look costs a copy."""
        process = finding["process"]
        if not finding["leak"]:
            self._holders.pop(process, None)
        elif finding["culprits"] and self._in_a_row[(process, True)] == ROUNDS_TO_OPEN:
            self._holders[process] = look_for_holder(self.directory, process, finding["culprits"])
        return {**finding, "holder": finding.get("holder") or self._holders.get(process) or None}

    def _record(self, cnx: Any, *, finding: Mapping[str, Any]) -> None:
        process, leak = finding["process"], bool(finding["leak"])
        rounds = self._in_a_row[(process, leak)]
        open_one = _open_finding(cnx, self.host, process)
        if open_one is not None and leak:
            cnx.entity_from_eid(open_one).cw_set(**fields(finding))
        elif open_one is not None and rounds >= ROUNDS_TO_CLOSE:
            cnx.entity_from_eid(open_one).cw_set(closed_at=utc(time.time()))
            logger.info("finding closed process=%s", process)
        elif open_one is None and leak and rounds >= ROUNDS_TO_OPEN:
            _open(cnx, self.host, finding)
            logger.warning("finding opened process=%s kind=%s advice=%s", process, finding["kind"], finding["advice"])


def look_for_holder(directory: Path, process: str, culprits: Sequence[Mapping[str, Any]]) -> str:
    """Return what keeps a culprit alive, as a look into the process now tells; empty when that is not known."""
    try:
        return reports.look_for_holder(directory, process, [culprit["type"] for culprit in culprits])
    except LeakwatchError as error:
        logger.warning("no look for the holder process=%s: %s", process, error.message)
        return ""


def read_deployments(cnx: Any, host: str, now: float) -> list[dict[str, Any]]:
    """Return the last day's deployments on ``host``: two processes of a slot differ in what was installed."""
    processes = [row for row in history.read_processes(cnx, now - LOOK_BACK_S, now) if row["host"] == host]
    return [event for event in history.events(processes, ()) if event["kind"] == "deployment"]


def _open_finding(cnx: Any, host: str, process: str) -> int | None:
    rows = cnx.execute(
        "Any X WHERE X is LeakFinding, X host %(h)s, X process %(p)s, X closed_at NULL", {"h": host, "p": process}
    ).rows
    return rows[0][0] if rows else None


def _open(cnx: Any, host: str, finding: Mapping[str, Any]) -> None:
    rows = cnx.execute(
        "Any P ORDERBY S DESC LIMIT 1 WHERE P is LeakwatchProcess, P host %(h)s, P name %(p)s, P started_at S",
        {"h": host, "p": finding["process"]},
    ).rows
    cnx.create_entity(
        "LeakFinding",
        host=host,
        process=finding["process"],
        opened_at=utc(time.time()),
        finding_of=rows[0][0] if rows else None,
        **fields(finding),
    )


def fields(finding: Mapping[str, Any]) -> dict[str, Any]:
    """Return a finding (as documented) as the attributes of its entity."""
    values = {name: finding.get(name) for name in (*PLAIN, *RATES)}
    values.update({name: json.dumps(finding.get(name)) if finding.get(name) else None for name in AS_JSON})
    since = finding.get("since")
    values["since"] = datetime.datetime.fromisoformat(since) if since else None
    return values


def spread_samples(cnx: Any, host: str, now: float) -> list[dict[str, Any]]:
    """Return samples of the last day of each slot of ``host`` that still has a process, evenly spread, oldest first.

    In SQL: which rows to take is a matter of counting them, and reading them one by one would take seconds.
    """
    columns = ", ".join(f"s.cw_{name}" for name in COLUMNS)
    cursor = cnx.system_sql(
        f"SELECT p.cw_name, p.cw_pid, {columns} FROM cw_memorysnapshot s"
        " JOIN cw_leakwatchprocess p ON p.cw_eid = s.cw_snapshot_of JOIN ("
        "  SELECT r.cw_eid AS eid, ROW_NUMBER() OVER (PARTITION BY q.cw_name ORDER BY r.cw_t DESC) AS place,"
        "  COUNT(*) OVER (PARTITION BY q.cw_name) AS number"
        "  FROM cw_memorysnapshot r JOIN cw_leakwatchprocess q ON q.cw_eid = r.cw_snapshot_of"
        "  WHERE q.cw_host = %(host)s AND r.cw_t >= %(since)s AND q.cw_name IN"
        "   (SELECT cw_name FROM cw_leakwatchprocess WHERE cw_host = %(host)s AND cw_ended_at IS NULL)"
        " ) ranked ON ranked.eid = s.cw_eid"
        # whole numbers: (a / b) * b is a where b divides a; MOD is not in every SQLite
        " WHERE (ranked.place - 1) / ((ranked.number + %(most)s) / %(points)s)"
        " * ((ranked.number + %(most)s) / %(points)s) = ranked.place - 1 ORDER BY s.cw_t",
        {"host": host, "since": now - LOOK_BACK_S, "points": POINTS, "most": POINTS - 1},
    )
    return [_sample(dict(zip(("process", "pid", *COLUMNS), row, strict=True))) for row in cursor.fetchall()]


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("types", "views"):
        row[name] = json.loads(row[name]) if row[name] else None
    return {name: value for name, value in row.items() if value is not None}
