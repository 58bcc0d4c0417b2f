"""leak-drill: whom it loads, what it tells, how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from cubicweb_leakwatch.commands import leak_drill
from cubicweb_leakwatch.commands.leak_drill import LeakDrill, reachable
from cubicweb_leakwatch.serve import drill
from cubicweb_leakwatch.serve.clients import Outcome
from cubicweb_leakwatch.serve.drill import DrillPlan, DrillResult
from cubicweb_leakwatch.serve.load import LoadResult


class Drill:
    """Stands for a drill: remembers its plan, and gives the outcomes it was told to."""

    def __init__(self) -> None:
        self.plan: DrillPlan | None = None
        self.address: Any = None
        self.outcomes = [Outcome("new", 1.0, 0.02), Outcome("lazy", 2.0, 0.03)]
        self.replaced = ["replaced"] * 5

    def __call__(self, address: Any, directory: str, plan: DrillPlan) -> DrillResult:
        """Return the result."""
        self.address, self.plan = address, plan
        records = [{"process": "web-1", "outcome": outcome, "detail": "why"} for outcome in self.replaced]
        return DrillResult(LoadResult(0.0, self.outcomes), records, [(0.5, 1.5)])


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Drill:
    """A drill in place of the real one, and a launcher that listens everywhere."""
    (tmp_path / "site").mkdir()
    monkeypatch.setenv("CW_INSTANCES_DIR", str(tmp_path))
    monkeypatch.setattr(leak_drill, "ask_launcher", lambda *_: {"listening": ["0.0.0.0:8080"]})
    stand_in = Drill()
    monkeypatch.setattr(drill, "run_drill", stand_in)
    return stand_in


def test_the_figures_come_after_the_verdict(pretended: Drill, capsys: pytest.CaptureFixture[str]) -> None:
    """No request failed: that is the first line, and the exit code is 0."""
    assert LeakDrill().main_run(["site"]) == 0
    first, header, *rows = capsys.readouterr().out.splitlines()
    assert first == "5 workers replaced, no request failed"
    assert "P99 ms" in header
    assert [row.split()[-6] for row in rows] == ["2", "1", "1"]


def test_a_failed_request_fails_the_drill(pretended: Drill, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and what failed."""
    pretended.outcomes.append(Outcome("new", 3.0, 0.1, "reset"))
    assert LeakDrill().main_run(["site"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("5 workers replaced, 1 of 3 requests FAILED")
    assert "1 failed, new: reset" in told


def test_too_few_replacements_fail_the_drill(pretended: Drill, capsys: pytest.CaptureFixture[str]) -> None:
    """A drill whose workers were not replaced has proven nothing."""
    pretended.replaced = ["successor-failed"] * 5
    assert LeakDrill().main_run(["site"]) == 1
    assert "web-1: successor-failed: why" in capsys.readouterr().out


def test_the_words_become_the_plan(pretended: Drill, capsys: pytest.CaptureFixture[str]) -> None:
    """Replacements, rate, time limit and the broken successor; JSON has the parts by name."""
    words = ["site", "--replacements", "2", "--rate", "7", "--seconds", "60", "--broken-successor", "--json"]
    assert LeakDrill().main_run(words) == 0
    assert pretended.address == ("127.0.0.1", 8080)
    assert pretended.plan is not None
    assert (pretended.plan.replacements, pretended.plan.seconds, pretended.plan.broken_successor) == (2, 60.0, True)
    assert pretended.plan.mix.new == 7.0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["sent"], data["failed"]) == (2, 0)
    assert data["inside"]["p50_ms"] == 20.0


@pytest.mark.parametrize(
    ("listening", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("[::]:80", ("::1", 80)),
        ("unix:/run/s", "/run/s"),
    ],
)
def test_every_address_of_the_machine_is_the_local_one(listening: str, address: Any) -> None:
    """Clients connect to where the launcher listens."""
    assert reachable(listening) == address
