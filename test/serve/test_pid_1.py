"""The launcher as PID 1 of a container: it reaps what others leave behind, and a signal reaches it."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from cubicweb_leakwatch.serve.spec import Child

# A worker that leaves an orphan behind, as a daemon that puts itself into the background does.
WORKER = """
import os, signal, time
from cubicweb_leakwatch.serve.sdnotify import notify
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
child = os.fork()
if child == 0:
    if os.fork() == 0:
        time.sleep(0.5)
    os._exit(0)
os.waitpid(child, 0)
notify(os.environ["NOTIFY_SOCKET"], READY=1)
signal.sigwait([signal.SIGTERM])
"""


@pytest.fixture
def namespace(needs_program):
    """Return the words that make the first process after them PID 1; skip where nobody may do that."""
    as_whom = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    words = [needs_program("unshare", "util-linux"), *as_whom, "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no pid namespace may be made here (kernel.unprivileged_userns_clone, or the container's rules)")
    return words


@pytest.mark.integration
def test_as_pid_1_it_reaps_orphans_and_hears_sigterm(launch, namespace, wait):
    """An orphan becomes its child and leaves no zombie; workers are replaced; SIGTERM stops all, with exit code 0."""
    web = Child(command=(sys.executable, "worker.py"), announces=False, guards_itself=False)
    launched = launch(worker_text=WORKER, web=web, within=namespace).until_serving()
    (launcher,) = psutil.Process(launched.process.pid).children()
    assert launched.status()["pid"] == 1
    assert len(launcher.children()) == 2, "the orphan is not PID 1's"
    wait(lambda: len(launcher.children()) == 1, "the orphan's end", alive=launched.alive)
    launched.ask("restart", process="web-1", reason="test", by="me")
    (restart,) = wait(launched.finished, "the restart", alive=launched.alive)
    assert (restart["outcome"], launched.status()["flags"]) == ("replaced", [])
    wait(lambda: len(launcher.children()) == 1, "the next orphan's end", alive=launched.alive)
    launcher.send_signal(signal.SIGTERM)
    assert launched.process.wait(10) == 0
    assert launched.marked_pids() == []
