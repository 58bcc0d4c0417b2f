"""A live look at the processes of an instance through their probes: what ``leak-status`` and ``leak-gc`` tell.

The commands and the services of the web pages share this; neither CubicWeb nor a database is needed.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.client import ProbeAddress, ProbeError, ask, ask_all, ask_patiently, choose
from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.finding import Finding, Kind, iso_utc

DUMP_TIMEOUT_S = 180.0
COUNT_TIMEOUT_S = 60.0

Analyse = Callable[..., dict[str, Any]]
"""Called with the path of a dump and ``limit``; returns an item of ``leak-gc``."""

Judge = Callable[[ProbeAddress, int | None], Finding]
"""Called with a process and its memory limit in bytes; returns what is to be thought of it."""

FEWEST_SAMPLES = 12
"""Below two minutes of samples nothing can be concluded, and NumPy need not be loaded to say so."""


@dataclass
class Look:
    """What a look found: one item a process, and a sentence for each process that did not answer."""

    items: list[dict[str, Any]] = field(default_factory=list)
    failures: list[LeakwatchError] = field(default_factory=list)


def status(directory: Path, process: str | None = None, *, judge: Judge | None = None) -> tuple[dict[str, Any], Look]:
    """Return the data of ``leak-status`` and what went wrong; ``process`` is a slot or a pid, ``None`` means all.

    ``judge`` says what is to be thought of a process; by default, what the looping task concluded last.
    The processes of other hosts, ``HOST:SLOT``, are told as they were last recorded.
    Raises ``ConfigurationError`` when no process answers to that name, ``ProbeError`` when none answers at all.
    """
    others = elsewhere(directory, process)
    if others and process is not None:
        return {"verdict": verdict([recorded_elsewhere(row) for row in others]), "processes": others}, Look()
    judge = judge or recorded_judge(directory)
    findings: list[Finding] = []

    probes = choose(directory, process)
    answers = dict(zip(probes, ask_all(probes, "status"), strict=True))

    def row(address: ProbeAddress) -> dict[str, Any]:
        if isinstance(answers[address], LeakwatchError):
            raise answers[address]
        values = dict(answers[address])
        finding = judge(address, values.get("limit"))
        left = finding.seconds_left(values.get("rss"), values.get("limit"))
        finding = replace(finding, seconds_to_limit=left)
        findings.append(finding)
        return {
            **values,
            "verdict": finding.kind,
            "leak": finding.leak,
            "rate_bytes_per_h": finding.rate_bytes_per_h,
            "seconds_to_limit": finding.seconds_to_limit,
            "culprits": [culprit.type for culprit in finding.culprits],
            "holder": finding.holder,
            "advice": finding.advice,
            "since": None if finding.since is None else iso_utc(finding.since),
            "ceiling": finding.ceiling,
            "confidence": finding.confidence,
            "samples": finding.evidence.get("samples"),
        }

    look = _each(probes, row)
    findings += [recorded_elsewhere(row) for row in others]
    return {"verdict": verdict(findings), "processes": [*look.items, *others]}, look


def elsewhere(directory: Path, process: str | None) -> list[dict[str, Any]]:
    """Return the rows of the other hosts' processes: all of them, or the one that ``process`` names."""
    from cubicweb_leakwatch.recording.elsewhere import read_elsewhere

    return [row for row in read_elsewhere(directory) if process in (None, row["name"])]


def recorded_elsewhere(row: dict[str, Any]) -> Finding:
    """Return what another host concluded about its process, as far as the verdict needs it."""
    kind: Kind = row["verdict"] if row["leak"] else "steady"
    return Finding(
        row["name"], kind, rate_bytes_per_h=row["rate_bytes_per_h"], seconds_to_limit=row["seconds_to_limit"]
    )


def one_a_slot(processes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row of ``leak-status`` a slot: of two that are there during a replacement, the one that serves."""
    order = {"serving": 0, "starting": 1}
    chosen: dict[tuple[Any, str], dict[str, Any]] = {}
    for process in processes:
        slot = process.get("host"), process["name"]
        known = chosen.get(slot)
        if known is None or order.get(process["state"], 2) < order.get(known["state"], 2):
            chosen[slot] = process
    return list(chosen.values())


def recorded_judge(directory: Path) -> Judge:
    """Return a judge that knows what the looping task concluded last; it costs nothing."""
    from cubicweb_leakwatch.recording.conclusions import finding_of, read_findings

    findings = read_findings(directory)
    return lambda address, _limit: finding_of(findings, address.name)


def judge_here(address: ProbeAddress, limit: int | None) -> Finding:
    """Conclude from the hour of samples that the process keeps; it loads NumPy, so it is for a command alone."""
    samples = [Sample.from_json(data) for data in ask(address, "ring")]
    if len(samples) < FEWEST_SAMPLES:
        return Finding(address.name, "not-enough-data")
    from cubicweb_leakwatch.watch.conclude import conclude

    return conclude(samples, limit=limit)


def gc_counts(directory: Path, process: str | None = None, *, limit: int = 20) -> Look:
    """Return the items of ``leak-gc --types-only``: counts alone, the cheap part."""
    return _each(
        choose(directory, process),
        lambda address: dict(ask_patiently(address, "gc", timeout_s=COUNT_TIMEOUT_S, limit=limit)),
    )


def gc_reports(
    directory: Path,
    process: str | None = None,
    *,
    limit: int = 20,
    analyse: Analyse | None = None,
) -> Look:
    """Return the items of ``leak-gc``, one process after the other: a dump is taken, analysed and removed.

    ``analyse`` takes the path of the dump and ``limit``; by default the analysis runs in this very process.
    """

    def report(address: ProbeAddress) -> dict[str, Any]:
        asked = time.monotonic()
        with taken_dump(address) as dump:
            found = (analyse or _analyse_here)(dump["path"], limit=limit)
        # how long the process stood still is known only once its dump has been written
        elapsed_ms = (time.monotonic() - asked) * 1000
        return {**found, "pause_ms": dump["pause_ms"], "elapsed_ms": elapsed_ms, "partial": dump["partial"]}

    return _each(choose(directory, process), report)


def _analyse_here(path: str, *, limit: int) -> dict[str, Any]:
    from cubicweb_leakwatch.heap.report import gc_report

    return gc_report(path, limit=limit)


@contextlib.contextmanager
def taken_dump(address: ProbeAddress) -> Iterator[dict[str, Any]]:
    """Have the process write a heap dump, give what it says of it, and remove the file at the end."""
    dump = ask_patiently(address, "dump", timeout_s=DUMP_TIMEOUT_S)
    try:
        yield dump
    finally:
        Path(dump["path"]).unlink(missing_ok=True)


def _each(addresses: Sequence[ProbeAddress], look_at: Callable[[ProbeAddress], dict[str, Any]]) -> Look:
    """Look at each process; one that went away meanwhile is a failure of its own, not of the whole look."""
    look = Look()
    for address in addresses:
        try:
            look.items.append(look_at(address))
        except LeakwatchError as error:
            look.failures.append(error)
    if look.failures and not look.items:
        raise look.failures[0]
    return look


def _time_left(finding: Finding) -> float:
    return float("inf") if finding.seconds_to_limit is None else finding.seconds_to_limit


def verdict(findings: Sequence[Finding]) -> str:
    """Return the sentence that stands before all numbers: the worst process first."""
    from cubicweb_leakwatch.watch.units import format_duration, format_rate

    findings = list({finding.process: finding for finding in findings}.values())
    leaks = sorted((f for f in findings if f.leak), key=_time_left)
    if leaks:
        worst = leaks[0]
        text = f"{worst.process} leaks ({worst.kind}): {format_rate(worst.rate_bytes_per_h)}"
        if worst.seconds_to_limit is not None:
            now = worst.seconds_to_limit < 60
            text += ", at its limit now" if now else f", {format_duration(worst.seconds_to_limit)} to its limit"
        others = len(leaks) - 1
        return text + (f"; so does {others} other" if others == 1 else f"; so do {others} others" if others else "")
    unknown = [finding for finding in findings if finding.kind == "not-enough-data"]
    if unknown and len(unknown) == len(findings):
        return "not enough data yet to judge: the processes have just started"
    grows = [f for f in findings if f.kind in ("warming-up", "fragmentation", "plateau")]
    if grows:
        return f"no leak seen; {', '.join(f'{f.process}: {f.kind}' for f in grows)}"
    return "no leak seen"


__all__ = [
    "Look",
    "ProbeError",
    "gc_counts",
    "gc_reports",
    "judge_here",
    "one_a_slot",
    "status",
    "taken_dump",
    "verdict",
]
