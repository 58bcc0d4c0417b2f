"""Concluding from the recorded history, and recording what is concluded: findings open and close by themselves.

Few points, evenly spread over a day, are enough for a conclusion, and they keep the task light.
"""

import datetime
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cubicweb_leakwatch import reports
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.client import find_probes
from cubicweb_leakwatch.recording import conclusions, history
from cubicweb_leakwatch.recording.extensions import extensions_of, traced_extension
from cubicweb_leakwatch.recording.records import NUMBERS, utc
from cubicweb_leakwatch.recording.refining import deployed_sentence, grown_bytes, refined
from cubicweb_leakwatch.watch.finding import Finding, Kind
from cubicweb_leakwatch.watch.sentences import Sentence, _, with_note

logger = logging.getLogger("leakwatch.findings")

LOOK_BACK_S = 86400.0
POINTS = 480
"""Snapshots of one process that a conclusion rests on: a day at one every three minutes."""

ROUNDS_TO_OPEN = 2
ROUNDS_TO_CLOSE = 3
"""Conclusions in a row before a finding opens or closes: one doubtful hour neither alarms nor reassures."""

OF_C: tuple[Kind, ...] = ("native", "python-memory")
"""Kinds that a C extension may be the cause of: memory of its own, or a reference count that it leaves too high."""

MOST_LOOKS = 4
"""Looks into a process for one finding: they cost a copy, and fail where another has its turn or memory is short."""

TYPES_LOOKED_AT = 5
LOOKED_INTO = ("python-objects", "uncollectable", *OF_C)
"""Kinds that a look can tell more of: memory of C's may be long strings, which do not show among Python's blocks."""

GROWN_SINCE = 2.0
"""A look is taken again when memory has grown so many times as much: what was little then may stand out now."""

SAME_LEAK_S = 90 * 86400.0
"""A leak that comes back within this time after its finding closed opens that one again."""

COLUMNS = ("t", *NUMBERS, "types", "views", "tasks")
PLAIN = ("kind", "leak", "bytes_per_request", "confidence", "holder", "ceiling", "seconds_to_limit", "advice")
RATES = ("rate_bytes_per_h", "rate_low", "rate_high")
AS_JSON = ("culprits", "views", "evidence")

Write = Callable[[Callable[[Any], Any]], Any]
Tell = Callable[[Mapping[str, Any]], None]


class Findings:
    """The findings of one host's processes: kept in the database, and beside the probes for commands and pages."""

    def __init__(self, host: str, directory: Path, tell: Tell | None = None) -> None:
        """``tell`` is called with each finding (as documented) that has just been opened and recorded."""
        self.host = host
        self.directory = directory
        self._tell = tell
        self._in_a_row: dict[tuple[str, bool], int] = {}
        self._looks: dict[str, dict[str, Any]] = {}
        self._tried: Counter[str] = Counter()

    def update(self, write: Write, limits: Mapping[str, int | None]) -> list[dict[str, Any]]:
        """Conclude anew about every process; return the findings. ``limits`` are bytes by slot.

        Raises ``LeakwatchError`` when no conclusion can be drawn, and what the database raises.
        """
        now = time.time()
        samples = write(lambda cnx: spread_samples(cnx, self.host, now))
        deployments = write(lambda cnx: read_deployments(cnx, self.host, now))
        found = [self._looked_into(finding) for finding in self._conclude(samples, limits, deployments)]
        self._count(found)
        for finding in found:
            opened = write(partial(self._record, finding=finding))
            if opened and self._tell is not None:
                self._tell(finding)
        conclusions.write_findings(self.directory, found)
        return found

    def _conclude(
        self, samples: list[dict[str, Any]], limits: Mapping[str, int | None], deployments: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        return conclusions.conclude_apart(samples, limits, deployments) if samples else []

    def _count(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Count how often in a row each process was said to leak, or not to."""
        for finding in found:
            key, other = (finding["process"], finding["leak"]), (finding["process"], not finding["leak"])
            self._in_a_row[key] = self._in_a_row.get(key, 0) + 1
            self._in_a_row.pop(other, None)

    def _looked_into(self, finding: dict[str, Any]) -> dict[str, Any]:
        """Refine a leak by a look into the process, taken once, when a leak is first said: it costs a copy.

        A cache of CubicWeb's that fills must not be shown as a leak until the next conclusion.
        """
        process = finding["process"]
        if not finding["leak"]:
            self._looks.pop(process, None)
            self._tried.pop(process, None)
            return finding
        if finding["kind"] not in LOOKED_INTO:
            return finding
        now = time.time()
        if self._is_due(Finding.from_json(finding), now):
            self._tried[process] += 1
            self._look(finding, now)
        look = self._looks.get(process)
        found = refined(Finding.from_json(finding), look, now).as_json() if look else finding
        return self._with_extensions(found) if found["kind"] in OF_C else found

    def _is_due(self, finding: Finding, now: float) -> bool:
        """Whether nobody has looked yet, or long ago by what has grown since; and not too often."""
        if self._tried[finding.process] >= MOST_LOOKS:
            return False
        last = self._looks.get(finding.process)
        return last is None or grown_bytes(finding, now) >= GROWN_SINCE * max(last["grown"], 1.0)

    def _with_extensions(self, finding: dict[str, Any]) -> dict[str, Any]:
        """Name the C extensions that the process has loaded: what leaks may be one of theirs."""
        pids = [address.pid for address in find_probes(self.directory) if address.name == finding["process"]]
        found = extensions_of(pids[-1]) if pids else ()
        if not found:
            return finding
        traced = traced_extension(self.directory, finding["process"], pids[-1], found)
        if traced:
            told = _("leak-trace --native: of what C extensions allocated and is still alive, %(share)s is of %(name)s")
            note = Sentence(told, share=f"{traced[1]:.0%}", name=traced[0])
        else:
            told = _("C extensions it has loaded: %(names)s; leak-trace --native tells which one allocates")
            note = Sentence(told, names=", ".join(found))
        evidence = with_note(finding["evidence"], note)
        named = {"extensions": list(found), "extension": traced[0] if traced else None}
        return {**finding, "evidence": {**evidence, **named}}

    def _look(self, finding: Mapping[str, Any], now: float) -> None:
        process = finding["process"]
        types = [culprit["type"] for culprit in finding["culprits"]][:TYPES_LOOKED_AT]
        try:
            report = reports.look_at_growth(self.directory, process, types)
            self._looks[process] = {**report, "t": now, "grown": grown_bytes(Finding.from_json(finding), now)}
        except LeakwatchError as error:
            logger.warning("no look at what grows process=%s: %s", process, error.message)

    def _record(self, cnx: Any, *, finding: Mapping[str, Any]) -> bool:
        """Open, keep up to date or close the finding about a process; return whether it opened."""
        process, leak = finding["process"], bool(finding["leak"])
        rounds = self._in_a_row[(process, leak)]
        open_one = _open_finding(cnx, self.host, process)
        if open_one is not None and leak:
            cnx.entity_from_eid(open_one).cw_set(**_known(fields(finding)))
        elif open_one is not None and rounds >= ROUNDS_TO_CLOSE:
            _close(cnx, open_one, finding)
            logger.info("finding closed process=%s %s", process, deployed_sentence(finding))
        elif open_one is None and leak and rounds >= ROUNDS_TO_OPEN:
            if not _open_again(cnx, self.host, finding):
                _open(cnx, self.host, finding)
            logger.warning("finding opened process=%s kind=%s advice=%s", process, finding["kind"], finding["advice"])
            return True
        return False


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out a holder that is not known now: a collector that was started anew has not looked yet."""
    return {name: value for name, value in values.items() if name != "holder" or value}


def read_deployments(cnx: Any, host: str, now: float) -> list[dict[str, Any]]:
    """Return the last day's deployments on ``host``: two processes of a slot differ in what was installed."""
    processes = [row for row in history.read_processes(cnx, now - LOOK_BACK_S, now) if row["host"] == host]
    return [event for event in history.events(processes, ()) if event["kind"] == "deployment"]


def _open_finding(cnx: Any, host: str, process: str) -> int | None:
    rows = cnx.execute(
        "Any X WHERE X is LeakFinding, X host %(h)s, X process %(p)s, X closed_at NULL", {"h": host, "p": process}
    ).rows
    return rows[0][0] if rows else None


def _close(cnx: Any, eid: int, finding: Mapping[str, Any]) -> None:
    """Close a finding; what ended the leak, where that is known, is noted in it."""
    entity = cnx.entity_from_eid(eid)
    values: dict[str, Any] = {"closed_at": utc(time.time())}
    why = deployed_sentence(finding)
    if why:
        evidence = with_note(json.loads(entity.evidence or "{}"), why)
        values["evidence"] = json.dumps(evidence)
    entity.cw_set(**values)


def _open_again(cnx: Any, host: str, finding: Mapping[str, Any]) -> bool:
    """Open the closed finding about the same leak, if there is one; return whether there was."""
    rows = cnx.execute(
        "Any X, C, K, E, D ORDERBY D DESC LIMIT 20 WHERE X is LeakFinding, X host %(h)s, X process %(p)s,"
        " X closed_at D, X closed_at > %(t)s, X kind K, X culprits C, X evidence E",
        {"h": host, "p": finding["process"], "t": utc(time.time() - SAME_LEAK_S)},
    ).rows
    for eid, culprits, kind, evidence, closed_at in rows:
        before = {"kind": kind, "culprits": json.loads(culprits or "[]"), "evidence": json.loads(evidence or "{}")}
        if _same_leak(before, finding):
            note = Sentence(_("came back; it had ended at %(ended_at)s"), ended_at=f"{closed_at:%Y-%m-%dT%H:%M:%SZ}")
            told = with_note(finding["evidence"], note)
            values = {**fields({**finding, "evidence": told}), "closed_at": None}
            cnx.entity_from_eid(eid).cw_set(**values)
            return True
    return False


def _same_leak(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two findings about one slot are about one leak: their fingerprints, else kind and first culprit."""
    prints = [(finding.get("evidence") or {}).get("fingerprint") for finding in (before, now)]
    if all(prints):
        return bool(prints[0] == prints[1])
    first = [[culprit["type"] for culprit in finding["culprits"][:1]] for finding in (before, now)]
    return bool(before["kind"] == now["kind"] and first[0] and first[0] == first[1])


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
    for name in ("types", "views", "tasks"):
        row[name] = json.loads(row[name]) if row[name] else None
    return {name: value for name, value in row.items() if value is not None}
