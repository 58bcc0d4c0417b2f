"""leak-restart: who is replaced, what is told, how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from face_data import HOSTILE, restart

from cubicweb_leakwatch.commands import leak_restart
from cubicweb_leakwatch.commands.leak_restart import LeakRestart

PROCESSES = [
    {"name": "web-1", "pid": 11, "role": "web", "state": "serving"},
    {"name": "web-2", "pid": 22, "role": "web", "state": "serving"},
    {"name": "scheduler", "pid": 33, "role": "scheduler", "state": "serving"},
]


class Launcher:
    """Stands for the launcher: remembers what it was asked, and lets each restart take two more questions."""

    def __init__(self, **outcome: Any) -> None:
        self.asked: list[Any] = []
        self.outcome = outcome
        self.left = 2

    def __call__(self, directory: str, question: str, **parameters: Any) -> dict[str, Any]:
        """Answer as the launcher does."""
        if question == "status":
            return {"processes": PROCESSES}
        if question == "restart":
            self.asked.append(parameters["process"])
            names = [p["name"] for p in PROCESSES] if parameters["process"] is None else [parameters["process"]]
            return {"requested": [{"id": f"id-{name}", "process": name} for name in names]}
        self.left -= 1
        unfinished = {"outcome": None, "stage": "draining"} if self.left > 0 else {}
        names = [process["name"] for process in PROCESSES]
        return {
            "restarts": [restart(id=f"id-{name}", process=name, **{**self.outcome, **unfinished}) for name in names]
        }


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Launcher:
    """A launcher in place of the real one."""
    (tmp_path / "site").mkdir()
    monkeypatch.setenv("CW_INSTANCES_DIR", str(tmp_path))
    stand_in = Launcher()
    monkeypatch.setattr(leak_restart, "ask_launcher", stand_in)
    monkeypatch.setattr(leak_restart, "POLL_S", 0.0)
    return stand_in


def run(*words: str) -> int:
    """Run the command on ``site``."""
    return LeakRestart(None).main_run(["site", *words])


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["--process", "web-2"], ["web-2"]),
        (["--process", "33"], ["scheduler"]),
        (["--all"], [None]),
        (["--all", "--dry-run"], []),
    ],
)
def test_who_is_replaced(launcher: Launcher, words: list[str], asked: list[Any]) -> None:
    """By slot, by pid, all; nobody in a dry run."""
    assert run(*words) == 0
    assert launcher.asked == asked


@pytest.mark.parametrize("words", [[], ["--all", "--process", "web-1"], ["--process", "web-9"], ["--process", "1"]])
def test_without_a_choice_it_says_which_there_are(
    launcher: Launcher, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 4; nothing is replaced by guess."""
    assert run(*words) == 4
    assert "there are: web-1, web-2, scheduler" in capsys.readouterr().err
    assert launcher.asked == []


def test_wait_comes_back_with_the_outcome(launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    """The record is complete when the command ends."""
    assert run("--process", "web-1", "--wait", "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)["data"]
    assert (record["process"], record["outcome"], record["abandoned"]) == ("web-1", "replaced", 0)
    assert set(leak_restart.FIELDS) <= set(record)


@pytest.mark.parametrize("outcome", ["successor-failed", "drain-timeout"])
def test_a_restart_that_went_wrong_exits_1(launcher: Launcher, outcome: str) -> None:
    """With --wait, so that a deployment script stops."""
    launcher.outcome = {"outcome": outcome}
    assert run("--all", "--wait") == 1


def test_a_plan_has_the_shape_of_a_record(launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not known yet is null."""
    run("--process", "web-1", "--dry-run", "--json")
    (record,) = json.loads(capsys.readouterr().out)["data"]
    assert record["old_pid"] == 11
    assert record["outcome"] is None
    assert set(leak_restart.FIELDS) <= set(record)


def test_reasons_are_harmless(launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asked for a restart may have written anything."""
    launcher.outcome = {"reason": HOSTILE}
    run("--process", "web-1", "--wait")
    assert "\x1b" not in capsys.readouterr().out


def test_no_launcher_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 1, and how to start one."""
    (tmp_path / "site").mkdir()
    monkeypatch.setenv("CW_INSTANCES_DIR", str(tmp_path))
    monkeypatch.setenv("CW_INSTANCES_DATA_DIR", str(tmp_path))
    assert run("--all") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "leak-serve" in err
