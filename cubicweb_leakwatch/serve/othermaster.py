"""Asking another master for a successor: a process of its own, as the worker that asks may be the one that ends.

``python -m cubicweb_leakwatch.serve.othermaster RUNTIME_DIR`` reads an :class:`Errand` as JSON from standard input. One
at a time in a runtime directory; the journal there counts against the budget.
"""

import contextlib
import datetime
import fcntl
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.client import ask
from cubicweb_leakwatch.probe.runtime import find_probes
from cubicweb_leakwatch.serve.gate import Gate
from cubicweb_leakwatch.serve.journal import Journal
from cubicweb_leakwatch.serve.masters import CANNOT, master_of, replace
from cubicweb_leakwatch.serve.records import SUCCESSOR_FAILED, Restart, Worker
from cubicweb_leakwatch.serve.spec import Policy

LOG = logging.getLogger("leakwatch.othermaster")

FAILED_PAUSE_S = 3600.0
"""gunicorn keeps a worker that did not answer in time beside the others: one more each minute would fill the host."""

LOCK = "othermaster.lock"
HERE = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True)
class Errand:
    """What is wanted: the replacement of process ``name`` (``pid``), why, by whom, and under which policy.

    ``automatic``: nobody asked by hand; ``planned``: it may wait for the restart window.
    """

    name: str
    pid: int
    reason: str
    by: str
    policy: Policy
    automatic: bool = True
    planned: bool = False

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps({**asdict(self), "policy": self.policy.fields()})


def read_errand(text: str) -> Errand:
    """Return the errand of :meth:`Errand.text`."""
    fields = json.loads(text)
    return Errand(**{**fields, "policy": Policy(**fields["policy"])})


def send(directory: Path, errand: Errand) -> None:
    """Start the process that runs the errand; it outlives the caller."""
    # An embedding server's sys.executable is that server, and its prefix may be another Python's than the packages'.
    python = sys.executable if Path(sys.executable).name.startswith("python") else f"{sys.prefix}/bin/python3"
    command = [python, "-P", "-m", "cubicweb_leakwatch.serve.othermaster", str(directory)]
    # stderr is the server's own log; a new session: a signal to the server's group must not end the errand.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *filter(None, sys.path)])}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, text=True
    )
    with contextlib.suppress(BrokenPipeError):
        process.communicate(errand.text())


def run(directory: Path, errand: Errand) -> Restart | None:
    """Run the errand to its end; return its record, None when nothing was to be done now. Logs what it does."""
    master = master_of(errand.pid)
    if master is None:
        LOG.warning("event=not-replaced process=%s why='nothing above it would start a successor'", errand.name)
        return None
    with _alone(directory) as alone:
        restart = _restart(errand)
        why_not = _why_not(directory, errand, restart) if alone else "another one is being replaced"
        if why_not:
            LOG.warning("event=not-replaced process=%s reason=%r why=%r", errand.name, errand.reason, why_not)
            return None
        LOG.warning(
            "event=replacing process=%s pid=%d master=%s reason=%r cannot=%r",
            errand.name, errand.pid, master.kind, errand.reason, CANNOT[master.kind],
        )  # fmt: skip
        replace(master, restart, lambda pid: answers(directory, pid))
        Journal(str(directory)).add(restart.as_json())
        LOG.warning("event=restart process=%s outcome=%s detail=%r", errand.name, restart.outcome, restart.detail)
        return restart


def answers(directory: Path, pid: int) -> bool:
    """Whether a process says, through its probe, that it serves."""
    for address in find_probes(directory):
        if address.pid == pid:
            with contextlib.suppress(LeakwatchError):
                return bool(ask(address, "status")["state"] == "serving")
    return False


def _restart(errand: Errand) -> Restart:
    now = time.time()
    restart = Restart(f"{int(now * 1000)}-{errand.pid}", errand.name, errand.reason, errand.by, now)
    restart.old_pid, restart.automatic, restart.planned = errand.pid, errand.automatic, errand.planned
    return restart


def _why_not(directory: Path, errand: Errand, restart: Restart) -> str:
    """Return why the policy holds it back now, or an empty text; the worker asks again."""
    gate = Gate(errand.policy, time.time)
    if errand.automatic and not gate.takes_wishes():
        return "automatic restarts are off"
    now = time.monotonic()
    records = [json.loads(line) for line in Journal(str(directory)).after("")]
    failed = [each for each in records if each["outcome"] == SUCCESSOR_FAILED]
    if errand.automatic and any(_age_s(each) < FAILED_PAUSE_S for each in failed):
        return "a successor did not answer within the last hour, and the master may have kept it"
    gate.begun.extend(now - ago for ago in _ages(records))
    old = Worker(errand.name, "web", 1, errand.pid, 0.0)
    held = gate.refusal(restart, old, now)
    return held or ("leakwatch-restart is advise: nothing is done" if gate.only_advises(restart) else "")


def _ages(records: list[dict[str, Any]]) -> Iterator[float]:
    """Yield how many seconds ago each automatic restart of the journal began."""
    counted = [each for each in records if each["outcome"] != SUCCESSOR_FAILED]
    return (_age_s(each) for each in counted if each["by"] in ("worker", "policy"))


def _age_s(record: dict[str, Any]) -> float:
    return time.time() - datetime.datetime.fromisoformat(record["requested_at"]).timestamp()


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Hold the lock that makes errands take turns; False when another one is under way."""
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def main() -> int:
    """Run the errand on standard input."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    restart = run(Path(sys.argv[1]), read_errand(sys.stdin.read()))
    return 0 if restart is None or restart.outcome == "replaced" else 1


if __name__ == "__main__":
    sys.exit(main())
