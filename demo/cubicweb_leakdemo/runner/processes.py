"""Starts the demo's processes and ends them, with all their children, whatever happens."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LOG_TAIL_LINES = 30


class ProcessDied(Exception):
    """A process that must run has ended; the text holds the end of its log."""


@dataclass
class Running:
    """One process, the leader of a group of its own, whose talk goes to the file ``log``."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise ProcessDied, with the end of the log, when the process has ended."""
        status = self.process.poll()
        if status is not None:
            raise ProcessDied(f"{self.name} ended with status {status}; the end of {self.log}:\n{tail(self.log)}")

    def stop(self, timeout_s: float = 40.0) -> int | None:
        """Ask for an orderly end, wait, then kill what is left of the group; return the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        # Also when the leader is gone: what it started and did not end is still in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        return self.process.returncode


def start(name: str, command: list[str], environment: dict[str, str], log: Path) -> Running:
    """Start ``command`` in a session of its own, so that Ctrl-C reaches us alone and we end it in order."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Running(name, process, log)


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def wait_until(
    ready: Callable[[], bool], what: str, watched: Running, timeout_s: float = 120.0, every_s: float = 0.1
) -> None:
    """Wait until ``ready()``; raise ProcessDied when ``watched`` ends first or the time is up."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        watched.check()
        if time.monotonic() > deadline:
            raise ProcessDied(f"{what} took over {timeout_s:.0f} s; the end of {watched.log}:\n{tail(watched.log)}")
        time.sleep(every_s)
