"""When the looping task has a worker replaced, and when it does not."""

import queue
from pathlib import Path
from unittest import mock

import pytest
from cube_data import NOON, measured, sample

from cubicweb_leakwatch.recording import restarting
from cubicweb_leakwatch.recording.measuring import Measured
from cubicweb_leakwatch.recording.restarting import replace_if_due
from cubicweb_leakwatch.serve.control import LauncherError
from cubicweb_leakwatch.serve.masters import Master
from cubicweb_leakwatch.watch.finding import Finding
from cubicweb_leakwatch.watch.policy import Budget, Rules

MIB = 1024**2
RULES = Rules(mode="auto", horizon_s=43200.0)
SOON = [Finding("web-1", "python-objects", rate_bytes_per_h=3.2e8, seconds_to_limit=3600.0).as_json()]


def process(name="web-1", rss=100, limit=400, state="serving", age_s=86400.0, **changes):
    """Return a measured process, a day old by default; memory in MiB."""
    found = measured(sample(t=NOON + age_s, rss=rss * MIB, **changes), name=name)
    return Measured(found.identity, found.samples, state, limit * MIB)


@pytest.fixture
def launcher(monkeypatch):
    """A launcher that is replacing nobody and takes every wish."""
    answers = {"restarts": {"restarts": []}, "restart": {"requested": [{"id": "1", "process": "web-1"}]}}
    ask = mock.Mock(side_effect=lambda _directory, question, **_asked: answers[question])
    ask.answers = answers
    monkeypatch.setattr(restarting, "ask_launcher", ask)
    return ask


def wishes(launcher):
    """Return what the launcher was asked to replace."""
    return [call.kwargs["process"] for call in launcher.call_args_list if call.args[1] == "restart"]


def decide(*processes, rules=RULES, findings=SOON, past=()):
    """Decide about these processes."""
    return replace_if_due(Path("/run"), rules, processes, findings, past)


def test_a_leak_that_reaches_the_limit_soon_is_replaced(launcher):
    """The limit predicted within the horizon is the reason, and the launcher hears it."""
    decide(process(), process("web-2"))
    assert wishes(launcher) == ["web-1"]
    assert "predicted" in launcher.call_args.kwargs["reason"]


def test_a_worker_that_has_just_started_is_left_alone(launcher):
    """What a young worker's growth predicts is no reason to start yet another."""
    decide(process(age_s=120.0))
    assert wishes(launcher) == []


def test_what_was_predicted_of_the_worker_before_it_is_no_reason(launcher):
    """That one had reached its limit; its successor, a quarter of the way there, has not."""
    reached = Finding("web-1", "python-objects", rate_bytes_per_h=3.2e8, seconds_to_limit=0.0).as_json()
    decide(process(age_s=120.0), findings=[reached])
    assert wishes(launcher) == []


def test_what_has_an_end_is_left_alone(launcher):
    """A cache that fills to a plateau is no leak, even when its rate would reach the limit."""
    plateau = Finding("web-1", "plateau", rate_bytes_per_h=1e6, seconds_to_limit=3600.0).as_json()
    decide(process(), findings=[plateau])
    assert wishes(launcher) == []


def test_one_at_a_time(launcher):
    """While the launcher replaces one, no other is asked for."""
    launcher.answers["restarts"] = {"restarts": [{"process": "web-2", "stage": "waiting-for-ready"}]}
    decide(process(), process("web-2"))
    assert wishes(launcher) == []


def test_a_finished_restart_is_in_nobodys_way(launcher):
    """The launcher also lists restarts that are done."""
    launcher.answers["restarts"] = {"restarts": [{"process": "web-2", "stage": "done"}]}
    decide(process(), process("web-2"))
    assert wishes(launcher) == ["web-1"]


def test_the_scheduler_is_no_web_worker(launcher):
    """The policy replaces web workers alone."""
    scheduler = [Finding("scheduler", "native", seconds_to_limit=60.0).as_json()]
    decide(process("scheduler", rss=500), findings=scheduler)
    assert wishes(launcher) == []


def test_private_memory_counts(launcher):
    """What workers share is not theirs: the limit is compared to the private memory where it is known."""
    decide(process(rss=500, uss=300 * MIB), findings=[])
    assert wishes(launcher) == []
    decide(process(rss=500, uss=450 * MIB), findings=[])
    assert wishes(launcher) == ["web-1"]


def test_advise_only_says_it(launcher, caplog):
    """In the mode advise nothing is replaced, and the log says what would have been."""
    decide(process(), rules=Rules(mode="advise", horizon_s=43200.0))
    assert wishes(launcher) == []
    assert "web-1 should be replaced" in caplog.text


def test_off_asks_nobody(launcher):
    """In the mode off the launcher is not even spoken to."""
    assert decide(process(), rules=Rules(mode="off")) is None
    launcher.assert_not_called()


def test_without_a_launcher_nothing_happens(launcher, caplog):
    """Under another server there is nobody to ask, and no error in the log each minute."""
    launcher.side_effect = LauncherError("no launcher is running", code="no-launcher")
    assert decide(process()) is None
    assert caplog.text == ""


def test_without_a_launcher_gunicorn_is_asked(launcher, monkeypatch):
    """What is predicted is another master's to replace, under the same rules."""
    launcher.side_effect = LauncherError("no launcher is running", code="no-launcher")
    errands = queue.Queue()
    monkeypatch.setattr(restarting, "master_of", lambda pid: Master("gunicorn", 1))
    monkeypatch.setattr(restarting, "send", lambda directory, errand: errands.put(errand))
    decide(process(), rules=Rules(mode="auto", horizon_s=43200.0, budget=Budget(6, 3600.0)))
    errand = errands.get(timeout=10)
    assert (errand.name, errand.planned, errand.policy.budget_count) == ("web-1", True, 6)


def test_a_launcher_that_refuses_is_logged(launcher, caplog):
    """What the launcher refuses is said, and the task goes on."""
    launcher.side_effect = LauncherError("web-1 is being replaced already", code="busy")
    assert decide(process()) is None
    assert "being replaced already" in caplog.text
