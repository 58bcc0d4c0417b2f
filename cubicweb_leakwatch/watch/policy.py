"""Which worker to replace now and why, or why none: a pure function of what is known about each.

A restart is a bridge until the fix, and must never turn into a storm: one at a time, within a budget, with a pause that
doubles after each successor that failed, and not at all where the last one did not help. What is planned (the limit is
predicted within the horizon) waits for the window when there is time until then, and until most of the process's life
is spent; what is over its limit does not.
Nothing but the standard library is imported.
"""

import dataclasses
import datetime
import re
from collections.abc import Sequence
from typing import Literal, cast, get_args

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.watch.units import format_bytes, format_duration, parse_duration

Mode = Literal["auto", "advise", "off"]
_OFF = frozenset({"", "0"})
_FIRST_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 3600.0
# A planned restart before half of the way from start to limit would more than double the number of restarts; where no
# window is waited for, there is no reason to come that early at all.
_LIFE_SPENT_IN_WINDOW = 0.5
_LIFE_SPENT = 0.9
# A successor that uses this share of its predecessor's memory as soon as it serves cannot be helped by another restart.
_NO_HELP_SHARE = 0.9
# After so long it is tried again: what ran in between may have been changed.
_NO_HELP_S = 86400.0


@dataclasses.dataclass(frozen=True)
class Budget:
    """At most ``count`` replacements in any ``per_s`` seconds."""

    count: int
    per_s: float


@dataclasses.dataclass(frozen=True)
class Window:
    """The time of day, in seconds after local midnight, that planned replacements prefer; it may pass midnight."""

    start_s: int
    end_s: int

    def seconds_until(self, now: datetime.datetime) -> float:
        """Return how long from ``now`` (local time) until the window is open: 0 inside it."""
        day_s = now.hour * 3600 + now.minute * 60 + now.second
        length = (self.end_s - self.start_s) % 86400 or 86400
        since_start = (day_s - self.start_s) % 86400
        return 0.0 if since_start < length else float(86400 - since_start)


@dataclasses.dataclass(frozen=True)
class Rules:
    """The operator's options; None means off."""

    mode: Mode = "auto"
    budget: Budget | None = None
    window: Window | None = None
    horizon_s: float | None = None
    at_once: int = 1


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What is known of one process: bytes and seconds, None for unknown.

    ``seconds_to_limit`` is the finding's prediction; ``state`` is the probe's (starting, serving, draining, stopping);
    ``age_s`` is how long the process has lived: one of unknown age is not replaced for a prediction.
    """

    process: str
    state: str = "serving"
    rss: int | None = None
    limit: int | None = None
    seconds_to_limit: float | None = None
    age_s: float | None = None

    @property
    def over_limit(self) -> bool:
        """Whether the process is at or past its limit now."""
        return self.limit is not None and self.rss is not None and self.rss >= self.limit


@dataclasses.dataclass(frozen=True)
class PastRestart:
    """A finished replacement: when (unix seconds), how it ended, and the memory before and after in bytes.

    ``automatic``: nobody asked for it by hand; only those count against the budget.
    """

    process: str
    t: float
    outcome: str = "replaced"
    rss_before: int | None = None
    rss_after: int | None = None
    automatic: bool = True

    @property
    def helped(self) -> bool:
        """Whether the successor started clearly smaller; an unknown size counts as helped."""
        if self.rss_before is None or self.rss_after is None:
            return True
        return self.rss_after < self.rss_before * _NO_HELP_SHARE


@dataclasses.dataclass(frozen=True)
class Decision:
    """The process to replace now (None: none), the reason in a sentence, and why not for each other one that asks.

    ``advised`` is the process that would be replaced when the mode is ``advise``; ``urgent`` means over its limit.
    """

    process: str | None
    reason: str
    urgent: bool = False
    advised: str | None = None
    waiting: tuple[tuple[str, str], ...] = ()


def parse_mode(text: str) -> Mode:
    """Return ``auto``, ``advise`` or ``off``; raises ConfigurationError for anything else."""
    if text not in get_args(Mode):
        raise ConfigurationError(f"{text!r} is no restart mode", "use auto, advise or off")
    return cast(Mode, text)


def parse_budget(text: str) -> Budget | None:
    """Return the budget of ``6/h``, ``20/d`` or ``1/10min``; None for an empty text or ``0`` (no budget)."""
    if text.strip() in _OFF:
        return None
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d*\s*(?:s|min|h|d|w))\s*", text)
    if match is None or int(match[1]) == 0:
        raise ConfigurationError(f"{text!r} is no restart budget", "write for example 6/h or 20/d")
    period = match[2] if match[2][0].isdigit() else f"1{match[2]}"
    return Budget(int(match[1]), parse_duration(period))


def parse_window(text: str) -> Window | None:
    """Return the window of ``02:00-05:00`` (local time, may pass midnight); None for an empty text or ``0``."""
    if text.strip() in _OFF:
        return None
    match = re.fullmatch(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*", text)
    numbers = [int(number) for number in match.groups()] if match else []
    if not numbers or max(numbers[0::2]) > 24 or max(numbers[1::2]) > 59:
        raise ConfigurationError(f"{text!r} is no restart window", "write for example 02:00-05:00")
    return Window((numbers[0] * 60 + numbers[1]) * 60 % 86400, (numbers[2] * 60 + numbers[3]) * 60 % 86400)


def decide(
    candidates: Sequence[Candidate], rules: Rules, now: datetime.datetime, past: Sequence[PastRestart] = ()
) -> Decision:
    """Return which process to replace now, the most urgent first, or why none is.

    ``now`` is aware (the window is read in its zone); ``past`` are the replacements of the instance, in any order.
    """
    if rules.mode == "off":
        return Decision(None, "restarts are off (leakwatch-restart)")
    wanted = sorted(filter(None, (_wish(candidate, rules) for candidate in candidates)), key=lambda wish: wish.order)
    if not wanted:
        return Decision(None, "no process is over its limit or predicted to reach it within the horizon")
    refused = _instance_refusal(candidates, rules, now, past)
    waiting: list[tuple[str, str]] = []
    chosen: _Wish | None = None
    for wish in wanted:
        why_not = refused or _refusal(wish, rules, now, past)
        if chosen is None and not why_not:
            chosen = wish
        else:
            waiting.append((wish.process, why_not or f"waits until {chosen.process if chosen else ''} is replaced"))
    return _decision(chosen, rules.mode, tuple(waiting))


@dataclasses.dataclass(frozen=True)
class _Wish:
    process: str
    reason: str
    seconds: float  # until the limit; 0 when it is reached
    excess: int  # bytes past the limit

    @property
    def urgent(self) -> bool:
        return self.seconds == 0

    @property
    def order(self) -> tuple[float, int, str]:
        return (self.seconds, -self.excess, self.process)


def _wish(candidate: Candidate, rules: Rules) -> _Wish | None:
    """Return why a serving process should be replaced, or None when it need not be."""
    if candidate.state != "serving":
        return None
    name, rss, limit, left = candidate.process, candidate.rss, candidate.limit, candidate.seconds_to_limit
    needed = _LIFE_SPENT if rules.window is None else _LIFE_SPENT_IN_WINDOW
    if rss is not None and limit is not None and candidate.over_limit:
        return _Wish(name, f"{format_bytes(rss)} is over its limit of {format_bytes(limit)}", 0.0, rss - limit)
    if left is not None and rules.horizon_s and left <= rules.horizon_s and _life_spent(candidate) >= needed:
        when = f"predicted in {format_duration(left)}" if left >= 60 else "reached within a minute"
        reason = f"the limit of {format_bytes(limit)} is {when}"
        return _Wish(name, reason, max(left, 1.0), 0)
    return None


def _life_spent(candidate: Candidate) -> float:
    """Return the share of its way from start to limit that a process has behind it; 0 where that is unknown."""
    age, left = candidate.age_s, candidate.seconds_to_limit
    return age / (age + left) if age and left is not None else 0.0


def _instance_refusal(
    candidates: Sequence[Candidate], rules: Rules, now: datetime.datetime, past: Sequence[PastRestart]
) -> str:
    """Return why nothing at all may be replaced now, or an empty text."""
    moving = [candidate.process for candidate in candidates if candidate.state != "serving"]
    if len(moving) >= rules.at_once:
        return f"{moving[0]} is being replaced: one at a time"
    budget = rules.budget
    if budget is not None:
        spent = sum(restart.automatic and 0 <= now.timestamp() - restart.t < budget.per_s for restart in past)
        if spent >= budget.count:
            return f"the budget of {budget.count} restarts in {format_duration(budget.per_s)} is spent"
    pause = _pause_left(past, now.timestamp())
    return f"the last successor failed: next try in {format_duration(pause)}" if pause > 0 else ""


def _pause_left(past: Sequence[PastRestart], now: float) -> float:
    """Return how many seconds to wait after successors that failed: 1 min after the first, doubled after each more."""
    failures = 0
    newest_first = sorted(past, key=lambda restart: -restart.t)
    for restart in newest_first:
        if restart.outcome != "successor-failed":
            break
        failures += 1
    if not failures:
        return 0.0
    pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))
    return newest_first[0].t + pause - now


def _refusal(wish: _Wish, rules: Rules, now: datetime.datetime, past: Sequence[PastRestart]) -> str:
    """Return why this process may not be replaced now although it should be, or an empty text."""
    last = max(
        (r for r in past if r.process == wish.process and r.outcome == "replaced"), key=lambda r: r.t, default=None
    )
    if last is not None and not last.helped and now.timestamp() - last.t < _NO_HELP_S:
        return (
            f"its last restart did not help ({format_bytes(last.rss_before)} before,"
            f" {format_bytes(last.rss_after)} after): raise the limit or give it more memory"
        )
    wait = 0.0 if rules.window is None or wish.urgent else rules.window.seconds_until(now)
    if 0 < wait < wish.seconds:
        return f"planned for the restart window, which opens in {format_duration(wait)}"
    return ""


def _decision(chosen: _Wish | None, mode: Mode, waiting: tuple[tuple[str, str], ...]) -> Decision:
    """Return the decision in the operator's mode: ``advise`` names the process but replaces nothing."""
    if chosen is None:
        return Decision(None, waiting[0][1], waiting=waiting)
    if mode == "advise":
        reason = f"{chosen.process} should be replaced: {chosen.reason} (leakwatch-restart is advise)"
        return Decision(None, reason, chosen.urgent, chosen.process, waiting)
    return Decision(chosen.process, chosen.reason, chosen.urgent, chosen.process, waiting)
