"""The demo is a test: it fails unless both stories are shown and no request is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from cubicweb_leakdemo.runner import traffic

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def command(home: Path, port: int, *options: str) -> list[str]:
    """Return the command line that ``make demo`` uses."""
    return [sys.executable, "-m", "cubicweb_leakdemo.runner", "--home", str(home), "--port", str(port), *options]


def left_behind(home: Path) -> list[str]:
    """Return the command lines of processes that still know the demo's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            line, environment = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        if str(home) in " ".join(line) or str(home) in environment.get("CW_RUNTIME_DIR", ""):
            found.append(" ".join(line))
    return found


def test_the_demo_shows_both_stories(tmp_path: Path) -> None:
    """In 75 seconds the leak is named with its keeper, a worker replaced, no request lost; nothing is left behind."""
    home = tmp_path / "demo"
    done = subprocess.run(
        command(home, traffic.free_port(), "--for", "75", "--json"),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    data = document["data"]
    assert document["ok"] is True
    assert data["leak"]["process"] == "scheduler"
    assert data["leak"]["count"] >= 500
    assert "POLLER.handlers" in data["leak"]["holder"]
    assert "replaced" in {restart["outcome"] for restart in data["restarts"]}
    assert data["traffic"]["answered"] == data["traffic"]["sent"] >= 500
    assert left_behind(home) == []


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    """Interrupted while it runs, the demo tells its count, ends with 0 and leaves no process behind."""
    home, port = tmp_path / "demo", traffic.free_port()
    with subprocess.Popen(command(home, port), stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        assert any(f":{port}/" in line for line in demo.stderr), "it ended before it said where to look"
        assert traffic.send("127.0.0.1", port, "/", late_s=20.0).kind == traffic.ANSWERED
        assert left_behind(home)
        os.kill(demo.pid, signal.SIGINT)
        _, said = demo.communicate(timeout=90)
    assert demo.returncode == 0, said
    assert "sent" in said and "Traceback" not in said
    assert left_behind(home) == []


def test_a_port_in_use_is_told_at_once(tmp_path: Path) -> None:
    """One line that names the port and how to take another; exit code 4; nothing is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(command(tmp_path / "demo", port), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert str(port) in done.stderr and "DEMO_PORT" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "demo").exists()
