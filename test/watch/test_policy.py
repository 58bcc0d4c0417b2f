"""Who is replaced now, and why or why not."""

import datetime
from typing import Any

import pytest

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.watch.policy import (
    Budget,
    Candidate,
    PastRestart,
    Rules,
    Window,
    decide,
    parse_budget,
    parse_mode,
    parse_window,
)

NOON = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
H = 3600.0


def over(name: str = "web-1", by: int = 1, **more: Any) -> Candidate:
    """Build a serving process over its limit of 100 bytes."""
    return Candidate(name, rss=100 + by, limit=100, **more)


def within(hours: float, name: str = "web-1", age_h: float = 1000.0) -> Candidate:
    """Build a process, old by default, predicted to reach its limit in so many hours."""
    return Candidate(name, rss=50, limit=100, seconds_to_limit=hours * H, age_s=age_h * H)


def restarted(minutes_ago: float, process: str = "web-1", **more: Any) -> PastRestart:
    """Build a restart that ended so many minutes before noon."""
    return PastRestart(process, NOON.timestamp() - minutes_ago * 60, **more)


PLANNED = Rules(horizon_s=12 * H)
AT_NIGHT = Rules(horizon_s=24 * H, window=Window(2 * 3600, 5 * 3600))


def test_a_process_over_its_limit_is_replaced() -> None:
    """The reason names both sizes."""
    decision = decide([Candidate("web-1"), over("web-2")], Rules(), NOON)
    assert decision.process == "web-2" and decision.urgent and "101 B is over its limit of 100 B" in decision.reason


def test_nobody_is_replaced_without_a_reason() -> None:
    """A process below its limit, or without one, stays."""
    decision = decide([Candidate("web-1", rss=99, limit=100), Candidate("web-2", rss=10**9)], PLANNED, NOON)
    assert decision.process is None and decision.waiting == ()


def test_the_limit_predicted_within_the_horizon_is_planned() -> None:
    """Within the horizon it is replaced, beyond it is not; without a horizon nothing is planned."""
    assert decide([within(11)], PLANNED, NOON).process == "web-1"
    assert decide([within(13)], PLANNED, NOON).process is None
    assert decide([within(1)], Rules(), NOON).process is None


def test_a_young_process_is_not_replaced_for_a_prediction() -> None:
    """A leak that fills a worker in ten hours costs a restart each ten hours, not one every few minutes."""
    assert decide([within(9.9, age_h=0.1)], PLANNED, NOON).process is None
    assert decide([within(2, age_h=8)], PLANNED, NOON).process is None
    assert decide([within(1, age_h=9)], PLANNED, NOON).process == "web-1"
    assert decide([Candidate("web-1", rss=50, limit=100, seconds_to_limit=60.0)], PLANNED, NOON).process is None


def test_in_the_window_half_a_life_is_enough() -> None:
    """The quiet hours are worth coming early, but not so early that restarts double."""
    night = NOON.replace(hour=3)
    assert decide([within(4, age_h=6)], AT_NIGHT, night).process == "web-1"
    assert decide([within(6, age_h=4)], AT_NIGHT, night).process is None


def test_the_most_urgent_goes_first_and_the_others_wait() -> None:
    """Over the limit comes before predicted, the furthest over before the others."""
    decision = decide([within(1, "web-1"), over("web-2"), over("web-3", by=9)], PLANNED, NOON)
    assert decision.process == "web-3" and [name for name, _ in decision.waiting] == ["web-2", "web-1"]


@pytest.mark.parametrize("state", ["starting", "draining", "stopping"])
def test_one_at_a_time(state: str) -> None:
    """While one process is on its way, no other is touched, not even over its limit."""
    decision = decide([over("web-1"), Candidate("web-2", state=state)], Rules(), NOON)
    assert decision.process is None and "one at a time" in decision.reason
    assert decide([over("web-1"), Candidate("web-2", state=state)], Rules(at_once=2), NOON).process == "web-1"


def test_the_budget_ends_a_storm() -> None:
    """Six an hour means the seventh waits; old ones no longer count."""
    rules = Rules(budget=Budget(6, H))
    recent = [restarted(n) for n in (1, 5, 10, 20, 30)]
    assert decide([over()], rules, NOON, [*recent, restarted(61)]).process == "web-1"
    refused = decide([over()], rules, NOON, [*recent, restarted(59)])
    assert refused.process is None and "budget of 6 restarts in 1 h" in refused.reason


def test_a_planned_restart_waits_for_the_window() -> None:
    """At noon the window opens in 14 hours: enough time before the limit in 20."""
    decision = decide([within(20)], AT_NIGHT, NOON)
    assert decision.process is None and "opens in 14 h" in decision.reason
    assert decide([within(20)], AT_NIGHT, NOON.replace(hour=3)).process == "web-1"


def test_a_window_that_comes_too_late_is_not_waited_for() -> None:
    """The limit would be reached before it opens."""
    assert decide([within(10)], AT_NIGHT, NOON).process == "web-1"


def test_a_hard_limit_does_not_wait_for_the_window() -> None:
    """What is over its limit goes at any time of the day."""
    assert decide([over()], AT_NIGHT, NOON).process == "web-1"


def test_a_restart_that_did_not_help_is_not_repeated() -> None:
    """A process that starts as large as it ended needs a higher limit, not another restart."""
    past = [restarted(10, rss_before=120, rss_after=115)]
    decision = decide([over("web-1")], Rules(), NOON, past)
    assert decision.process is None and "did not help" in decision.reason
    assert decide([over("web-2")], Rules(), NOON, past).process == "web-2"
    a_day_ago = [restarted(25 * 60, rss_before=120, rss_after=115)]
    assert decide([over("web-1")], Rules(), NOON, a_day_ago).process == "web-1"
    assert decide([over("web-1")], Rules(), NOON, [restarted(10, rss_before=120, rss_after=60)]).process == "web-1"


def test_the_pause_after_failed_successors_doubles() -> None:
    """One failure: a minute; four in a row: eight minutes; a success in between starts again."""
    failed = {"outcome": "successor-failed"}
    assert decide([over()], Rules(), NOON, [restarted(1.1, **failed)]).process == "web-1"
    four = [restarted(n, **failed) for n in (5, 9, 11, 12)]
    assert "next try in 3 min" in decide([over()], Rules(), NOON, four).reason
    assert decide([over()], Rules(), NOON, [*four, restarted(4)]).process == "web-1"


def test_advice_replaces_nothing() -> None:
    """The mode advise names the process it would replace."""
    decision = decide([over()], Rules(mode="advise"), NOON)
    assert decision.process is None and decision.advised == "web-1" and "should be replaced" in decision.reason


def test_off_is_off() -> None:
    """Not even a process over its limit."""
    assert decide([over()], Rules(mode="off"), NOON).process is None


@pytest.mark.parametrize(
    ("hour", "minute", "wait"), [(23, 0, 0), (1, 59, 0), (2, 0, 20 * 3600), (21, 30, 1800), (22, 0, 0)]
)
def test_a_window_may_pass_midnight(hour: int, minute: int, wait: float) -> None:
    """22:00-02:00 is open at one in the morning."""
    window = parse_window("22:00-02:00")
    assert window is not None and window.seconds_until(NOON.replace(hour=hour, minute=minute)) == wait


def test_options_are_read() -> None:
    """As they are written in the documentation; empty and 0 are off."""
    assert parse_budget("6/h") == Budget(6, H) and parse_budget("2/10min") == Budget(2, 600.0)
    assert parse_window("02:00-05:00") == Window(7200, 18000) and parse_mode("advise") == "advise"
    assert parse_budget("") is None and parse_window("0") is None


@pytest.mark.parametrize(
    ("parse", "text"),
    [(parse_budget, text) for text in ("6", "h/6", "0/h", "6/fortnight")]
    + [(parse_window, text) for text in ("02:00", "25:00-26:00", "02:60-03:00", "now")]
    + [(parse_mode, "maybe")],
)
def test_bad_options_are_refused(parse: Any, text: str) -> None:
    """With what was written and an example."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert repr(text) in caught.value.message and caught.value.hint
