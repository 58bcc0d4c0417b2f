"""Which time a page shows: the last hour, day, week, month, or from one moment to another."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from cubicweb import _

from cubicweb_leakwatch.views.figures import parse_time

SPANS = {"1h": 3600.0, "24h": 86400.0, "7d": 7 * 86400.0, "30d": 30 * 86400.0}
SPAN_NAMES = {"1h": _("1 hour"), "24h": _("24 hours"), "7d": _("7 days"), "30d": _("30 days")}
DEFAULT_SPAN = "24h"


@dataclass(frozen=True)
class Span:
    """From ``start`` to ``end`` (Unix seconds), which is ``to_now``; ``name`` when it is one of the usual ones."""

    start: float
    end: float
    name: str | None = None
    to_now: bool = False

    def as_parameters(self) -> dict[str, str]:
        """Return what asks for this span in an address."""
        return {"span": self.name} if self.name else {"from": f"{self.start:.0f}", "to": f"{self.end:.0f}"}

    def shifted(self, share: float) -> "Span":
        """Return the span so much of its length later (or earlier, when negative)."""
        by = (self.end - self.start) * share
        return Span(self.start + by, self.end + by)

    def zoomed(self, factor: float) -> "Span":
        """Return the span that is so many times as long, around the same middle."""
        middle, half = (self.start + self.end) / 2, (self.end - self.start) / 2 * factor
        return Span(middle - half, middle + half)


def asked_span(parameter: Callable[[str], str | None], now: float | None = None) -> Span:
    """Return the span that ``from`` and ``to`` or ``span`` ask for; what cannot be read counts as not given."""
    now = time.time() if now is None else now
    start, end = _moment(parameter("from")), _moment(parameter("to"))
    if start is not None and start < (end or now):
        return Span(start, min(end or now, now), None, (end or now) >= now)
    asked = parameter("span")
    name = asked if asked in SPANS else DEFAULT_SPAN
    return Span(now - SPANS[name], now, name, True)


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        moment = parse_time(text)
        value = moment.timestamp() if moment else -1.0
    return value if 0 <= value < 1e11 else None
