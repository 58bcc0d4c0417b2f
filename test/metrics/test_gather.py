"""Gathering from real probes: who is there, who is silent, who went away."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from probed import process

from cubicweb_leakwatch.metrics import gather as gathering
from cubicweb_leakwatch.metrics.gather import gather


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a runtime directory."""
    folder = tmp_path / "leakwatch"
    folder.mkdir(mode=0o700)
    return folder


def test_a_process_is_told_with_its_allocators_figures(directory: Path) -> None:
    """Memory from the answer, the allocator's figures from the sample that the process took by itself."""
    with process(directory, "web-1"):
        (row,) = gather(directory, "site").processes
    assert row["name"] == "web-1"
    assert row["uss"] > 2**20
    assert row["python_blocks"] > 1000


def test_a_stopped_process_is_silent_and_holds_up_nobody(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are told, and it takes no longer than one time-out."""
    monkeypatch.setattr(gathering, "ANSWER_TIMEOUT_S", 0.5)
    with process(directory, "web-1") as stopped, process(directory, "web-2"), process(directory, "web-3") as second:
        for each in (stopped, second):
            os.kill(each.pid, signal.SIGSTOP)
        began = time.monotonic()
        told = gather(directory, "site")
        elapsed_s = time.monotonic() - began
    assert [row["name"] for row in told.processes] == ["web-2"]
    assert told.silent == 2
    assert elapsed_s < 3.0


def test_a_process_that_ended_is_told_no_more(directory: Path) -> None:
    """Not even as silent: killed, it leaves its socket behind, and nothing in the metrics."""
    with process(directory, "web-1") as gone:
        gone.kill()
        gone.wait()
        told = gather(directory, "site")
    assert (told.processes, told.silent) == ((), 0)


def test_another_instances_process_is_not_ours(directory: Path) -> None:
    """Where two instances came to share a directory, each tells its own."""
    with process(directory, "web-1", "other"):
        assert gather(directory, "site").processes == ()


def test_conclusions_are_told_with_their_time(directory: Path) -> None:
    """When the looping task wrote last is known even when what it wrote is too old to be told."""
    findings = [{"process": "web-1", "kind": "steady", "leak": False}]
    (directory / "findings.json").write_text(json.dumps({"t": time.time(), "findings": findings}))
    told = gather(directory, "site")
    assert told.findings == {"web-1": findings[0]}
    assert told.concluded_at == pytest.approx(time.time(), abs=60)


def test_a_directory_that_does_not_exist_is_an_instance_that_does_not_run(tmp_path: Path) -> None:
    """No error: monitoring says that nothing is up."""
    told = gather(tmp_path / "nowhere", "site")
    assert (told.processes, told.silent, told.launcher, told.concluded_at) == ((), 0, None, None)
