"""Rules of a probe: it answers its own user, survives garbage, and leaves nothing behind."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from probed import process

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.probe import client, runtime, wire
from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.server import start_probe


@pytest.fixture
def probe(tmp_path):
    """A probe of this process, as web-1."""
    directory = tmp_path / "leakwatch"
    directory.mkdir(mode=0o700)
    running = start_probe(directory, "shop", ProcessState(name="", role="web", state="serving"))
    yield running
    running.stop()


def address(probe):
    """Where the probe listens."""
    (found,) = runtime.find_probes(probe.path.parent)
    return found


def raw(probe, sent):
    """Send bytes, hang up for writing, and read what comes back."""
    with socket.socket(socket.AF_UNIX) as connection, runtime.reachable(probe.path) as short:
        connection.settimeout(10)
        connection.connect(short)
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_status_has_every_key_of_the_contract(probe):
    """The row of leak-status, as far as a process knows itself."""
    row = client.ask(address(probe), "status")
    assert row["name"] == "web-1" and row["pid"] == os.getpid() and row["state"] == "serving"
    expected = {
        "name", "pid", "host", "role", "state", "started_at", "age_s", "generation", "requests", "in_flight", "rss",
        "uss", "pss", "limit", "gc_objects", "garbage", "threads", "fds",
    }  # fmt: skip
    assert expected <= set(row)
    assert row["requests"] is None  # nobody counts here: unknown, not 0


def test_the_socket_is_the_users_alone(probe):
    """Mode 0600, whatever the umask."""
    assert stat.S_IMODE(probe.path.stat().st_mode) == 0o600


def test_another_user_gets_no_answer(probe, monkeypatch):
    """A peer whose uid is neither ours nor root's is hung up on."""
    monkeypatch.setattr(wire, "peer_uid", lambda connection: os.geteuid() + 12345)
    with pytest.raises(client.ProbeError, match="did not answer"):
        client.ask(address(probe), "status")


GARBAGE = [
    b"",
    b"\n",
    b"hello\n",
    b"[1]\n",
    b"\xff\xfe\n",
    b'{"ask": "st',
    b"[" * 60_000 + b"\n",
    b'{"ask": ["x"]}\n',
    b'{"ask": "sing"}\n',
]


@pytest.mark.parametrize("sent", GARBAGE)
def test_garbage_gets_a_refusal_and_the_probe_goes_on(probe, sent):
    """Whatever is sent, the answer is a sentence and the next question is answered."""
    answer = json.loads(raw(probe, sent))
    assert answer["ok"] is False and answer["error"]["message"]
    assert client.ask(address(probe), "status")["name"] == "web-1"


def test_a_question_without_end_is_cut_off(probe):
    """More than the longest question is refused before it fills our memory."""
    answer = json.loads(raw(probe, b"x" * (wire.MAX_QUESTION + 1)))
    assert "without the end of the line" in answer["error"]["message"]


def test_a_silent_asker_does_not_keep_others_waiting(probe):
    """Somebody who connects and says nothing holds up nobody."""
    with socket.socket(socket.AF_UNIX) as silent, runtime.reachable(probe.path) as short:
        silent.connect(short)
        assert client.ask(address(probe), "sample", timeout_s=3)["rss"] > 0


def test_types_only_counts_and_then_tells_growth(probe):
    """The first count is the baseline; the second tells what grew since, by type."""
    first = client.ask(address(probe), "gc", timeout_s=60, limit=1000)
    assert first["growth_since"] is None or first["types"]
    kept = [Grown() for _ in range(1234)]
    second = client.ask(address(probe), "gc", timeout_s=60, limit=100_000)
    (row,) = [row for row in second["types"] if row["type"].endswith("test_server.Grown")]
    assert row["count"] == len(kept) and row["delta"] == len(kept)
    assert second["growth_since"] and second["pause_ms"] > 0


class Grown:
    """A type of which no other test makes any."""


def test_a_dump_lands_in_the_runtime_directory_readable_by_the_user_alone(probe):
    """The asker is told where, how large, and how long the process stood still."""
    taken = client.ask(address(probe), "dump", timeout_s=60)
    info = Path(taken["path"]).stat()
    assert taken["path"].startswith(str(probe.path.parent))
    assert stat.S_IMODE(info.st_mode) == 0o600 and info.st_size == taken["bytes"] > 0
    assert 0 < taken["pause_ms"] < taken["elapsed_ms"]


def test_forgotten_dumps_are_removed(probe):
    """An asker that died leaves a dump; the next dump clears it away."""
    dumps = probe.path.parent / "dumps"
    dumps.mkdir()
    (dumps / "web-1-1-1.dump").write_text("old")
    os.utime(dumps / "web-1-1-1.dump", (time.time() - 7200,) * 2)
    taken = client.ask(address(probe), "dump", timeout_s=60)
    assert [str(path) for path in dumps.iterdir()] == [taken["path"]]


def test_every_second_runs_although_one_task_fails(probe):
    """The memory guard is called each second, and a broken neighbour does not stop it."""
    called = threading.Event()
    probe.every_second += [lambda: 1 // 0, called.set]
    assert called.wait(5)
    assert client.ask(address(probe), "sample")["rss"] > 0


def test_the_ring_bridges_a_collector_that_was_away(probe):
    """Samples are kept in the process; only later ones than asked for come back."""
    probe.answers.remember_sample()
    first = client.ask(address(probe), "ring")
    probe.answers.remember_sample()
    assert len(client.ask(address(probe), "ring", since=first[-1]["t"])) >= 1
    assert client.ask(address(probe), "ring", since=time.time() + 60) == []


def test_stop_removes_the_socket_and_the_thread(tmp_path):
    """Nothing is left of a probe that was stopped, and stopping again is harmless."""
    before = threading.active_count()
    running = start_probe(tmp_path, "shop", ProcessState(name="web-1", role="web"))
    running.stop()
    running.stop()
    assert not running.path.exists() and threading.active_count() == before


def test_two_workers_take_two_names(tmp_path):
    """Processes that no launcher named choose apart, even when they start together."""
    script = (
        "import sys; from pathlib import Path; from cubicweb_leakwatch.probe.server import start_probe;"
        "from cubicweb_leakwatch.probe.process import this_process;"
        "probe = start_probe(Path(sys.argv[1]), 'shop', this_process());"
        "print(probe.path.name, flush=True); sys.stdin.read()"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        names = sorted(child.stdout.readline().split("-")[1] for child in children)
    finally:
        for child in children:
            child.communicate()
    assert names == ["1", "2", "3"]


def test_nobody_there_and_unknown_names_are_told_apart(probe, tmp_path):
    """The operator reads which processes there are."""
    with pytest.raises(ConfigurationError, match="no probe answers"):
        client.choose(tmp_path / "nowhere", None)
    with pytest.raises(ConfigurationError, match="no process web-9") as caught:
        client.choose(probe.path.parent, "web-9")
    assert "web-1" in caught.value.hint
    assert client.choose(probe.path.parent, str(os.getpid())) == client.choose(probe.path.parent, "web-1")


def test_a_probe_that_died_is_one_sentence(probe):
    """A socket whose process is there but whose probe is gone: connection refused, told as such."""
    probe._listener.close()
    with pytest.raises(client.ProbeError, match="did not answer"):
        client.ask(address(probe), "status")


def test_who_had_a_dump_made_is_written_down(probe):
    """With the user id that the kernel names, and whether it carries contents; what may carry none says no."""
    answer = client.ask(address(probe), "dump", timeout_s=60.0, contents=True)
    (entry,) = [json.loads(line) for line in (probe.path.parent / "audit.jsonl").read_text().splitlines()]
    assert (entry["event"], entry["uid"], entry["contents"]) == ("dump", os.geteuid(), False)
    assert stat.S_IMODE(Path(answer["path"]).stat().st_mode) == 0o600
    assert Path(answer["path"]).parent == probe.path.parent / "dumps"


def test_no_question_names_the_file_of_a_dump(probe, tmp_path):
    """What a question says of a path is passed over: dumps lie in the runtime directory."""
    answer = client.ask(address(probe), "dump", timeout_s=60.0, path=str(tmp_path / "stolen"), name="../../stolen")
    assert Path(answer["path"]).parent == probe.path.parent / "dumps"
    assert not (tmp_path / "stolen").exists()


def test_several_are_asked_at_once(tmp_path):
    """One that is stopped costs its own answer and the time limit once, whatever its place among them."""
    directory = tmp_path / "leakwatch"
    directory.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        children = {name: stack.enter_context(process(directory, name)) for name in ("web-1", "web-2", "web-3")}
        children["web-1"].send_signal(signal.SIGSTOP)
        probes = runtime.find_probes(directory)
        started = time.monotonic()
        answers = dict(
            zip([probe.name for probe in probes], client.ask_all(probes, "status", timeout_s=1.0), strict=True)
        )
        assert time.monotonic() - started < 2.5
    assert answers["web-1"].code == "no-answer"
    assert "did not answer within 1 s" in answers["web-1"].message
    assert [answers[name]["name"] for name in ("web-2", "web-3")] == ["web-2", "web-3"]
