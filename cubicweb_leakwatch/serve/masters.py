"""Other masters than our launcher: found by what runs above a worker, and asked, each in its own way, for a successor.

None of them can do what the launcher does; :data:`CANNOT` says what each cannot promise.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.serve.records import DRAIN_TIMEOUT, REPLACED, SUCCESSOR_FAILED, Restart

GUNICORN, UWSGI = "gunicorn", "uWSGI"
POLL_S = 0.1

CANNOT = {
    GUNICORN: "gunicorn ends altogether when the successor cannot boot, and retires its oldest worker when told to go "
    "back to its number: where another one leaks, two are replaced; a connection that has said nothing yet is lost",
    UWSGI: "uWSGI starts the successor when the old worker has gone: one worker fewer meanwhile (with one: requests "
    "wait for its boot), and idle kept-alive connections are reset",
}
"""What a replacement under each master cannot promise."""


@dataclass(frozen=True)
class Master:
    """What started a worker, and its pid."""

    kind: str
    pid: int


@dataclass(frozen=True)
class Patience:
    """How long a successor may take to answer, and an old worker to leave, in seconds."""

    ready_s: float = 60.0
    leave_s: float = 60.0


Answers = Callable[[int], bool]
"""Whether the process with a pid answers requests by now."""


def master_of(pid: int) -> Master | None:
    """Return what would start a successor for a process; None where nobody would, or our own launcher does."""
    try:
        process = psutil.Process(pid)
        parent = process.parent()
        if parent is not None and _program(parent) == _program(process) in (GUNICORN, UWSGI):
            return Master(_program(parent), parent.pid)
    except (psutil.Error, OSError):
        pass
    return None


def _program(process: psutil.Process) -> str:
    """Return which server a process belongs to, by its command line or the title it gave itself."""
    words = process.cmdline()[:3]
    names = [Path(word.split(":")[0]).name for word in words]
    if "gunicorn" in names or (words[1:2] == ["-m"] and words[2:] and words[2].startswith("gunicorn")):
        return GUNICORN
    return UWSGI if {"uwsgi", "pyuwsgi"} & {process.name(), *names[:2]} else ""


def replace(master: Master, restart: Restart, answers: Answers, patience: Patience | None = None) -> Restart:
    """Have the process ``restart.old_pid`` replaced; return the record, finished. Never raises for what went wrong."""
    patience = patience or Patience()
    act = {GUNICORN: _by_gunicorn, UWSGI: _by_uwsgi}[master.kind]
    restart.rss_before = _rss(restart.old_pid)
    try:
        act(master, restart, answers, patience)
        restart.outcome = REPLACED
    except _TooLate as late:
        restart.outcome = late.outcome
        restart.detail = late.message
    except OSError as error:
        restart.outcome, restart.detail = SUCCESSOR_FAILED, f"{master.kind} could not be asked: {error.strerror}"
    restart.stage = "done"
    restart.rss_after = _rss(restart.new_pid)
    return restart


class _TooLate(LeakwatchError):
    def __init__(self, message: str, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


def _by_gunicorn(master: Master, restart: Restart, answers: Answers, patience: Patience) -> None:
    """TTIN, wait until the new one answers, TERM the one that leaks, TTOU once gunicorn has made up for it.

    TTOU retires the oldest worker: where that is the one that leaks, TTOU alone is enough.
    """
    old = restart.old_pid or 0
    before = _children(master)
    os.kill(master.pid, signal.SIGTTIN)
    restart.new_pid = _wait_for_successor(master, before, answers, patience)
    restart.ready_at = time.time()
    if before[:1] == [old]:
        os.kill(master.pid, signal.SIGTTOU)
        _wait_until_gone(restart, patience)
        return
    before = _children(master)
    os.kill(old, signal.SIGTERM)
    _wait_until_gone(restart, patience)
    _wait_for_successor(master, before, answers, patience)
    os.kill(master.pid, signal.SIGTTOU)


def _by_uwsgi(master: Master, restart: Restart, answers: Answers, patience: Patience) -> None:
    """SIGHUP to a worker: it finishes what it has and goes; the master starts the next one then."""
    before = _children(master)
    os.kill(restart.old_pid or 0, signal.SIGHUP)
    _wait_until_gone(restart, patience)
    restart.new_pid = _wait_for_successor(master, before, answers, patience)
    restart.ready_at = time.time()


def _wait_for_successor(master: Master, before: list[int], answers: Answers, patience: Patience) -> int:
    """Return the pid of a worker that was not there before, once it answers."""
    deadline = time.monotonic() + patience.ready_s
    while time.monotonic() < deadline:
        for pid in _children(master):
            if pid not in before and answers(pid):
                return pid
        time.sleep(POLL_S)
    raise _TooLate(
        f"no new worker of {master.kind} answered within {patience.ready_s:g} s; the old one serves on",
        SUCCESSOR_FAILED,
    )


def _wait_until_gone(restart: Restart, patience: Patience) -> None:
    deadline = time.monotonic() + patience.leave_s
    while _is_there(restart.old_pid or 0):
        if time.monotonic() >= deadline:
            raise _TooLate(f"the old worker was still there after {patience.leave_s:g} s", DRAIN_TIMEOUT)
        time.sleep(POLL_S)
    restart.exited_at = time.time()


def _children(master: Master) -> list[int]:
    """Return the workers of a master, the oldest first."""
    try:
        children = psutil.Process(master.pid).children()
        return [child.pid for child in sorted(children, key=lambda child: (child.create_time(), child.pid))]
    except psutil.Error:
        return []


def _is_there(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _rss(pid: int | None) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else None
    except psutil.Error:
        return None
