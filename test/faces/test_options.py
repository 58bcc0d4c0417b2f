"""Words on the command line: what they mean, and the sentence for those that mean nothing."""

from typing import Any

import pytest

from cubicweb_leakwatch.commands.options import (
    INSTANCE,
    JSON,
    LIMIT,
    PROCESS,
    Option,
    build_parser,
    count,
    duration,
    lasting,
    number,
    parse,
    size,
)
from cubicweb_leakwatch.errors import ConfigurationError

WATCH = Option("--watch", "again and again", float, "SECONDS", bare=2.0)
FLAG = Option("--scheduler", "run it", default=True, negatable=True)
OPTIONS = (
    LIMIT,
    WATCH,
    FLAG,
    JSON,
    Option("--memory-limit", "bound", size, "SIZE"),
    Option("--max-age", "age", duration, "DURATION"),
    Option("--max-requests", "number", number, "N"),
    Option("--seconds", "how long", lasting, "N"),
    PROCESS,
)


def read(*words: str) -> Any:
    """Parse words as a command with one instance would."""
    return parse(build_parser("cmd", "Does.", (INSTANCE,), OPTIONS, ()), (INSTANCE,), OPTIONS, words)


def test_help_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Purpose and meanings are wrapped; what is to be typed stays in one line."""
    monkeypatch.setenv("COLUMNS", "60")
    typed = "cubicweb-ctl leak-all mysite --with --very --many --options --and --values of all kinds"
    told = build_parser("cmd", "All that can be said. " * 9, (INSTANCE,), OPTIONS, ((typed, "and it means much " * 9),))
    lines = told.format_help().splitlines()
    assert f"  {typed}" in lines
    assert max(len(line) for line in lines if typed not in line) <= 60
    assert "      and it means much" in told.format_help()


def test_units_are_read() -> None:
    """Sizes and durations carry theirs."""
    asked = read("site", "--memory-limit", "250MiB", "--max-age", "5min")
    assert (asked.memory_limit, asked.max_age) == (250 * 1024**2, 300.0)


def test_options_may_stand_before_or_after_the_instance() -> None:
    """Both orders mean the same."""
    assert read("--json", "site").instance == read("site", "--json").instance == "site"


def test_a_bare_option_does_not_swallow_the_instance() -> None:
    """In ``--watch site`` the instance is site; in ``--watch 5 site`` the seconds are five."""
    assert (read("--watch", "site").watch, read("--watch", "site").instance) == (2.0, "site")
    assert (read("--watch", "5", "site").watch, read("site", "--watch").watch) == (5.0, 2.0)


def test_a_negatable_flag_has_a_no() -> None:
    """The scheduler runs unless it is told not to."""
    assert (read("site").scheduler, read("site", "--no-scheduler").scheduler) == (True, False)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("site", "--limit", "0"), "'0' is not a whole number of at least 1"),
        (("site", "--limit", "²"), "is not a whole number"),
        (("site", "--memory-limit", "much"), "'much' is not a size"),
        (("site", "--max-age", "old"), "'old' is not a duration"),
        (("site", "--max-age", "9" * 400), "is longer than 1000 years"),
        (("site", "--memory-limit", "9" * 400), "is more than any memory"),
        (("site", "--seconds", "0s"), "'0s' is no time at all"),
        (("site", "--process", " "), "it names nothing"),
        (("site", "--max-requests", "-1"), "at least 0"),
        (("site", "--lim", "3"), "unrecognized arguments"),
        (("site", "another"), "unrecognized arguments"),
        ((), "<instance> is missing"),
    ],
)
def test_a_wrong_word_is_told_in_a_sentence(words: tuple[str, ...], told: str) -> None:
    """With the code ``usage`` and where to read more; nothing is guessed from an abbreviation."""
    with pytest.raises(ConfigurationError) as caught:
        read(*words)
    assert told in caught.value.message
    assert (caught.value.code, caught.value.exit_code) == ("usage", 4)
    assert "--help" in caught.value.hint


def test_counts_are_counts() -> None:
    """A count is at least one, a number may be nothing."""
    assert (count("1"), number("0")) == (1, 0)
