"""Asking all processes of an instance on this host, and its launcher, for what the metrics tell of them."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.client import ProbeAddress, ask
from cubicweb_leakwatch.probe.runtime import find_probes
from cubicweb_leakwatch.recording.conclusions import FILE, read_findings
from cubicweb_leakwatch.room import read_room
from cubicweb_leakwatch.serve.control import ask_launcher
from cubicweb_leakwatch.serve.procfs import rss_of

ANSWER_TIMEOUT_S = 3.0
"""A process that takes longer is told as silent; a monitoring server gives up after ten seconds."""

SAMPLE_AGE_S = 30.0
ASKED_AT_ONCE = 8


@dataclass(frozen=True)
class Figures:
    """What is known now; memory in bytes, times in Unix seconds, ``None`` for what could not be told.

    ``processes`` are rows of ``leak-status``, with the allocator's figures of the process's own last sample;
    ``findings`` are by slot; ``launcher`` is its status, with ``rss``.
    """

    site: str
    processes: tuple[Mapping[str, Any], ...] = ()
    silent: int = 0
    findings: Mapping[str, Mapping[str, Any]] | None = None
    concluded_at: float | None = None
    available: int | None = None
    launcher: Mapping[str, Any] | None = None


def gather(directory: Path, site: str) -> Figures:
    """Ask now; a process that does not answer is counted as silent, an instance where nothing runs has no figures."""
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        answers = list(pool.map(_row, find_probes(directory)))
    rows = [row for row in answers if row is not None]
    return Figures(
        site,
        processes=tuple(row for row in rows if row.get("instance") in (None, site)),
        silent=len(answers) - len(rows),
        findings={found["process"]: found for found in read_findings(directory)},
        concluded_at=_written_at(directory / FILE),
        available=read_room().available,
        launcher=_launcher(directory),
    )


def _row(address: ProbeAddress) -> dict[str, Any] | None:
    """Return a process's row; the sample is one that it took by itself, so that asking costs it one walk, not two."""
    try:
        status = ask(address, "status", timeout_s=ANSWER_TIMEOUT_S)
        samples = ask(address, "ring", timeout_s=ANSWER_TIMEOUT_S, since=time.time() - SAMPLE_AGE_S)
    except LeakwatchError:
        return None
    return {**(samples[-1] if samples else {}), **status}


def _launcher(directory: Path) -> dict[str, Any] | None:
    try:
        status = ask_launcher(str(directory), "status", timeout_s=ANSWER_TIMEOUT_S)
    except LeakwatchError:
        return None
    return {**status, "rss": rss_of(status["pid"])}


def _written_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
