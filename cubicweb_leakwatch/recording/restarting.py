"""Asking the launcher to replace a worker when the policy says so: a leak is contained before it reaches the limit.

The hard limit is the worker's own affair, checked each second; this is for what is predicted, and for a worker that
cannot look after itself any more.
"""

import datetime
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.recording.conclusions import finding_of
from cubicweb_leakwatch.recording.measuring import Measured
from cubicweb_leakwatch.recording.records import AUTOMATIC
from cubicweb_leakwatch.serve.control import ask_launcher
from cubicweb_leakwatch.serve.masters import master_of
from cubicweb_leakwatch.serve.othermaster import Errand, send
from cubicweb_leakwatch.serve.run import policy_of
from cubicweb_leakwatch.watch.policy import Candidate, Decision, PastRestart, Rules, decide

logger = logging.getLogger("leakwatch.restarting")

PAST_S = 86400.0
DONE = "done"


def replace_if_due(
    directory: Path,
    rules: Rules,
    processes: Sequence[Measured],
    findings: Sequence[Mapping[str, Any]],
    past: Sequence[PastRestart],
) -> Decision | None:
    """Decide, and ask the launcher; return the decision, ``None`` where no launcher runs or restarts are off."""
    if rules.mode == "off":
        return None
    try:
        moving = _moving(directory)
        decision = decide(candidates(processes, findings, moving), rules, datetime.datetime.now().astimezone(), past)
        if decision.process is not None:
            _propose(directory, decision)
            logger.warning("replacement asked for process=%s reason=%s", decision.process, decision.reason)
    except LeakwatchError as error:
        if error.code == "no-launcher":
            return _ask_another_master(directory, rules, processes, findings, past)
        logger.warning("no replacement: %s", error.message)
        return None
    if decision.advised is not None and decision.process is None:
        logger.warning("advice: %s", decision.reason)
    return decision


def _ask_another_master(
    directory: Path,
    rules: Rules,
    processes: Sequence[Measured],
    findings: Sequence[Mapping[str, Any]],
    past: Sequence[PastRestart],
) -> Decision | None:
    """Decide, and have gunicorn or uWSGI asked; ``None`` where nothing is due, or nobody would start a successor."""
    decision = decide(candidates(processes, findings, ()), rules, datetime.datetime.now().astimezone(), past)
    pid = next((each.identity.pid for each in processes if each.identity.name == decision.process), None)
    if pid is None or decision.process is None or master_of(pid) is None:
        return None
    planned = not decision.urgent
    errand = Errand(decision.process, pid, decision.reason, "policy", policy_of(rules), planned=planned)
    # It takes as long as a boot and a drain; the round must not.
    threading.Thread(target=send, args=(directory, errand), name="leakwatch-errand", daemon=True).start()
    return decision


def _propose(directory: Path, decision: Decision) -> None:
    """Hand it to the launcher, which still looks at budget, window and quiet minutes when its time has come."""
    process, reason, planned = decision.process, decision.reason, not decision.urgent
    ask_launcher(str(directory), "restart", process=process, reason=reason, by="policy", policy=True, planned=planned)


def _moving(directory: Path) -> set[str]:
    """Return the slots that are being replaced now, as the launcher says; one that waits for its hour is not."""
    restarts = ask_launcher(str(directory), "restarts", after=None)["restarts"]
    return {each["process"] for each in restarts if each.get("stage") != DONE and not each.get("held")}


def candidates(
    processes: Iterable[Measured], findings: Sequence[Mapping[str, Any]], moving: Iterable[str]
) -> list[Candidate]:
    """Return what the policy needs to know of each web worker."""
    taken = set(moving)
    return [_candidate(measured, findings, taken) for measured in processes if measured.identity.role == "web"]


def _candidate(measured: Measured, findings: Sequence[Mapping[str, Any]], moving: set[str]) -> Candidate:
    name, sample = measured.identity.name, measured.samples[-1]
    finding = finding_of(findings, name)
    held = sample.uss if sample.uss is not None else sample.rss
    return Candidate(
        name,
        state="draining" if name in moving else measured.state,
        rss=held,
        limit=measured.limit,
        seconds_to_limit=finding.seconds_left(held, measured.limit) if finding.leak else None,
        age_s=sample.t - measured.identity.started_at,
    )


def read_past(cnx: Any, host: str, now: float) -> list[PastRestart]:
    """Return the restarts of the last day on ``host``."""
    since = datetime.datetime.fromtimestamp(now - PAST_S, datetime.UTC)
    rows = cnx.execute(
        "Any N, T, O, B, A, Y WHERE X is WorkerRestart, X host %(h)s, X process N, X requested_at T, X outcome O,"
        " X rss_before B, X rss_after A, X asked_by Y, X requested_at >= %(since)s",
        {"h": host, "since": since},
    ).rows
    return [
        PastRestart(name, t.timestamp(), outcome or "replaced", b, a, by in (None, *AUTOMATIC))
        for name, t, outcome, b, a, by in rows
    ]
