"""Taking turns: who arranges is obeyed, who falls silent is not waited for."""

import pytest

from cubicweb_leakwatch.serve.answers import Answers
from cubicweb_leakwatch.serve.records import Restart
from cubicweb_leakwatch.serve.turns import LONGEST_HOLD_S, PATIENCE_S, Turns


def wish(number=1, automatic=False, planned=False):
    """Return a queued wish."""
    restart = Restart(f"1-{number:06}", "web-1", "test", "me", 0.0)
    restart.automatic, restart.planned = automatic, planned
    return restart


def test_without_an_arranger_every_wish_may_begin():
    """A host by itself never waits."""
    assert Turns().has_come(wish(), 5.0)


def test_only_the_granted_wish_begins():
    """The others wait, and are told as waiting."""
    turns = Turns()
    turns.arrange(0.0, 10.0, "1-000002")
    assert not turns.has_come(wish(1), 1.0)
    assert turns.has_come(wish(2), 1.0)
    assert turns.waiting([wish(1), wish(2)]) == [{"id": "1-000001", "automatic": False}]


def test_an_arranger_that_falls_silent_is_not_waited_for():
    """Its word holds for as long as it said, and never for more than a minute."""
    turns = Turns()
    turns.arrange(0.0, 10.0, None)
    assert not turns.has_come(wish(), 9.9)
    assert turns.has_come(wish(), 10.0)
    turns.arrange(0.0, 1e9, None)
    assert turns.has_come(wish(), LONGEST_HOLD_S)


@pytest.mark.parametrize(("planned", "begins"), [(False, True), (True, False)])
def test_a_hard_limit_waits_for_two_minutes_at_most(planned, begins):
    """A worker that goes on growing cannot wait for ever; what is planned can."""
    turns, one = Turns(), wish(automatic=True, planned=planned)
    for now in range(0, int(PATIENCE_S) + 1, 5):
        turns.arrange(now, 10.0, None)
        last = turns.has_come(one, now)
    assert last is begins


def test_the_budget_of_all_hosts_holds_back_a_hard_limit_too(make_fleet):
    """For as long as it is spent; its two minutes of patience with other hosts begin only then."""
    fleet = make_fleet()
    fleet.became_ready(1000, 1.0)
    replacements = fleet.replacements
    replacements.wanted_by(1000, "over its limit", 5.0)
    replacements.turns.arrange(5.0, 60.0, None)
    fleet.tick(5.0)
    assert len(replacements.turns.waiting(replacements.queue)) == 1
    replacements.gate.spent_elsewhere(5.0, 600.0)
    for now in range(10, 630, 10):
        replacements.turns.arrange(now, 60.0, None)
        fleet.tick(float(now))
        told = replacements.turns.waiting(replacements.queue)
        assert (replacements.active, bool(told)) == (None, now >= 605)
    assert "by all hosts together" not in str(fleet.flags)


@pytest.mark.parametrize("nonsense", [float("nan"), -5.0, 10**400])
def test_a_budget_spent_for_a_senseless_time_holds_back_for_the_budgets_own_at_most(make_fleet, nonsense):
    """Whatever the control socket is told."""
    gate = make_fleet().replacements.gate
    gate.spent_elsewhere(0.0, nonsense)
    assert gate._budget_spent_elsewhere(gate.policy.budget_s + 1.0) == ""


def test_a_fleet_waits_for_its_turn(make_fleet, hands):
    """The question on the control socket holds a wish back, and the grant lets it begin."""
    fleet = make_fleet()
    fleet.became_ready(1000, 1.0)
    answers = Answers(fleet, None, [], 0.0)
    assert answers.turn({"for_s": 10.0}) == {"waiting": [], "going_on": []}
    asked = fleet.replacements.ask("web-1", "test", "me")
    now = fleet.replacements.turns.arranged_until - 5.0
    fleet.tick(now)
    assert answers.turn({"for_s": 10.0})["waiting"] == [{"id": asked.id, "automatic": False}]
    answers.turn({"for_s": 10.0, "grant": asked.id})
    fleet.tick(now)
    assert answers.turn({}) == {"waiting": [], "going_on": [asked.id]}
