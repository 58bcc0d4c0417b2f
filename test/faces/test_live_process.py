"""The commands against a real process with a real probe; no CubicWeb runs in it."""

import contextlib
import fcntl
import json
import os
import pty
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.leak_dump import LeakDump
from cubicweb_leakwatch.commands.leak_gc import LeakGc
from cubicweb_leakwatch.commands.leak_holders import LeakHolders
from cubicweb_leakwatch.commands.leak_status import LeakStatus
from cubicweb_leakwatch.commands.top import LEAVE
from cubicweb_leakwatch.probe import client

PROCESS = """
import sys, threading, time
from pathlib import Path
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.probe.server import start_probe

class Kept:
    def __init__(self):
        self.me = [self]
    def __del__(self):
        pass

class Keeper:
    kept = [Kept() for _ in range(300)]

state = this_process()
state.name, state.role, state.state = sys.argv[2], "web", "serving"
start_probe(Path(sys.argv[1]), "site", state)
print("ready", flush=True)
threading.Event().wait()
"""


@contextlib.contextmanager
def process(directory: Path, name: str) -> Iterator[int]:
    """Run a process with a probe; give its pid."""
    with subprocess.Popen([sys.executable, "-c", PROCESS, str(directory), name], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            yield child.pid
        finally:
            child.kill()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """An instance of one process; give its runtime directory and the pid."""
    home = tmp_path_factory.mktemp("instances") / "site"
    directory = home / "leakwatch"
    directory.mkdir(parents=True, mode=0o700)
    (home / "bootstrap_cubes").write_text("leakwatch\n")
    with pytest.MonkeyPatch.context() as patch, process(directory, "web-1") as pid:
        patch.setenv("CW_INSTANCES_DIR", str(home.parent))
        patch.setenv("CW_INSTANCES_DATA_DIR", str(home.parent))
        patch.delenv("CW_RUNTIME_DIR", raising=False)
        yield directory, pid


def run(command: type[Command], *words: str) -> int:
    """Run a command on the site."""
    return command(None).main_run(["site", *words])


def data(capsys: pytest.CaptureFixture[str], command: type[Command], *words: str) -> Any:
    """Run a command that works; return the data of its document."""
    assert run(command, *words, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    return document["data"]


def test_status_has_a_row_of_the_process(site: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    """With the keys of the contract; what is not known is null."""
    answer = data(capsys, LeakStatus)
    (row,) = answer["processes"]
    keys = (
        "name pid host role state started_at age_s generation requests in_flight rss uss pss limit gc_objects garbage"
        " threads fds verdict rate_bytes_per_h seconds_to_limit"
    )
    assert set(keys.split()) <= set(row)
    assert (row["name"], row["pid"], row["state"], row["garbage"]) == ("web-1", site[1], "serving", 0)
    assert row["verdict"] == "not-enough-data"
    assert row["limit"] is None


def test_a_command_that_asks_the_probes_starts_fast(site: tuple[Path, int]) -> None:
    """Less than 0.4 s of the processor from start to end; neither CubicWeb nor NumPy is loaded."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-X", "importtime", "-m", "cubicweb_leakwatch", "leak-status", "site", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert len(json.loads(done.stdout)["data"]["processes"]) == 1
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert loaded & {"cubicweb", "cubicweb.cwconfig", "logilab.common", "numpy", "pyramid"} == set()
    assert (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime) < 0.4


def test_gc_finds_the_cycle_and_names_what_keeps_it(site: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way: question, forked copy, dump, analysis, document; and the dump is gone."""
    (report,) = data(capsys, LeakGc)
    (cycle,) = [cycle for cycle in report["cycles"] if "__main__.Kept" in cycle["finalizers"]]
    assert (cycle["count"], cycle["reachable"]) == (300, True)
    assert "Keeper.kept" in cycle["holder"]
    assert report["pause_ms"] < report["elapsed_ms"]
    assert list((site[0] / "dumps").iterdir()) == []


def test_gc_for_people_says_the_same(site: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    """Count, type, holder."""
    assert run(LeakGc, "--process", str(site[1])) == 0
    out = capsys.readouterr().out
    assert "300 × __main__.Kept" in out
    assert "Keeper.kept" in out


def test_types_only_writes_no_dump(site: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    """Counts of the process, growth since its first count."""
    (report,) = data(capsys, LeakGc, "--types-only", "--limit", "500")
    assert {"__main__.Kept": 300}.items() <= {item["type"]: item["count"] for item in report["types"]}.items()
    assert report["cycles"] == []


def test_holders_groups_by_the_path(site: tuple[Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them by one path; the graph for Graphviz beside it."""
    dot = tmp_path / "kept.dot"
    answer = data(capsys, LeakHolders, "__main__.Kept", "--dot", str(dot))
    assert answer["instances"] == 300
    assert "Keeper.kept" in answer["groups"][0]["text"]
    assert dot.read_text().startswith("digraph")
    assert "__main__.Kept" in dot.read_text()


def test_holders_of_nothing_is_one_line(site: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    """A type that is not there."""
    assert run(LeakHolders, "no.such.Type") == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_instance_may_come_from_the_environment(
    site: tuple[Path, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is typed is then the type."""
    monkeypatch.setenv("CW_INSTANCE", "site")
    assert LeakHolders(None).main_run(["__main__.Kept"]) == 0
    assert "300 × __main__.Kept" in capsys.readouterr().out


def test_a_dump_is_for_its_owner_alone(
    site: tuple[Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mode 0600, even over a file that others could read; and no file is written over unasked."""
    target = tmp_path / "heap.dump"
    target.write_text("old")
    target.chmod(0o644)
    assert run(LeakDump, "-o", str(target)) == 4
    assert target.read_text() == "old"
    assert data(capsys_cleared(capsys), LeakDump, "-o", str(target), "--force")["path"] == str(target)
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_size > 1000


def capsys_cleared(capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    """Forget what was printed so far."""
    capsys.readouterr()
    return capsys


@pytest.mark.parametrize("command", [LeakGc, LeakStatus, LeakDump])
def test_a_process_that_is_not_there_is_named(
    site: tuple[Path, int], command: type[Command], capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 4, and which there are."""
    assert run(command, "--process", "web-9") == 4
    err = capsys.readouterr().err
    assert "web-9" in err
    assert f"web-1 (pid {site[1]})" in err


def test_of_several_processes_an_action_wants_one_named(
    site: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A report shows all, a dump is of one."""
    with process(site[0], "web-2"):
        assert run(LeakDump) == 4
        assert "web-2" in capsys.readouterr().err
        assert [row["name"] for row in data(capsys, LeakStatus)["processes"]] == ["web-1", "web-2"]


def test_a_stopped_process_does_not_hold_the_command_up(
    site: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told beside the others, within the time limit of a question."""
    with process(site[0], "web-2") as pid:
        os.kill(pid, signal.SIGSTOP)
        assert run(LeakStatus) == 0
    out, err = capsys.readouterr()
    assert "web-1" in out
    assert f"web-2 (pid {pid}) did not answer" in err


def test_a_stopped_process_is_not_looked_into_for_minutes(
    site: tuple[Path, int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy may take three of them; a process that shows no sign of life takes none."""
    monkeypatch.setattr(client, "SIGN_OF_LIFE_S", 0.5)
    with process(site[0], "web-2") as pid:
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        assert run(LeakGc, "--process", "web-2") == 1
        assert run(LeakGc, "--process", "web-2", "--types-only") == 1
    assert time.monotonic() - began < 5
    assert "did not answer within 0.5 s" in capsys.readouterr().err


@contextlib.contextmanager
def watching() -> Iterator[tuple[int, int, Callable[[str], str]]]:
    """Run ``leak-status --watch`` on a terminal; give its pid, the terminal, and a wait for what it shows."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "cubicweb_leakwatch", "leak-status", "site", "--watch", "0.2"])
    shown = ""

    def wait_for(text: str) -> str:
        nonlocal shown
        deadline = time.monotonic() + 30
        while text not in shown and time.monotonic() < deadline:
            if select.select([terminal], [], [], 1)[0]:
                with contextlib.suppress(OSError):  # EIO: the program has ended
                    shown += os.read(terminal, 65536).decode()
        assert text in shown
        whole, shown = shown, ""
        return whole

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    try:
        yield pid, terminal, wait_for
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.close(terminal)


def test_watch_is_a_list_that_keys_sort_and_end(site: tuple[Path, int]) -> None:
    """It refreshes, ``m`` sorts it by memory, ``q`` ends it, and the terminal is as before."""
    with watching() as (pid, terminal, wait_for):
        wait_for("web-1")
        during = termios.tcgetattr(terminal)[3]
        os.write(terminal, b"m")
        wait_for("[m] memory")
        os.write(terminal, b"q")
        assert wait_for(LEAVE).endswith(LEAVE)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        after = termios.tcgetattr(terminal)[3]
    assert not during & (termios.ECHO | termios.ICANON)
    assert after & termios.ECHO and after & termios.ICANON


def test_watch_gives_the_terminal_back_on_ctrl_c(site: tuple[Path, int]) -> None:
    """Exit code 2, echo on, the screen of before."""
    with watching() as (pid, terminal, wait_for):
        wait_for("web-1")
        os.write(terminal, b"\x03")
        wait_for("interrupted")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
        assert termios.tcgetattr(terminal)[3] & termios.ECHO
