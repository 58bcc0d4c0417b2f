"""Sizes and durations as people write and read them."""

import pytest

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.watch.units import format_bytes, format_duration, format_rate, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("250MiB", 250 * 1024**2),
        ("250 mib", 250 * 1024**2),
        ("90MB", 90_000_000),
        ("90M", 90 * 1024**2),
        ("1.5GiB", 3 * 1024**3 // 2),
        ("2T", 2 * 1024**4),
    ],
)
def test_a_size_is_read_in_any_usual_unit(text: str, size: int) -> None:
    """A bare letter and an i are powers of 1024, a B alone powers of 1000."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1MiB", "1 MiB more", "5 XB", "1e9", "MiB"])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    """The message repeats what was written, so the option is found at once."""
    with pytest.raises(ConfigurationError, match="is not a size") as caught:
        parse_size(text)
    assert repr(text) in caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("30s", 30),
        ("5min", 300),
        ("1h30min", 5400),
        ("1 h 30 min", 5400),
        ("7d", 604800),
        ("500ms", 0.5),
        ("2y", 2 * 365 * 86400),
        ("1w", 604800),
        ("0", 0),
        ("1.5h", 5400),
        ("5m", 300),
    ],
)
def test_a_duration_is_read_in_any_usual_unit(text: str, seconds: float) -> None:
    """Units can be put together; a bare number is seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "-3s", "3 s ago", "h"])
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    """The message repeats what was written."""
    with pytest.raises(ConfigurationError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "n/a"),
        (float("nan"), "n/a"),
        (0, "0 B"),
        (1023, "1023 B"),
        (48 * 1024, "48.0 KiB"),
        (-1024, "-1.0 KiB"),
        (3 * 1024**2 // 2, "1.5 MiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**4, "5.0 TiB"),
    ],
)
def test_bytes_are_shown_in_powers_of_1024(size: float | None, text: str) -> None:
    """What is unknown is n/a, never 0; nothing is shown as 1024 of a unit."""
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "n/a"),
        (0, "0 s"),
        (0.25, "250 ms"),
        (45, "45 s"),
        (60, "1 min"),
        (7500, "2 h 5 min"),
        (3 * 86400, "3 d"),
        (90061, "1 d 1 h"),
        (-45, "-45 s"),
        (400 * 86400, "1 y 35 d"),
        (float("inf"), "n/a"),
    ],
)
def test_a_duration_is_shown_in_at_most_two_units(seconds: float | None, text: str) -> None:
    """Precision that nobody needs is left away."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(None, "n/a"), (3.2 * 1024**2, "+3.2 MiB/h"), (1024, "+24.0 KiB/day"), (-1024, "-24.0 KiB/day")]
)
def test_a_slow_rate_is_shown_a_day(rate: float | None, text: str) -> None:
    """A few bytes an hour mean nothing to a person, kibibytes a day do."""
    assert format_rate(rate) == text
