"""Numbers, sizes and times as a page shows them in its reader's language; unknown is ``n/a``, never 0."""

from collections.abc import Callable
from datetime import UTC, datetime
from time import localtime, strftime

from cubicweb_leakwatch.views.markup import Cell, Html, element, text
from cubicweb_leakwatch.watch.finding import iso_utc
from cubicweb_leakwatch.watch.units import KIB, MIB

Translate = Callable[[str], str]

_SEPARATORS = {"fr": ("\u202f", ","), "en": (",", ".")}
"""Between thousands, before decimals; French has a narrow no-break space (Lexique des règles typographiques)."""

_COLONS = {"fr": "\u00a0: ", "en": ": "}

_DATES = {"fr": ("%d/%m/%Y", "%d/%m"), "en": ("%Y-%m-%d", "%m-%d")}
"""A day as the reader writes it, with its year and without; English as ISO 8601, which no two Englishes dispute."""


SLOW_BYTES_PER_H = MIB / 10
"""Growth below this would be shown as none, a tenth of a MiB being the last digit: it is told for a day."""


class Figures:
    """The figures of one page: ``translate`` is the request's ``_``, ``lang`` its language."""

    def __init__(self, translate: Translate, lang: str = "en") -> None:
        self._, self.lang = translate, lang
        thousands, self._point = _SEPARATORS.get(lang, _SEPARATORS["en"])
        self._marks = str.maketrans({",": thousands, ".": self._point})
        self.colon = _COLONS.get(lang, _COLONS["en"])
        self.day, self.short_day = _DATES.get(lang, _DATES["en"])

    @property
    def unknown(self) -> str:
        """What stands for a number that nobody knows."""
        return self._("n/a")

    def number(self, value: float | None, digits: int = 0, sign: bool = False) -> Html:
        """Return a number with ``digits`` decimals, with a sign where asked; there is nothing to escape in it."""
        if value is None:
            return text(self.unknown)
        shown = f"{value:+,.{digits}f}" if sign and value else f"{value:,.{digits}f}"
        return Html(shown if self._point == "." else shown.translate(self._marks))

    def count(self, value: float | None, sign: bool = False) -> Cell:
        """Return a cell with a whole number."""
        return Cell(self.number(value, sign=sign), value)

    def mib(self, size: float | None, sign: bool = False) -> Cell:
        """Return a cell with a size in MiB."""
        return Cell(self.number(None if size is None else size / MIB, 1, sign), size)

    def kib(self, size: float | None) -> Cell:
        """Return a cell with a size in KiB."""
        return Cell(self.number(None if size is None else size / KIB, 1), size)

    def size(self, size: float | None) -> str:
        """Return a size in MiB with its unit, for a sentence."""
        return self.unknown if size is None else f"{self.number(size / MIB, 1)} {self._('MiB')}"

    def rate(self, bytes_per_h: float | None) -> str:
        """Return a growth with its sign and unit, an hour's or, when it is slow, a day's, for a sentence."""
        if bytes_per_h is None:
            return self.unknown
        if abs(bytes_per_h) >= SLOW_BYTES_PER_H:
            return f"{self.mib(bytes_per_h, sign=True).shown} {self._('MiB/h')}"
        bytes_per_day = 24 * bytes_per_h
        if abs(bytes_per_day) >= SLOW_BYTES_PER_H:
            return f"{self.mib(bytes_per_day, sign=True).shown} {self._('MiB/day')}"
        return f"{self.number(bytes_per_day / KIB, 1, sign=True)} {self._('KiB/day')}"

    def duration(self, seconds: float | None) -> str:
        """Return a duration in at most two units."""
        if seconds is None:
            return self.unknown
        if seconds < 1:
            return f"{self.number(seconds * 1000)} ms"
        steps = ((86400, self._("d")), (3600, self._("h")), (60, self._("min")), (1, self._("s")))
        whole = round(seconds)
        for index, (length, unit) in enumerate(steps):
            if whole >= length:
                first = f"{whole // length} {unit}"
                rest = whole % length // steps[index + 1][0] if length > 1 else 0
                return f"{first} {rest} {steps[index + 1][1]}" if rest else first
        return f"0 {self._('s')}"

    def moment(self, when: str | float | None) -> str:
        """Return a moment in the server's zone as plain text, to the minute, for a sentence."""
        return self._written(when, "%H:%M %Z") or self.unknown

    def second(self, when: float) -> str:
        """Return a moment in the server's zone as plain text, to the second."""
        return self._written(when, "%H:%M:%S") or self.unknown

    def _written(self, when: str | float | None, clock: str) -> str:
        # a page has hundreds of moments, for each of which a datetime would look the zone up again
        seconds = unix_time(when)
        return "" if seconds is None else strftime(f"{self.day} {clock}", localtime(seconds))

    def offset(self) -> int:
        """Return how many seconds the server's zone is ahead of UTC now."""
        ahead = datetime.now().astimezone().utcoffset()
        return int(ahead.total_seconds()) if ahead else 0

    def zone(self) -> str:
        """Return the name of the server's zone."""
        return datetime.now().astimezone().strftime("%Z")

    def time(self, when: str | float | None) -> Html | str:
        """Return a moment (ISO 8601 text or Unix seconds) in the server's zone, the UTC one in its markup."""
        seconds = unix_time(when)
        if seconds is None:
            return self.unknown
        return element("time", self._written(seconds, "%H:%M:%S %Z"), datetime=iso_utc(seconds))


def unix_time(when: str | float | None) -> float | None:
    """Return a moment in Unix seconds; ``None`` for nothing or for what is no time of a calendar."""
    if isinstance(when, str):
        moment = parse_time(when)
        return None if moment is None else moment.timestamp()
    try:
        return when if when is None or localtime(when) else None
    except (ValueError, OverflowError, OSError):
        return None


def parse_time(when: str | float | None) -> datetime | None:
    """Return a moment with its zone; ``None`` for nothing or for what is no time."""
    try:
        if isinstance(when, str):
            moment = datetime.fromisoformat(when.replace("Z", "+00:00"))
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return None if when is None else datetime.fromtimestamp(when, UTC)
    except (ValueError, OverflowError, OSError):
        return None
