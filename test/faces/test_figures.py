"""Figures in the reader's language: unknown is not zero, units do not get lost."""

import pytest

from cubicweb_leakwatch.views.figures import Figures, parse_time

ENGLISH = Figures(str, "en")
FRENCH = Figures(str, "fr")
MIB = 1024**2


@pytest.mark.parametrize("show", [ENGLISH.number, ENGLISH.size, ENGLISH.duration, ENGLISH.time])
def test_unknown_is_said(show) -> None:  # type: ignore[no-untyped-def]
    """Never 0."""
    assert show(None) == "n/a"


def test_zero_is_zero() -> None:
    """Never n/a, and without a sign."""
    assert ENGLISH.number(0) == "0"
    assert ENGLISH.number(0, sign=True) == "0"
    assert ENGLISH.duration(0) == "0 ms"


def test_numbers_are_written_as_the_language_does() -> None:
    """Separators of English and of French; another language gets the English ones."""
    assert ENGLISH.number(1234567.25, 2) == "1,234,567.25"
    assert FRENCH.number(1234567.25, 2) == "1\u202f234\u202f567,25"
    assert Figures(str, "eo").number(1234.5, 1) == "1,234.5"


def test_growth_has_a_sign() -> None:
    """Plus for more, minus for less."""
    assert ENGLISH.number(12, sign=True) == "+12"
    assert ENGLISH.number(-12, sign=True) == "-12"


def test_cells_sort_by_what_was_measured() -> None:
    """Not by the text that is shown."""
    cell = ENGLISH.mib(1536 * 1024)
    assert (cell.shown, cell.sorts) == ("1.5", 1536 * 1024)
    assert ENGLISH.mib(None).sorts is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.25, "250 ms"), (59.4, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (90000, "1 d 1 h"), (172800, "2 d")],
)
def test_durations_have_two_units_at_most(seconds: float, shown: str) -> None:
    """As people say them."""
    assert ENGLISH.duration(seconds) == shown


def test_times_carry_utc_in_their_markup() -> None:
    """The reader sees the server's zone, a program reads UTC."""
    assert 'datetime="2026-01-02T03:04:05Z"' in ENGLISH.time("2026-01-02T04:04:05+01:00")
    assert 'datetime="1970-01-01T00:00:01Z"' in ENGLISH.time(1)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", 1e300, float("nan")])
def test_what_is_no_time_is_none(text: object) -> None:
    """Whatever a parameter holds."""
    assert parse_time(text) is None  # type: ignore[arg-type]


def test_slow_growth_is_told_for_a_day() -> None:
    """+0.0 MiB/h would say that nothing grows."""
    figures = Figures(str)
    shown = [figures.rate(value) for value in (30 * MIB, -0.5 * MIB, 0.05 * MIB, 100.0, None)]
    assert shown == ["+30.0 MiB/h", "-0.5 MiB/h", "+1.2 MiB/day", "+2.3 KiB/day", "n/a"]
