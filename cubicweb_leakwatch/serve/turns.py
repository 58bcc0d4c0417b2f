"""Taking turns with the launchers of other hosts: somebody outside, who can speak to all of them, says who may begin.

Without such an arranger, or once it falls silent, every wish may begin: a database that is away must not keep a worker
past its limit alive.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cubicweb_leakwatch.serve.records import Restart

LONGEST_HOLD_S = 60.0
# A worker past a hard limit goes on growing while it waits for another host's replacement.
PATIENCE_S = 120.0


class Turns:
    """Says whether it is a wish's turn. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.arranged_until = 0.0
        self.granted: str | None = None
        self._waiting_since: dict[str, float] = {}

    def arrange(self, now: float, for_s: float, granted: str | None) -> None:
        """Let nothing but the wish ``granted`` begin for so many seconds, unless told again."""
        # Compared, not computed with: JSON has NaN, infinity, and numbers that no float can hold.
        self.arranged_until = now + (
            for_s if 0.0 <= for_s <= LONGEST_HOLD_S else LONGEST_HOLD_S if for_s > 0.0 else 0.0
        )
        self.granted = granted

    def has_come(self, wish: Restart, now: float) -> bool:
        """Whether the wish may begin now."""
        if now >= self.arranged_until or wish.id == self.granted:
            return True
        waited_s = now - self._waiting_since.setdefault(wish.id, now)
        return wish.automatic and not wish.planned and waited_s >= PATIENCE_S

    def waiting(self, queue: Iterable[Restart]) -> list[dict[str, Any]]:
        """Return those of the queue that wait for their turn alone, the oldest first."""
        queued = list(queue)
        # What is held back by something else is not waiting for its turn: its patience begins anew.
        ids = {wish.id for wish in queued if wish.held is None}
        self._waiting_since = {each: since for each, since in self._waiting_since.items() if each in ids}
        return [{"id": w.id, "automatic": w.automatic} for w in queued if w.id in self._waiting_since]
