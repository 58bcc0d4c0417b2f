"""Numbers, sizes and times as a page shows them in its reader's language; unknown is ``n/a``, never 0."""

from collections.abc import Callable
from datetime import UTC, datetime

from cubicweb_leakwatch.views.markup import Cell, Html, element
from cubicweb_leakwatch.watch.units import KIB, MIB

Translate = Callable[[str], str]

_SEPARATORS = {"fr": ("\u202f", ","), "en": (",", ".")}
"""Between thousands, before decimals; French has a narrow no-break space (Lexique des règles typographiques)."""

_DATES = {"fr": "%d/%m/%Y", "en": "%Y-%m-%d"}
"""A day as the reader writes it; English as ISO 8601, which no two Englishes dispute."""


class Figures:
    """The figures of one page: ``translate`` is the request's ``_``, ``lang`` its language."""

    def __init__(self, translate: Translate, lang: str = "en") -> None:
        self._ = translate
        self._thousands, self._point = _SEPARATORS.get(lang, _SEPARATORS["en"])
        self._date = _DATES.get(lang, _DATES["en"])

    @property
    def unknown(self) -> str:
        """What stands for a number that nobody knows."""
        return self._("n/a")

    def number(self, value: float | None, digits: int = 0, sign: bool = False) -> str:
        """Return a number with ``digits`` decimals, with a sign where asked."""
        if value is None:
            return self.unknown
        shown = f"{value:{'+' if sign and value else ''},.{digits}f}"
        return shown.replace(",", "\0").replace(".", self._point).replace("\0", self._thousands)

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
        moment = parse_time(when)
        return self.unknown if moment is None else moment.astimezone().strftime(f"{self._date} %H:%M %Z")

    def second(self, when: float) -> str:
        """Return a moment in the server's zone as plain text, to the second."""
        moment = parse_time(when)
        return self.unknown if moment is None else moment.astimezone().strftime(f"{self._date} %H:%M:%S")

    def offset(self) -> int:
        """Return how many seconds the server's zone is ahead of UTC now."""
        ahead = datetime.now().astimezone().utcoffset()
        return int(ahead.total_seconds()) if ahead else 0

    def zone(self) -> str:
        """Return the name of the server's zone."""
        return datetime.now().astimezone().strftime("%Z")

    def time(self, when: str | float | None) -> Html | str:
        """Return a moment (ISO 8601 text or Unix seconds) in the server's zone, the UTC one in its markup."""
        moment = parse_time(when)
        if moment is None:
            return self.unknown
        local = moment.astimezone()
        utc = moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return element("time", local.strftime(f"{self._date} %H:%M:%S %Z"), datetime=utc)


def parse_time(when: str | float | None) -> datetime | None:
    """Return a moment with its zone; ``None`` for nothing or for what is no time."""
    try:
        if isinstance(when, str):
            moment = datetime.fromisoformat(when.replace("Z", "+00:00"))
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return None if when is None else datetime.fromtimestamp(when, UTC)
    except (ValueError, OverflowError, OSError):
        return None
