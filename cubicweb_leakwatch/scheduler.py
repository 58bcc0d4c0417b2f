"""The scheduler of an instance, as the launcher starts it: ``python -m cubicweb_leakwatch.scheduler INSTANCE``.

It runs the looping tasks as ``cubicweb-ctl scheduler`` does, and stops between two of them when it gets SIGTERM, then
shuts the repository down in order: ``cubicweb-ctl scheduler`` dies in the middle of a task, without its shutdown hooks.
"""

import contextlib
import os
import sched
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from cubicweb_leakwatch.booting import Boot
from cubicweb_leakwatch.errors import EXIT_CONFIGURATION, EXIT_DONE
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.serve.sdnotify import notify

IDLE_S = 3600.0


class StopAsked(Exception):
    """Raised between two tasks, where the scheduler waits for the next one."""


class StopSwitch:
    """Waiting that a signal ends. The handler only writes a byte: it may run anywhere, even inside a lock."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def press(self, _signum: int = 0, _frame: Any = None) -> None:
        """Ask for the stop; a signal handler."""
        with contextlib.suppress(BlockingIOError):  # pressed sixty thousand times already
            os.write(self._writer, b"!")

    def wait(self, seconds: float) -> None:
        """Wait; raises ``StopAsked`` as soon as the stop is asked for, also when that was before."""
        ready, _, _ = select.select([self._reader], [], [], max(0.0, seconds))
        if ready:
            raise StopAsked


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the looping tasks of the instance named by the arguments; return the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if len(words) != 1:
        print("usage: python -m cubicweb_leakwatch.scheduler INSTANCE", file=sys.stderr)
        return EXIT_CONFIGURATION
    run_instance(words[0])
    return EXIT_DONE


def run_instance(appid: str) -> None:
    """Boot the instance's repository and run its looping tasks until SIGTERM or SIGINT."""
    state = this_process()  # now: its age counts from here, not from the end of the boot
    from cubicweb.cwconfig import CubicWebConfiguration
    from cubicweb.server.repository import Repository

    from cubicweb_leakwatch.connections import steady

    switch = StopSwitch()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, switch.press)
    tasks = sched.scheduler(time.monotonic, switch.wait)
    repo = Repository(CubicWebConfiguration.config_for(appid), tasks)
    steady(repo)
    boot = Boot(state)
    with boot.reading(repo):
        repo.bootstrap()
    boot.confirm_later()
    try:
        notify(os.environ.get("NOTIFY_SOCKET"), READY=1)
        run_until_stopped(repo.run_scheduler, switch)
    finally:
        state.state = "stopping"
        repo.shutdown()


def run_until_stopped(run: Any, switch: StopSwitch) -> None:
    """Call ``run``, which runs the tasks, until the stop; a scheduler without any task waits for it just as well."""
    with contextlib.suppress(StopAsked):
        while True:
            run()
            switch.wait(IDLE_S)


if __name__ == "__main__":
    sys.exit(main())
