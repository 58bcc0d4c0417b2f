"""Whether this minute is a quiet one: planned restarts take place while few are looking."""

import time
from collections import deque
from collections.abc import Callable

MINUTE_S = 60
HOUR_MINUTES = 60
SHARE = 0.5
"""A minute with at most this share of the usual number of requests is quiet."""


class QuietMinutes:
    """Call :meth:`look` each second with the number of requests answered so far; ``tell(quiet)`` hears of changes."""

    def __init__(
        self,
        served: Callable[[], int],
        tell: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._served, self._tell, self._clock = served, tell, clock
        self._minutes: deque[int] = deque(maxlen=HOUR_MINUTES)
        self._began, self._at = clock(), served()
        self._told: bool | None = None

    def look(self) -> None:
        """Close the minute when it is over, and say whether it was a quiet one."""
        now = self._clock()
        if now - self._began < MINUTE_S:
            return
        count = self._served() - self._at
        usual = sum(self._minutes) / len(self._minutes) if self._minutes else float(count)
        quiet = count == 0 or count <= usual * SHARE
        self._minutes.append(count)
        self._began, self._at = now, count + self._at
        if quiet != self._told:
            self._told = quiet
            self._tell(quiet)
