"""A worker that another master started (gunicorn, uWSGI): the same limits, asked of that master."""

import logging
import os
import threading
from pathlib import Path

from cubicweb_leakwatch.probe.process import ProcessState, this_process
from cubicweb_leakwatch.probe.server import Probe, start_probe
from cubicweb_leakwatch.serve.guard import Guard, GuardLimits, Surroundings
from cubicweb_leakwatch.serve.masters import CANNOT, master_of
from cubicweb_leakwatch.serve.othermaster import Errand, send
from cubicweb_leakwatch.serve.spec import Policy

LOG = logging.getLogger("leakwatch.serve")


def watch_this_process(
    runtime_dir: str | Path, instance: str, limits: GuardLimits, policy: Policy | None = None
) -> Probe:
    """Give this worker a probe and a guard; call it where the application is made, in the worker itself.

    Raises ConfigurationError when the memory limit is below what the worker uses already.
    """
    directory = Path(runtime_dir)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = this_process()
    probe = start_probe(directory, instance, state)
    guard_here(probe, state, directory, limits, policy or Policy())
    state.state = "serving"
    return probe


def guard_here(probe: Probe, state: ProcessState, directory: Path, limits: GuardLimits, policy: Policy) -> None:
    """Check the limits each second in the probe's thread, and ask whoever started this process for a successor.

    Does nothing under our own launcher, whose workers guard themselves, and where nobody would start a successor.
    """
    master = None if "LEAKWATCH_PROCESS" in os.environ else master_of(os.getpid())
    if master is None:
        return
    around = Surroundings(
        ask=lambda reason, planned: _send(directory, state, policy, reason, planned),
        requests=lambda: state.requests_served or 0,
        trimmed=lambda given_back: LOG.info("event=trimmed bytes=%d", given_back),
    )
    guard = Guard(limits, around)
    state.limit = guard.memory_bytes or None
    probe.every_second.append(guard.check)
    LOG.info("event=guarded process=%s master=%s cannot=%r", state.name, master.kind, CANNOT[master.kind])


def _send(directory: Path, state: ProcessState, policy: Policy, reason: str, planned: bool) -> None:
    errand = Errand(state.name, state.pid, reason, "worker", policy, planned=planned)
    # Waiting for the errand would hold up the probe, and reaping it is the thread's only work.
    threading.Thread(target=send, args=(directory, errand), name="leakwatch-errand", daemon=True).start()
