"""The launcher when something fails: processes killed, broken successors, no process left, garbage, clocks."""

import contextlib
import os
import signal
import socket
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from launched import fetch

from cubicweb_leakwatch.serve.spec import Child, Timing

pytestmark = pytest.mark.integration
MIB = 1024 * 1024
FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_broken_successor_leaves_the_old_one_serving(launch, wait, how):
    """The successor exits or hangs; the old generation answers all the while, and a flag is up."""
    timing = Timing(ready_timeout_s=8.0, drain_timeout_s=5.0, retry_first_s=0.3)
    launched = launch(timing=timing).until_serving()
    launched.broken.write_text(how)
    launched.ask("restart", process="web-1", reason="test", by="me")
    wait(launched.finished, "the failed restart", alive=launched.alive)
    assert launched.finished()[0]["outcome"] == "successor-failed"
    assert "web-1" in launched.status()["flags"][0]
    assert fetch(launched.address())[1] == "1"
    launched.broken.unlink()
    launched.ask("restart", process="web-1", reason="repaired", by="me")
    wait(lambda: len(launched.finished()) == 2, "the second restart", alive=launched.alive)
    assert launched.status()["flags"] == []


def test_a_worker_that_is_killed_is_replaced(launch, wait):
    """SIGKILL from outside (the OOM killer): a new one serves, the cause is recorded."""
    launched = launch().until_serving()
    os.kill(launched.workers()[0]["pid"], signal.SIGKILL)
    wait(launched.finished, "the replacement", alive=launched.alive)
    assert launched.finished()[0]["reason"] == "died: killed by SIGKILL"
    assert fetch(launched.address())[1] == "2"


def test_workers_drain_and_exit_when_the_launcher_is_killed(launch, wait):
    """SIGKILL of the launcher: the request in flight is answered, then nothing of it is left."""
    launched = launch(workers=2).until_serving(2)
    with socket.create_connection(launched.address(), timeout=10) as client:
        client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        time.sleep(0.2)  # the request is being executed: /slow takes a second
        launched.process.kill()
        assert b"200 OK" in client.makefile("rb").read()
    wait(lambda: not launched.marked_pids(), "all workers gone")


def test_a_new_launcher_takes_over_what_a_killed_one_left(launch, tmp_path, wait):
    """Stale lock, control socket and Unix socket are cleaned up."""
    path = f"unix:{tmp_path}/site.sock"
    first = launch(bind=(path,)).until_serving()
    first.process.kill()
    wait(lambda: not first.marked_pids(), "all workers gone")
    second = launch(bind=(path,), runtime_dir=str(first.runtime))
    second.runtime = first.runtime
    second.until_serving()


def test_the_control_socket_survives_garbage(launch):
    """Binary noise, an endless line, silence, and unknown questions are refused; the launcher goes on."""
    launched = launch().until_serving()
    for noise in (
        b"\x00\xff\n",
        b"[]\n",
        b'{"ask": "explode"}\n',
        b"x" * 200_000,
        b'{"ask": "restart", "process": 7}\n',
    ):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(launched.runtime / "launcher.sock"))
            try:
                client.sendall(noise)
            except (BrokenPipeError, ConnectionResetError):
                continue
            assert b"error" in client.recv(4096)
    silent = [socket.socket(socket.AF_UNIX) for _each in range(80)]
    for client in silent:
        client.connect(str(launched.runtime / "launcher.sock"))
    assert launched.ask("status")["processes"], "a crowd that says nothing must not shut the operator out"
    for client in silent:
        client.close()
    assert launched.ask("status")["processes"]


DIES_WHEN_TOLD_OF_ITS_SUCCESSOR = """
import os, signal
from cubicweb_leakwatch.serve.sdnotify import notify
notify(os.environ["NOTIFY_SOCKET"], READY=1)
signal.pause()
"""


READS_NOTICES_LATE = """
import select
all_of_them = launcher.Launcher._poll
def poll(self):
    if not self.fleet.ever_ready:
        return all_of_them(self)
    select.select([self.notices.fileno()], [], [], 0.5)
    return [ready for ready in all_of_them(self) if ready[0] != self.notices.fileno()]
launcher.Launcher._poll = poll
"""


def test_the_old_worker_may_die_while_its_successor_says_that_it_is_ready(launch, wait):
    """The launcher reads READY=1 after the old worker's death: there is nobody to retire, and it lives on."""
    launched = launch(worker_text=DIES_WHEN_TOLD_OF_ITS_SUCCESSOR, fault=READS_NOTICES_LATE).until_serving()
    launched.ask("restart", process="web-1", reason="test", by="me")
    wait(launched.finished, "the restart", alive=launched.alive)
    assert launched.finished()[0]["outcome"] == "replaced"
    assert launched.status()["processes"][0]["generation"] == 2


NO_PROCESS_LEFT = """
import os
fork = os.fork
def refuse():
    if os.path.exists(os.environ["TEST_BROKEN"]):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = refuse
"""


def test_no_successor_where_no_process_can_be_made(launch, wait):
    """fork(2) is refused (ulimit -u, pids.max, no memory): the old one serves on, and why is said; then it goes on."""
    launched = launch(fault=NO_PROCESS_LEFT).until_serving()
    launched.broken.touch()
    launched.ask("restart", process="web-1", reason="test", by="me")
    wait(launched.finished, "the end of the attempt", alive=launched.alive)
    assert launched.finished()[0]["outcome"] == "successor-failed"
    assert launched.finished()[0]["detail"] == "it could not be started: Resource temporarily unavailable"
    assert fetch(launched.address())[1] == "1"
    with contextlib.suppress(OSError, IndexError):
        fetch(launched.address(), "/die")
    wait(launched.status()["flags"].__len__, "the flag", alive=launched.alive)
    launched.broken.unlink()
    wait(lambda: launched.workers(), "a worker again", alive=launched.alive)
    assert int(fetch(launched.address())[1]) > 2


SOMETHING_GOES_WRONG = """
import os
tell = launcher.Launcher._tell_manager
def fail(self, now):
    if os.path.exists(os.environ["TEST_BROKEN"]):
        raise KeyError("unforeseen")
    tell(self, now)
launcher.Launcher._tell_manager = fail
"""


def test_whatever_goes_wrong_in_a_step_the_workers_are_served_on(launch, wait):
    """The launcher is the parent of all: an error that nobody foresaw is logged, and the loop goes on."""
    launched = launch(fault=SOMETHING_GOES_WRONG).until_serving()
    launched.broken.touch()
    wait(lambda: "event=step-failed why=\"KeyError: 'unforeseen'\"" in launched.text(), "the log", alive=launched.alive)
    assert fetch(launched.address())[1] == "1"
    launched.broken.unlink()
    launched.ask("restart", process="web-1", reason="after", by="test")
    wait(launched.finished, "a restart", alive=launched.alive)
    assert launched.finished()[0]["outcome"] == "replaced"


def test_usr2_with_half_an_upgrade_on_disk_changes_nothing(launch, wait):
    """What the handover needs cannot be imported: that is said, and the launcher stays as it is."""
    launched = launch(fault="import sys; sys.modules['cubicweb_leakwatch.serve.handover'] = None").until_serving()
    launched.process.send_signal(signal.SIGUSR2)
    wait(lambda: "event=handover-refused why=" in launched.text(), "the refusal", alive=launched.alive)
    assert fetch(launched.address())[1] == "1"


def test_a_worker_killed_mid_request_fails_only_what_it_had(launch, wait):
    """SIGKILL of one of two workers: its own request is lost, the others are answered."""
    launched = launch(workers=2).until_serving(2)
    address = launched.address()
    with socket.create_connection(address, timeout=10) as victim:
        victim.sendall(b"GET /die HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert victim.makefile("rb").read() == b""
    for _each in range(20):
        assert fetch(address)
    wait(launched.finished, "the replacement", alive=launched.alive)
    assert launched.finished()[0]["reason"] == "died: killed by SIGKILL"


def test_200_wishes_at_once_are_one_restart(launch, wait):
    """A storm of wishes for one process ends in one replacement."""
    launched = launch().until_serving()
    ids = set()
    for _each in range(200):
        ids.add(launched.ask("restart", process="web-1", reason="storm", by="test")["requested"][0]["id"])
    wait(lambda: not [row for row in launched.ask("restarts")["restarts"] if row["stage"] != "done"], "the end")
    assert len(launched.finished()) == len(ids) <= 3


@pytest.mark.parametrize("jump", ["-86400", "+86400"])
def test_a_jump_of_the_wall_clock_ends_nothing(launch, tmp_path, needs_program, wait, jump):
    """A day back or forth while a worker drains: its request is answered, the restart ends as any other."""
    needs_program("faketime", "faketime")
    (library,) = Path("/").glob(FAKETIME.lstrip("/"))
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    outside = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    script = tmp_path / "launcher-0" / "worker.py"
    # The worker keeps the true time: libfaketime breaks time.sleep.
    honest = Child(command=("/usr/bin/env", "-u", "LD_PRELOAD", sys.executable, str(script)))
    launched = launch(outside=outside, web=honest).until_serving()
    with socket.create_connection(launched.address(), timeout=10) as client:
        client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        launched.ask("restart", process="web-1", reason="test", by="test")
        offset.write_text(f"{jump}\n")
        assert b"200 OK" in client.makefile("rb").read()
    wait(launched.finished, "the restart", alive=launched.alive)
    (record,) = launched.finished()
    assert (record["outcome"], record["abandoned"]) == ("replaced", 0)
    assert abs(datetime.fromisoformat(record["exited_at"]).timestamp() - time.time() - int(jump)) < 3600


def test_a_full_disk_stops_no_restart(launch, wait):
    """The journal cannot be written: the restart is done, told on the socket, and the lack is logged."""
    launched = launch().until_serving()
    (launched.runtime / "restarts.jsonl").symlink_to("/dev/full")
    launched.ask("restart", process="web-1", reason="test", by="test")
    wait(launched.finished, "the restart", alive=launched.alive)
    assert "event=journal-not-written" in launched.text()
    assert "No space left on device" in launched.text()
