"""leak-doctor: each problem has its number, and a set-up without one has none."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from face_data import process

from cubicweb_leakwatch.commands.checkup import Facts, loses_syntax_trees, problems
from cubicweb_leakwatch.commands.leak_doctor import LeakDoctor

GIB = 1024**3
WELL = Facts(
    name="site",
    processes=(process(), process("scheduler", role="scheduler", limit=None)),
    launcher={"flags": []},
    findings=2,
    directory_mode=0o700,
    interval_s=60.0,
    memory_total=8 * GIB,
    python=(3, 11, 8),
)


def test_a_good_set_up_has_no_problem() -> None:
    """Nothing is made up."""
    assert problems(WELL) == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"processes": ()}, "W001"),
        ({"silent": ("web-2 (pid 5) did not answer",)}, "W002"),
        ({"processes": (process(),)}, "W003"),
        ({"interval_s": None}, "W004"),
        ({"findings": 0}, "W005"),
        ({"overdue_since": 1_700_000_000.0}, "W005"),
        ({"processes": (process(limit=None), process("scheduler", role="scheduler"))}, "W006"),
        ({"memory_total": GIB // 4}, "W007"),
        ({"launcher": None}, "W008"),
        ({"launcher": {"flags": ["web-1 fails to start"]}}, "W009"),
        ({"directory_is_ours": False}, "W010"),
        ({"directory_mode": 0o755}, "W011"),
        ({"strangers": ("web-7",)}, "W012"),
        ({"bad_option": "option leakwatch-keep: 'x' means nothing", "interval_s": None}, "W013"),
        ({"python": (3, 11, 7)}, "W014"),
        ({"python": (3, 12, 1), "launcher": {"flags": [], "threads": 4}}, "W014"),
    ],
)
def test_each_problem_is_found_alone(changed: dict[str, Any], code: str) -> None:
    """With a sentence and what to do."""
    (problem,) = problems(dataclasses.replace(WELL, **changed))
    assert problem.code == code
    assert problem.message
    assert problem.hint


@pytest.mark.parametrize(
    "changed",
    [
        {"python": (3, 12, 2)},
        {"python": (3, 13, 0)},
        {"python": None},
        {"python": (3, 11, 7), "launcher": {"flags": [], "threads": 1}},
    ],
)
def test_a_python_that_parses_in_threads_is_no_problem(changed: dict[str, Any]) -> None:
    """Nor is one that cannot, where a worker has a single thread."""
    assert problems(dataclasses.replace(WELL, **changed)) == []


def test_a_scheduler_that_has_just_started_is_given_time() -> None:
    """No conclusion in its first quarter of an hour is no problem."""
    young = (process(), process("scheduler", role="scheduler", age_s=60.0))
    assert problems(dataclasses.replace(WELL, processes=young, findings=0)) == []
    assert problems(dataclasses.replace(WELL, processes=young, overdue_since=1_700_000_000.0)) == []


def test_a_scheduler_that_records_once_an_hour_is_given_two() -> None:
    """A quarter of an hour is four times nothing there."""
    assert problems(dataclasses.replace(WELL, findings=0, interval_s=3600.0)) == []


def test_the_command_exits_1_with_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An instance that does not run, and whose configuration is no configuration."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "bootstrap_cubes").write_text("leakwatch\n")
    monkeypatch.setenv("CW_INSTANCES_DIR", str(tmp_path))
    monkeypatch.setenv("CW_INSTANCES_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("CW_RUNTIME_DIR", raising=False)
    assert LeakDoctor(None).main_run(["site", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    codes = [problem["code"] for problem in document["data"]["problems"]]
    assert "W001" in codes
    assert ("W014" in codes) == loses_syntax_trees(sys.version_info[:3])
