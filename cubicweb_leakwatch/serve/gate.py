"""Whether a replacement that nobody asked for by hand may begin now: mode, budget, window, quiet minutes.

What is *planned* (requests served, age, a predicted limit) waits for the window and for a quiet minute; a limit that is
reached does not. The budget holds for both: no leak may turn into a storm of restarts.
"""

from __future__ import annotations

import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cubicweb_leakwatch.serve.records import Restart, Worker
    from cubicweb_leakwatch.serve.spec import Policy

ADVISE, OFF = "advise", "off"
DAY_S = 86400
# A site that is never quiet must not keep a planned restart waiting for ever.
QUIET_PATIENCE_S = 900.0
# A worker asks again every 30 s for as long as it has reason to, the looping task every few minutes.
WORKER_ASKS_AGAIN_S, TASK_ASKS_AGAIN_S = 95.0, 1200.0


class Gate:
    """Says why a wish must wait; counts the automatic replacements that began against the budget."""

    def __init__(self, policy: Policy, wall: Callable[[], float]) -> None:
        self.policy, self._wall = policy, wall
        # Monotonic times; an instance with a budget of more than this an hour has none.
        self.begun: deque[float] = deque(maxlen=1000)
        self._spent_until = 0.0

    def takes_wishes(self) -> bool:
        """Whether anything is replaced, or advised, without a person asking."""
        return self.policy.mode != OFF

    def only_advises(self, wish: Restart) -> bool:
        """Whether this wish may only be told."""
        return wish.automatic and self.policy.mode == ADVISE

    def refusal(self, wish: Restart, old: Worker, now: float) -> str:
        """Return why a wish must wait, an empty text when it may begin; the text does not change while it waits."""
        if not wish.automatic:
            return ""
        return self._budget_spent(now) or self._budget_spent_elsewhere(now) or self._too_early(wish, old, now)

    def has_begun(self, wish: Restart, now: float) -> None:
        """Count an automatic replacement against the budget."""
        if wish.automatic:
            self.begun.append(now)

    def spent_elsewhere(self, now: float, for_s: float) -> None:
        """Begin nothing automatic for so long: all hosts together have spent the budget."""
        # Compared, not computed with: JSON has NaN, infinity, and numbers that no float can hold.
        self._spent_until = now + (min(for_s, self.policy.budget_s) if for_s >= 0.0 else 0.0)

    def came_to_nothing(self, wish: Restart) -> None:
        """Give back what a failed successor took of the budget: its own back-off slows it down."""
        if wish.automatic and self.begun:
            self.begun.pop()

    def _budget_spent(self, now: float) -> str:
        policy = self.policy
        recent = [begun for begun in self.begun if now - begun < policy.budget_s]
        if not policy.budget_count or len(recent) < policy.budget_count:
            return ""
        free_at = self._clock(recent[-policy.budget_count] + policy.budget_s - now)
        return (
            f"the budget of {policy.budget_count} automatic restarts in {policy.budget_s / 60:g} min is spent: "
            f"the next may begin at {free_at}"
        )

    def _budget_spent_elsewhere(self, now: float) -> str:
        if now >= self._spent_until:
            return ""
        return (
            "the budget of automatic restarts is spent by all hosts together: the next may begin at "
            f"{self._clock(self._spent_until - now)}"
        )

    def _too_early(self, wish: Restart, old: Worker, now: float) -> str:
        if not wish.planned:
            return ""
        if not self._in_window():
            wish.open_since = None
            return f"planned for the restart window {_shown(self.policy.window_start_s)} to " + _shown(
                self.policy.window_end_s
            )
        if wish.open_since is None:
            wish.open_since = now
        may_wait = self.policy.window_start_s >= 0 or wish.predicted
        if may_wait and old.quiet is False and now - wish.open_since < QUIET_PATIENCE_S:
            return f"planned for a quiet minute, or {QUIET_PATIENCE_S / 60:g} min from now at the latest"
        return ""

    def _in_window(self) -> bool:
        policy = self.policy
        if policy.window_start_s < 0:
            return True
        local = time.localtime(self._wall())
        second = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec
        length = (policy.window_end_s - policy.window_start_s) % DAY_S or DAY_S
        return (second - policy.window_start_s) % DAY_S < length

    def _clock(self, seconds_from_now: float) -> str:
        # To the minute: the text is logged whenever it changes.
        return time.strftime("%H:%M %Z", time.localtime(self._wall() + seconds_from_now + 30))


def _shown(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d}"
