"""Real processes with a probe, in which no CubicWeb runs."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROCESS = """
import sys, threading
from pathlib import Path
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.probe.server import start_probe

state = this_process()
state.name, state.role, state.state = sys.argv[2], "web", "serving"
probe = start_probe(Path(sys.argv[1]), sys.argv[3], state)
probe.answers.remember_sample()
print("ready", flush=True)
threading.Event().wait()
"""


@contextlib.contextmanager
def process(directory: Path, name: str, instance: str = "site") -> Iterator[subprocess.Popen[bytes]]:
    """Run a process with a probe."""
    command = [sys.executable, "-c", PROCESS, str(directory), name, instance]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            yield child
        finally:
            child.kill()
