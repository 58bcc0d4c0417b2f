"""What holds back a replacement that nobody asked for by hand, and what does not."""

import time

import pytest
from fleets import EXIT_0, EXIT_1, finish

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.serve.gate import QUIET_PATIENCE_S
from cubicweb_leakwatch.serve.spec import Policy

NIGHT = Policy(window_start_s=2 * 3600, window_end_s=5 * 3600)


def at_local(hour):
    """Return a wall clock that stands at an hour of local time."""
    midnight = time.mktime((2026, 11, 22, 0, 0, 0, 0, 0, -1))
    return lambda: midnight + hour * 3600


@pytest.fixture
def serving(make_fleet):
    """Return ``serving(policy, workers)``: a fleet with that policy, its workers serving."""

    def make(policy, workers=1):
        fleet = make_fleet(policy=policy, workers=workers)
        for pid in list(fleet.workers):
            fleet.became_ready(pid, 1.0)
        return fleet

    return make


def started(hands):
    """Return how many successors were started."""
    return sum(generation > 1 for _name, generation, _pid in hands.started)


def test_the_budget_holds_for_hard_limits_too(serving, hands):
    """Two restarts an hour: the third waits, says since what and until when, and begins when the hour is over."""
    fleet = serving(Policy(budget_count=2, budget_s=3600.0))
    pid = 1000
    for now in (1000.0, 2000.0, 3000.0):
        fleet.replacements.wanted_by(pid, "memory", now, repeated=True)
        fleet.tick(now)
        pid = finish(fleet, hands, now)
    assert started(hands) == 2
    assert "the budget of 2 automatic restarts in 60 min is spent: the next may begin at" in fleet.flags["web-1 waits"]
    assert fleet.replacements.in_progress()[0].as_json()["held"].startswith("the budget of 2")
    fleet.replacements.wanted_by(pid, "memory", 4590.0, repeated=True)
    fleet.tick(4601.0)
    assert started(hands) == 3
    assert "web-1 waits" not in fleet.flags


def test_restarts_by_hand_are_not_in_the_budget(serving, hands):
    """An operator's own restarts neither wait for it nor take from it."""
    fleet = serving(Policy(budget_count=1))
    for now in (10.0, 20.0, 30.0):
        fleet.replacements.ask("web-1", "test", "me")
        fleet.tick(now)
        finish(fleet, hands, now)
    fleet.replacements.wanted_by(fleet.slots["web-1"].current.pid, "memory", 40.0, repeated=True)
    fleet.tick(40.0)
    assert started(hands) == 4


def test_a_failed_successor_takes_nothing_of_the_budget(serving, hands):
    """Its own growing pauses slow it down."""
    fleet = serving(Policy(budget_count=1))
    fleet.replacements.wanted_by(1000, "memory", 10.0, repeated=True)
    fleet.tick(10.0)
    fleet.ended(1001, EXIT_1, 11.0)
    fleet.tick(fleet.next_deadline())
    assert started(hands) == 2


def test_what_waits_is_begun_by_hand(serving, hands):
    """Asking by hand for what the budget holds back begins it."""
    fleet = serving(Policy(budget_count=1))
    fleet.replacements.wanted_by(1000, "memory", 10.0, repeated=True)
    fleet.tick(10.0)
    pid = finish(fleet, hands, 10.0)
    fleet.replacements.wanted_by(pid, "memory", 20.0, repeated=True)
    fleet.tick(20.0)
    fleet.replacements.ask("web-1", "now", "me")
    fleet.tick(21.0)
    assert started(hands) == 2


def test_planned_restarts_wait_for_the_window_and_limits_do_not(serving, hands):
    """At noon an age waits for 02:00, a memory limit does not."""
    hands.wall = at_local(12)
    fleet = serving(NIGHT, workers=2)
    fleet.replacements.wanted_by(1000, "old", 10.0, planned=True, repeated=True)
    fleet.replacements.wanted_by(1001, "memory", 10.0, repeated=True)
    fleet.tick(10.0)
    assert hands.started[-1][:2] == ("web-2", 2)
    assert "restart window 02:00 to 05:00" in fleet.flags["web-1 waits"]


def test_a_planned_restart_that_becomes_urgent_waits_no_longer(serving, hands):
    """Its age waits for the night; then the memory limit is reached."""
    hands.wall = at_local(12)
    fleet = serving(NIGHT)
    fleet.replacements.wanted_by(1000, "old", 10.0, planned=True, repeated=True)
    fleet.tick(10.0)
    fleet.replacements.wanted_by(1000, "memory", 40.0, repeated=True)
    fleet.tick(40.0)
    assert started(hands) == 1


def test_in_the_window_a_quiet_minute_is_chosen(serving, hands):
    """In a busy minute of the window it waits, a quarter of an hour at most."""
    hands.wall = at_local(3)
    fleet = serving(NIGHT)
    fleet.workers[1000].quiet = False
    fleet.replacements.wanted_by(1000, "old", 10.0, planned=True)
    fleet.tick(10.0)
    assert "quiet minute" in fleet.flags["web-1 waits"]
    fleet.tick(9.0 + QUIET_PATIENCE_S)
    assert started(hands) == 0
    fleet.tick(11.0 + QUIET_PATIENCE_S)
    assert started(hands) == 1


def test_without_a_window_a_number_of_requests_does_not_wait(serving, hands):
    """Only what is predicted, hours ahead, looks for a quiet minute then."""
    fleet = serving(Policy(), workers=2)
    for pid in (1000, 1001):
        fleet.workers[pid].quiet = False
    fleet.replacements.propose("web-1", "predicted in 9 h", "policy", 10.0, planned=True)
    fleet.replacements.wanted_by(1001, "500 requests", 10.0, planned=True, repeated=True)
    fleet.tick(10.0)
    assert hands.started[-1][:2] == ("web-2", 2)
    fleet.workers[1000].quiet = True
    finish(fleet, hands, 10.0, old=1001)
    fleet.tick(13.0)
    assert hands.started[-1][:2] == ("web-1", 2)


def test_a_wish_whose_reason_is_gone_lapses(serving, hands):
    """A worker that no longer asks is no longer over its limit; one that died needs no second successor."""
    fleet = serving(Policy(budget_count=1))
    fleet.replacements.wanted_by(1000, "memory", 10.0, repeated=True)
    fleet.tick(10.0)
    pid = finish(fleet, hands, 10.0)
    fleet.replacements.wanted_by(pid, "memory", 20.0, repeated=True)
    fleet.tick(20.0)
    fleet.tick(200.0)
    assert fleet.replacements.in_progress() == []
    assert fleet.flags == {}


def test_advise_does_all_but_act(serving, hands):
    """It says once what it would have done to which process, and counts it as done."""
    fleet = serving(Policy(mode="advise", budget_count=6))
    for now in (10.0, 40.0, 70.0):
        fleet.replacements.wanted_by(1000, "memory 120 MiB over its limit", now, repeated=True)
        fleet.tick(now)
    assert started(hands) == 0
    assert hands.signals == []
    advice = [fields for event, fields in hands.notes if event == "advice"]
    assert [(row["process"], row["pid"], row["reason"]) for row in advice] == [
        ("web-1", 1000, "memory 120 MiB over its limit")
    ]
    assert "nothing is done (leakwatch-restart is advise)" in fleet.flags["web-1 advice"]
    fleet.replacements.ask("web-1", "so be it", "me")
    fleet.tick(80.0)
    finish(fleet, hands, 80.0)
    assert (started(hands), fleet.flags) == (1, {})


def test_off_leaves_restarts_to_people(serving, hands):
    """Neither a worker's wish nor the looping task's is taken; a worker that dies is still replaced."""
    fleet = serving(Policy(mode="off"))
    fleet.replacements.wanted_by(1000, "memory", 10.0, repeated=True)
    with pytest.raises(LeakwatchError, match="off"):
        fleet.replacements.propose("web-1", "predicted", "policy", 10.0, planned=True)
    fleet.tick(10.0)
    assert started(hands) == 0
    fleet.ended(1000, EXIT_0, 20.0)
    assert started(hands) == 1
