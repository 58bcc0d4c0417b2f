"""The launcher with real workers: starts, replaces, stops, refuses. Every process carries a mark and is ended."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launched import command_of, fetch, rss_kib_of

import cubicweb_leakwatch
from cubicweb_leakwatch.serve.control import LauncherError, ask_launcher
from cubicweb_leakwatch.serve.run import launcher_command
from cubicweb_leakwatch.serve.spec import Child, LaunchSpec, Limits, Policy

pytestmark = pytest.mark.integration
MIB = 1024 * 1024


def test_it_serves_with_the_workers_asked_for(launch):
    """Two workers on one shared socket, both named in status."""
    launched = launch(workers=2).until_serving(2)
    assert {row["name"] for row in launched.workers()} == {"web-1", "web-2"}
    assert fetch(launched.address())[0] in ("web-1", "web-2")


def test_a_restart_by_hand_replaces_the_process(launch, wait):
    """The record tells the whole story, with the balance sheet."""
    launched = launch().until_serving()
    old = fetch(launched.address())
    asked = launched.ask("restart", process="web-1", reason="test", by="me")["requested"]
    wait(launched.finished, "the restart", alive=launched.alive)
    new = fetch(launched.address())
    assert (old[1], new[1]) == ("1", "2")
    record = launched.finished()[0]
    assert record["id"] == asked[0]["id"]
    assert (record["old_pid"], record["new_pid"]) == (int(old[2]), int(new[2]))
    assert (record["reason"], record["by"], record["outcome"]) == ("test", "me", "replaced")
    assert (record["accepted"], record["answered"], record["abandoned"]) == (1, 1, 0)
    assert record["requested_at"] <= record["ready_at"] <= record["drained_at"] <= record["exited_at"]
    assert record["rss_before"] > 5 * MIB


def test_restarts_are_listed_once_each(launch, wait):
    """With the id of the last one seen, only newer ones come; the journal survives the launcher."""
    launched = launch().until_serving()
    launched.ask("restart", process=None, reason="one", by="me")
    wait(launched.finished, "the restart", alive=launched.alive)
    first = launched.finished()[0]["id"]
    assert launched.ask("restarts", after=first)["restarts"] == []
    lines = (launched.runtime / "restarts.jsonl").read_text().splitlines()
    assert len(lines) == 1


def test_a_worker_over_its_memory_limit_gets_a_successor(launch, wait):
    """The worker itself notices and asks; nobody else has to."""
    launched = launch(limits=Limits(memory_bytes=60 * MIB)).until_serving()
    for _each in range(16):
        fetch(launched.address(), "/leak")
    wait(launched.finished, "the restart", alive=launched.alive)
    record = launched.finished()[0]
    assert record["by"] == "worker"
    assert "over its limit" in record["reason"]
    assert record["rss_after"] < record["rss_before"] - 30 * MIB
    assert launched.workers()[0]["limit"] <= 60 * MIB


def test_advise_says_what_it_would_do_and_leaves_the_worker(launch, wait):
    """Past its limit the worker asks; the launcher tells which process it would replace and why, and does nothing."""
    launched = launch(limits=Limits(memory_bytes=60 * MIB), policy=Policy(mode="advise")).until_serving()
    pid = launched.workers()[0]["pid"]
    for _each in range(16):
        fetch(launched.address(), "/leak")
    flag = wait(lambda: launched.status()["flags"], "the advice", alive=launched.alive)[0]
    assert flag.startswith("web-1 should be replaced: private memory ")
    assert f"event=advice process=web-1 would=replace pid={pid} reason=" in launched.text()
    assert launched.finished() == []
    assert [row["pid"] for row in launched.workers()] == [pid]


def test_a_worker_about_to_run_out_of_descriptors_gets_a_successor(launch, wait):
    """Files that are opened and never closed: replaced before the next connection cannot be accepted."""
    launched = launch().until_serving()
    fetch(launched.address(), "/files")
    record = wait(launched.finished, "the restart", alive=launched.alive)[0]
    assert re.fullmatch(r"\d+ descriptors beside its clients' connections, \d+ are allowed", record["reason"])
    assert record["outcome"] == "replaced"


def test_memory_that_the_allocator_gives_back_is_said(launch, wait):
    """Freed and kept by malloc: malloc_trim comes first, what came back stands in status, and nobody is replaced."""
    launched = launch(limits=Limits(memory_bytes=60 * MIB)).until_serving()
    fetch(launched.address(), "/fragment")
    wait(lambda: launched.workers()[0]["trimmed"], "the trim", alive=launched.alive)
    assert launched.workers()[0]["trimmed"] > 20 * MIB
    assert launched.finished() == []


def test_a_memory_limit_below_a_fresh_worker_is_refused(launch):
    """One line with figures, exit code 4, nothing left running."""
    launched = launch(limits=Limits(memory_bytes=2 * MIB))
    assert launched.process.wait(20) == 4
    last = launched.text().splitlines()[-1]
    assert last.startswith("leakwatch: web-1 ended before it was ready: the memory limit 2.0 MiB is below")
    assert launched.marked_pids() == []


def test_a_second_launcher_is_refused(launch):
    """One launcher an instance: the second says who holds the place and ends with 1."""
    first = launch().until_serving()
    second = launch(runtime_dir=str(first.runtime))
    assert second.process.wait(10) == 1
    assert f"another launcher (pid {first.process.pid}) already serves test" in second.text()
    assert fetch(first.address())


def test_a_port_in_use_is_one_line(launch):
    """Exit code 1 and the address, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        launched = launch(bind=(f"127.0.0.1:{port}",))
        assert launched.process.wait(10) == 1
    assert launched.text().startswith(f"leakwatch: cannot listen on 127.0.0.1:{port}: it is in use")
    assert len(launched.text().splitlines()) == 1


def test_an_unusable_runtime_directory_is_one_line(launch, tmp_path):
    """Exit code 4 and the path, no traceback."""
    (tmp_path / "file").write_text("")
    launched = launch(runtime_dir=str(tmp_path / "file" / "runtime"))
    assert launched.process.wait(10) == 4
    assert "the runtime directory" in launched.text()
    assert len(launched.text().splitlines()) == 1


def test_a_worker_that_cannot_boot_ends_the_launcher(launch):
    """A command that does not exist: three tries, then exit code 1."""
    launched = launch(web=Child(command=("/nowhere/at-all",)))
    assert launched.process.wait(20) == 1
    assert launched.text().splitlines()[-1] == "leakwatch: web-1 ended before it was ready: exit code 127"


def test_sigterm_answers_what_was_accepted_and_ends_with_0(launch):
    """A graceful stop: the slow request gets its answer, the socket is closed, the exit code is 0."""
    launched = launch().until_serving()
    address = launched.address()
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        time.sleep(0.2)  # the request is being executed: /slow takes a second
        launched.process.send_signal(signal.SIGTERM)
        assert b"200 OK" in client.makefile("rb").read()
    assert launched.process.wait(10) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=1)
    with pytest.raises(LauncherError, match="no launcher is running"):
        ask_launcher(str(launched.runtime), "status")


def test_sigquit_waits_for_nobody(launch):
    """A quick stop in the middle of an upload: no drain of five seconds, no process is left, the exit code is 0."""
    launched = launch().until_serving()
    with socket.create_connection(launched.address(), timeout=10) as client:
        client.sendall(b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\nhalf")
        fetch(launched.address())  # by then the upload was accepted
        launched.process.send_signal(signal.SIGQUIT)
        assert launched.process.wait(launched.spec.timing.drain_timeout_s - 1) == 0
        assert client.recv(1) == b""
    assert launched.marked_pids() == []


def test_sigint_reaches_the_launcher_alone(launch):
    """Ctrl-C in a terminal signals the whole group: workers are not in it, and drain in order."""
    launched = launch().until_serving()
    worker = launched.workers()[0]["pid"]
    assert os.getpgid(worker) != os.getpgid(launched.process.pid)


def test_hup_replaces_every_worker(launch, wait):
    """SIGHUP: all generations go up by one, one after another."""
    launched = launch(workers=2).until_serving(2)
    launched.process.send_signal(signal.SIGHUP)
    wait(lambda: len(launched.finished()) == 2, "both restarts", alive=launched.alive)
    assert [row["generation"] for row in launched.workers()] == [2, 2]
    first, second = launched.finished()
    assert first["exited_at"] <= second["ready_at"]


def test_ttin_and_ttou_change_the_number_of_workers(launch, wait):
    """One more, one fewer."""
    launched = launch().until_serving()
    launched.process.send_signal(signal.SIGTTIN)
    launched.until_serving(2)
    launched.process.send_signal(signal.SIGTTOU)
    wait(lambda: len(launched.status()["processes"]) == 1, "one worker", alive=launched.alive)


def test_usr1_from_a_worker_asks_for_its_successor(launch, wait):
    """A command that knows nothing of us may ask by SIGUSR1 to its parent, as Trac.fcgi did."""
    text = """
import os, signal, socket, time
from cubicweb_leakwatch.serve.sdnotify import notify
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
notify(os.environ["NOTIFY_SOCKET"], READY=1)
time.sleep(0.5)
if os.environ["LEAKWATCH_GENERATION"] == "1":
    os.kill(os.getppid(), signal.SIGUSR1)
time.sleep(60)
"""
    launched = launch(worker_text=text).until_serving()
    wait(launched.finished, "the restart", alive=launched.alive)
    assert launched.finished()[0]["reason"] == "asked by SIGUSR1"


def test_the_runtime_directory_and_socket_are_private(launch):
    """Only the instance's user may open them."""
    launched = launch().until_serving()
    assert launched.runtime.stat().st_mode & 0o777 == 0o700
    assert (launched.runtime / "launcher.sock").stat().st_mode & 0o777 == 0o600


def test_the_launcher_stays_small(launch):
    """11 MiB at most on CPython 3.11, and no module from outside the standard library."""
    launched = launch().until_serving()
    if sys.version_info[:2] == (3, 11):
        assert rss_kib_of(launched.process.pid) <= 11 * 1024


def test_its_first_start_is_as_small(tmp_path, wait):
    """From sources that nobody has compiled, where Python is told not to write bytecode."""
    shutil.copytree(
        Path(cubicweb_leakwatch.__file__).parent, tmp_path / "cubicweb_leakwatch", ignore=lambda *_: ["__pycache__"]
    )
    runtime = tmp_path / "runtime"
    command = [sys.executable, "-m", "cubicweb_leakwatch.serve", "--runtime-dir", str(runtime), "--bind", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [*command, "--wsgi", "wsgiref.simple_server:demo_app"], env=environment, cwd=tmp_path
    ) as process:
        try:
            wait((runtime / "launcher.sock").exists, "the launcher", alive=lambda: process.poll() is None)
            assert str(tmp_path) in command_of(process.pid), "the copy is what runs"
            if sys.version_info[:2] == (3, 11):
                assert rss_kib_of(process.pid) <= 11 * 1024
        finally:
            process.terminate()


def test_the_launcher_does_not_grow_with_restarts(launch, wait, tmp_path):
    """From restart 70 to 170: no more memory than noise, no descriptor more, no zombie."""
    quick = tmp_path / "quick.py"
    quick.write_text(
        f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import os, signal, time
from cubicweb_leakwatch.serve.sdnotify import notify
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
notify(os.environ["NOTIFY_SOCKET"], READY=1)
time.sleep(60)
"""
    )
    launched = launch(web=Child(command=(sys.executable, "-I", "-S", str(quick)))).until_serving()
    pid = launched.process.pid

    def newest_after(last):
        done = [row for row in launched.ask("restarts", after=last)["restarts"] if row["stage"] == "done"]
        return done[-1]["id"] if done else None

    def restart(count):
        last = newest_after(None)
        for _each in range(count):
            launched.ask("restart", process="web-1", reason="again", by="test")
            last = wait(lambda last=last: newest_after(last), "a restart")
        return rss_kib_of(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))

    memory_before, fds_before = restart(70)
    memory_after, fds_after = restart(100)
    assert memory_after - memory_before <= 100
    assert fds_after <= fds_before
    wait(lambda: len(launched.marked_pids()) <= 2, "no zombie and no leftover worker")


def test_a_worker_boots_calmly_and_serves_like_any_other(launch):
    """Whatever the boot's priority was, no thread of a worker that serves has another one than the launcher."""
    launched = launch().until_serving()
    pid, own = launched.workers()[0]["pid"], os.getpriority(os.PRIO_PROCESS, launched.process.pid)
    threads = [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    assert {(os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)) for thread in threads} == {
        (os.SCHED_OTHER, own)
    }


def test_process_titles_say_who_is_who(launch, wait):
    """``ps`` shows slot, generation and state of a worker, and the instance of a launcher."""
    launched = launch().until_serving()
    worker = launched.workers()[0]["pid"]
    wait(lambda: command_of(worker).startswith("web-1 gen 1: serving"), "the worker's title")
    assert "leakwatch:test" in command_of(launched.process.pid)


def test_sockets_of_a_service_manager_are_taken(launch, tmp_path):
    """With LISTEN_FDS the launcher serves the socket it was handed, and binds nothing."""
    template = launch()
    template.end()
    spec = LaunchSpec(**{**vars(template.spec), "bind": ("127.0.0.1:1",), "runtime_dir": str(tmp_path / "adopted")})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = launcher_command(spec)
        spec_fd, listen_fd = int(command[6]), listener.fileno()

        def place():
            """Put the descriptors where the launcher expects them; between fork and exec."""
            os.dup2(spec_fd, 9)
            os.dup2(listen_fd, 3)
            os.environ["LISTEN_PID"] = str(os.getpid())

        command[6] = "9"
        environment = {**os.environ, "LISTEN_FDS": "1", "LEAKWATCH_TEST_MARK": template.mark}
        process = subprocess.Popen(command, env=environment, preexec_fn=place, pass_fds=(3, 9, spec_fd, listen_fd))
        try:
            assert fetch(listener.getsockname())[0] == "web-1"
        finally:
            process.terminate()
            assert process.wait(10) == 0


def test_usr2_makes_way_for_a_new_launcher_with_the_same_workers(launch, wait):
    """The launcher replaces itself: same pid, same workers, same socket, and it can still replace them."""
    launched = launch(workers=2).until_serving(2)
    before = {row["pid"] for row in launched.workers()}
    address = launched.address()
    launched.process.send_signal(signal.SIGUSR2)
    wait(lambda: "event=handover " in launched.text(), "the handover", alive=launched.alive)
    launched.until_serving(2)
    assert {row["pid"] for row in launched.workers()} == before
    assert launched.status()["pid"] == launched.process.pid
    assert launched.address() == address
    assert int(fetch(address)[2]) in before
    launched.ask("restart", process="web-2", reason="after", by="test")
    wait(launched.finished, "a restart by the new launcher", alive=launched.alive)
    assert launched.finished()[0]["outcome"] == "replaced"
    launched.process.send_signal(signal.SIGTERM)
    assert launched.process.wait(10) == 0


def test_usr2_while_a_worker_is_being_replaced_waits_for_the_end(launch, wait):
    """Nothing is forgotten in a handover: it takes place when every slot is at rest."""
    launched = launch().until_serving()
    with socket.create_connection(launched.address(), timeout=10) as client:
        client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        launched.ask("restart", process="web-1", reason="test", by="test")
        launched.process.send_signal(signal.SIGUSR2)
        assert b"200 OK" in client.makefile("rb").read()
    wait(lambda: "event=handover " in launched.text(), "the handover", alive=launched.alive)
    log = launched.text()
    assert log.index("event=restart ") < log.index("event=handover ")
    wait(launched.finished, "the journal in the new launcher", alive=launched.alive)


COMMAND = """
import os, signal, socket, sys, time
from cubicweb_leakwatch.serve.sdnotify import notify
fcgi = "LISTEN_FDS" not in os.environ
listener = socket.socket(fileno=0 if fcgi else 3)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
notify(os.environ["NOTIFY_SOCKET"], READY=1)
listener.settimeout(0.1)
hoard = []
while not stop:
    try:
        connection, _address = listener.accept()
    except TimeoutError:
        continue
    connection.settimeout(5)
    if b"/leak" in connection.recv(1000):
        hoard.append(bytearray(4_000_000))
    body = f"{os.environ['LEAKWATCH_PROCESS']} {os.environ['LEAKWATCH_GENERATION']} {os.getpid()} {fcgi}".encode()
    connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + body)
    connection.close()
"""


@pytest.mark.parametrize("fcgi", [False, True])
def test_any_command_is_served_and_watched(launch, tmp_path, wait, fcgi):
    """A command that takes LISTEN_FDS, or descriptor 0, is replaced past its limit though it knows nothing of it."""
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    kind = Child(command=(sys.executable, str(script)), announces=False, guards_itself=False, fcgi=fcgi)
    launched = launch(web=kind, limits=Limits(memory_bytes=60 * MIB)).until_serving()
    assert fetch(launched.address())[3] == str(fcgi)
    for _each in range(16):
        fetch(launched.address(), "/leak")
    wait(launched.finished, "the restart", alive=launched.alive)
    assert "over its limit 60.0 MiB" in launched.finished()[0]["reason"]
    assert fetch(launched.address())[1] == "2"


def test_a_limit_below_a_fresh_command_is_refused(launch, tmp_path):
    """The launcher looks itself at a command that does not, and refuses with figures."""
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    kind = Child(command=(sys.executable, str(script)), announces=False, guards_itself=False)
    launched = launch(web=kind, limits=Limits(memory_bytes=1 * MIB))
    assert launched.process.wait(20) == 4
    assert "the memory limit 1.0 MiB is below the" in launched.text().splitlines()[-1]


def test_it_speaks_sd_notify_upward(launch, tmp_path, wait):
    """READY=1 after the first worker has answered, STATUS=, WATCHDOG=1, STOPPING=1; workers never reach the manager."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(10)
        launched = launch(outside={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
        heard = []

        def until(text):
            while not any(text in line for line in heard):
                heard.append(manager.recv(4096).decode())

        until("READY=1")
        assert not any(line.startswith("STOPPING") for line in heard)
        assert f"MAINPID={launched.process.pid}" in "".join(heard)
        until("STATUS=1 of 1 processes serving")
        until("WATCHDOG=1")
        heard.clear()
        launched.process.send_signal(signal.SIGHUP)
        until("RELOADING=1")
        until("READY=1")
        assert launched.finished()[0]["reason"] == "SIGHUP"
        launched.process.send_signal(signal.SIGTERM)
        until("STOPPING=1")
        assert launched.process.wait(10) == 0


SCHEDULER = """
import os, signal, sys, time
from cubicweb_leakwatch.serve.sdnotify import notify
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
notify(os.environ["NOTIFY_SOCKET"], READY=1)
journal = open(sys.argv[1], "a", buffering=1)
while not stop:
    journal.write(f"{os.getpid()} begins\\n")
    time.sleep(0.4)
    journal.write(f"{os.getpid()} ends\\n")
"""


def test_the_scheduler_is_stopped_between_two_tasks_and_never_doubled(launch, tmp_path, wait):
    """Every task that began has ended, and no task of the next scheduler began before that."""
    script, journal = tmp_path / "scheduler.py", tmp_path / "tasks"
    script.write_text(SCHEDULER)
    launched = launch(scheduler=Child(command=(sys.executable, str(script), str(journal)))).until_serving(2)
    wait(lambda: journal.exists() and "begins" in journal.read_text(), "a task")
    launched.ask("restart", process="scheduler", reason="test", by="test")
    wait(launched.finished, "the restart", alive=launched.alive)
    wait(lambda: len(set(journal.read_text().split()[::2])) == 2, "a task of the next one", alive=launched.alive)
    launched.process.send_signal(signal.SIGTERM)
    assert launched.process.wait(10) == 0
    words = [line.split() for line in journal.read_text().splitlines()]
    for (pid, begins), (same, ends) in zip(words[::2], words[1::2], strict=True):
        assert (begins, ends) == ("begins", "ends")
        assert pid == same
    assert len({pid for pid, _what in words}) == 2
