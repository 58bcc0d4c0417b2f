"""Recording allocations in a living process, with both engines: lines are named, bounds are kept, nothing is left."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from cubicweb_leakwatch.commands import leak_trace
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe import tracing
from cubicweb_leakwatch.probe.client import ProbeAddress, ProbeError, ask, find_probes

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, threading, time
from pathlib import Path
if sys.argv[2] == "tracemalloc":
    sys.modules["memray"] = None
from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.server import start_probe
start_probe(Path(sys.argv[1]), "demo", ProcessState(name="web-1", role="web"))
KEPT = []
def step(n):
    KEPT.append("kept %d" % n * 200)
    return "dropped %d" % n * 200
n = 0
while True:
    n += 1
    step(n)
    time.sleep(0.002)
"""


def without_symbols() -> bool:
    """Return whether the interpreter's binary was stripped of what names its functions."""
    return b".debug_info" not in Path(sys.executable).resolve().read_bytes()


@contextlib.contextmanager
def traced(folder: Path, engine: str) -> Iterator[ProbeAddress]:
    """Run a program that leaks a line at a time, with a probe."""
    program = folder / "leaking.py"
    program.write_text(textwrap.dedent(PROGRAM))
    process = subprocess.Popen(
        [sys.executable, str(program), str(folder), engine], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        deadline = time.monotonic() + 30
        while not (found := find_probes(folder)) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        yield found[0]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("engine", ["memray", "tracemalloc"])
def test_the_line_that_keeps_what_it_allocates_comes_first(engine: str, tmp_path: Path) -> None:
    """What is dropped again is not told; a heap walk meanwhile works; nothing is left behind."""
    with traced(tmp_path, engine) as address:
        plan = ask(address, "trace", action="plan")
        assert plan["engine"] == engine
        assert "processor time" in plan["cost"]
        ask(address, "trace", action="start", seconds=60)
        with pytest.raises(ProbeError, match="already"):
            ask(address, "trace", action="start", seconds=60)
        assert ask(address, "counts", timeout_s=30)["gc_objects"] > 1000
        deadline = time.monotonic() + 20
        while ask(address, "trace", action="state")["elapsed_s"] < 1.5 and time.monotonic() < deadline:
            time.sleep(0.1)
        result = ask(address, "trace", action="stop", timeout_s=60)
        assert result["stopped"] == "asked"
        found = leak_trace._alive(result, Namespace(output=None, native=engine == "memray"))
        first = max((row for row in found["lines"]), key=lambda row: row["bytes"])
        assert Path(first["file"]).name == "leaking.py"
        assert Path(first["file"]).read_text().splitlines()[first["line"] - 1].strip().startswith("KEPT.append")
        assert ("functions" in found) == (engine == "memray")
        assert list(tmp_path.glob("traces/*")) == []
        with pytest.raises(ProbeError, match="not being traced"):
            ask(address, "trace", action="stop")


def test_the_command_tells_the_cost_before_and_keeps_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr, fields in the document, memray's file where it was asked for, mode 0600."""
    with traced(tmp_path, "memray"):
        command = leak_trace.LeakTrace()
        instance = mock.Mock(runtime_dir=tmp_path)
        kept = tmp_path / "kept.bin"
        with mock.patch.object(command, "instance", return_value=instance):
            words = ["demo", "--process", "web-1", "--seconds", "1", "--native", "-o", str(kept), "--json"]
            assert command.run(command._parse(words)) == 0
        told = capfd.readouterr()
        assert "times the processor time" in told.err
        data = json.loads(told.out)["data"]
        assert data["engine"] == "memray"
        assert data["stopped"] == "time"
        assert "times the processor time" in data["cost"]
        assert data["lines"][0]["bytes"] > 1000
        foremost = data["functions"][:5]
        named = any("unicode" in row["file"] or "Unicode" in row["function"] for row in foremost)
        # an interpreter without symbols, as distributions have it, names none of its own functions
        assert named or (without_symbols() and "<unknown>" in {row["function"] for row in foremost})
        assert kept.stat().st_mode & 0o777 == 0o600


def test_it_stops_by_itself_when_the_bound_is_reached(tmp_path: Path) -> None:
    """The file of memray, or the memory of tracemalloc, does not grow on."""
    with traced(tmp_path, "memray") as address:
        result = leak_trace.record(address, 60, native=False, max_bytes=4096)
    assert result["stopped"] == "size"


def test_it_stops_by_itself_when_who_asked_died(tmp_path: Path) -> None:
    """Nobody asks after it any more: the recording ends and its file is removed."""
    with traced(tmp_path, "memray") as address:
        asker = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path; from cubicweb_leakwatch.commands.leak_trace import record\n"
                "from cubicweb_leakwatch.probe.client import find_probes\n"
                "record(find_probes(Path(sys.argv[1]))[0], 300, native=False, max_bytes=1 << 28)",
                str(tmp_path),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("traces/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(tmp_path.glob("traces/*"))
        asker.send_signal(signal.SIGKILL)
        asker.wait()
        deadline = time.monotonic() + 30
        while list(tmp_path.glob("traces/*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert list(tmp_path.glob("traces/*")) == []
        assert ask(address, "trace", action="plan")["engine"] == "memray"


def test_c_functions_want_memray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything starts."""
    monkeypatch.setitem(sys.modules, "memray", None)
    with pytest.raises(LeakwatchError, match="memray alone"):
        tracing.Tracing(tmp_path).answer({"action": "start", "native": True})


def test_a_program_that_traces_itself_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping would end the program's own tracing."""
    monkeypatch.setitem(sys.modules, "memray", None)
    monkeypatch.setattr("tracemalloc.is_tracing", lambda: True)
    with pytest.raises(LeakwatchError, match="itself"):
        tracing.Tracing(tmp_path).answer({"action": "start"})
