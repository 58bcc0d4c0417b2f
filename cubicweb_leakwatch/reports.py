"""The gc report of a process: taken on request, one at a time, and kept for whoever opens the page next.

The analysis of a dump runs in a process of its own, so that NumPy never lands in a web worker. The last report of each
process lies in the runtime directory, where every worker of the instance finds it. Imports nothing of CubicWeb.
"""

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from cubicweb_leakwatch import live
from cubicweb_leakwatch.apart import run_apart, write_private
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.client import choose
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.probe.runtime import find_probes, lock_file

ANALYSIS_TIMEOUT_S = 120.0
FRESH_S = 10.0
"""How old a report may be to be given again: a page that is reloaded costs the process nothing."""

TURN_S = 60.0
"""How long a look waits for the one that goes on."""

POLL_S = 0.1

LEAVE_S = 5.0
"""How long before the end of its drain a worker gives a look up: so the answer gets out."""

Found = TypeVar("Found")


def while_serving(look: Callable[[], Found]) -> Found:
    """Take a look for as long as this process serves: a worker that is replaced must answer within its drain time.

    Raises what the look raises, and ``LeakwatchError`` with code ``replaced`` when the worker leaves before its end.
    """
    found: Future[Found] = Future()
    threading.Thread(target=_into, args=(found, look), daemon=True, name="leakwatch-look").start()
    until = float("inf")
    while not wait([found], POLL_S).done:
        if until == float("inf") and this_process().state in ("draining", "stopping"):
            until = time.monotonic() + max(0.0, _drain_limit_s() - LEAVE_S)
        if time.monotonic() >= until:
            told = "the worker that took the look is being replaced"
            raise LeakwatchError(told, "ask again: its successor serves", "replaced")
    return found.result()


def _drain_limit_s() -> float:
    from cubicweb_leakwatch.serve.worker import drain_times  # who drains has it already

    return drain_times(os.environ).limit_s


def _into(found: Future[Found], look: Callable[[], Found]) -> None:
    try:
        found.set_result(look())
    except BaseException as error:
        found.set_exception(error)


def new_reports(directory: Path, process: str | None = None, *, limit: int = 20, wait_s: float = TURN_S) -> live.Look:
    """Look at the processes that ``process`` (a slot or pid, ``None`` for all) names; keep and return their reports.

    Looks take turns, for each costs the host a copy and a core; who waited for a look at the same process gets its
    report. Raises ``ConfigurationError`` when there is no such process, and ``LeakwatchError`` with code ``busy`` when
    the turn does not come within ``wait_s`` seconds.
    """
    choose(directory, process)
    asked = time.time()
    with turn(directory, wait_s):
        meanwhile = [report for report in last_reports(directory, process) if taken_at(report) >= asked]
        if process is not None and meanwhile:
            return live.Look(meanwhile)
        look = live.gc_reports(directory, process, limit=limit, analyse=analyse_apart)
        for report in look.items:
            _keep(directory, report)
    return look


def look_at_growth(directory: Path, process: str, types: Sequence[str]) -> dict[str, Any]:
    """Look into a process at what grows there: who holds objects of these types, and where objects pile up.

    Raises ``LeakwatchError`` when no look is possible, with code ``busy`` when its turn does not come.
    """
    address = choose(directory, process)[-1]
    with turn(directory, TURN_S), live.taken_dump(address) as dump:
        return run_apart(
            "cubicweb_leakwatch.heap",
            *("leaking", "--", dump["path"], *types),
            kind=dict,
            what="the look at what grows",
            time_limit_s=ANALYSIS_TIMEOUT_S,
        )


def last_reports(directory: Path, process: str | None = None) -> list[dict[str, Any]]:
    """Return the reports that were kept of living processes, by slot; nobody is asked, so it costs nothing."""
    found = []
    for address in find_probes(directory):
        if process is None or process in (address.name, str(address.pid)):
            report = _kept(report_path(directory, address.name, address.pid))
            if report is not None:
                found.append(report)
    return found


def age_s(report: dict[str, Any]) -> float:
    """Return the seconds since the report's dump was taken."""
    return time.time() - taken_at(report)


def taken_at(report: dict[str, Any]) -> float:
    """Return when the report's dump was taken, in Unix seconds."""
    return datetime.fromisoformat(report["taken_at"]).timestamp()


def analyse_apart(path: str, *, limit: int) -> dict[str, Any]:
    """Return the gc report of a dump, worked out in a process of its own. Raises ``LeakwatchError``."""
    report: dict[str, Any] = run_apart(
        "cubicweb_leakwatch.heap",
        *("gc", path, "--limit", str(limit)),
        kind=dict,
        what="the analysis of the heap dump",
        time_limit_s=ANALYSIS_TIMEOUT_S,
    )
    return report


@contextlib.contextmanager
def turn(directory: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock that only one look has; it goes with its holder, even a killed one."""
    try:
        lock = lock_file(directory / "look.lock")
    except OSError as error:
        raise LeakwatchError(f"cannot use the runtime directory {directory}: {error.strerror}") from error
    with lock:
        deadline = time.monotonic() + wait_s
        while not _locked(lock.fileno()):
            if time.monotonic() >= deadline:
                raise LeakwatchError("another look is going on", "wait for it, then ask again", "busy")
            time.sleep(POLL_S)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def report_path(directory: Path, name: str, pid: int) -> Path:
    """Return where the report of a process lies; further looks lie beside it, with other endings."""
    return directory / "reports" / f"{name}-{pid}.json"


def _keep(directory: Path, report: dict[str, Any]) -> None:
    """Write the report whole or not at all, and drop those of processes that have gone."""
    process = report["process"]
    path = report_path(directory, process["name"], process["pid"])
    path.parent.mkdir(mode=0o700, exist_ok=True)
    living = {f"{address.name}-{address.pid}" for address in find_probes(directory)}
    for old in path.parent.iterdir():
        if old.name.lstrip(".").partition(".")[0] not in living:
            old.unlink(missing_ok=True)
    write_private(path, json.dumps(report))


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None
