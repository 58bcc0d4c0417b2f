"""Text on a terminal: hostile names are harmless, tables fit, colour comes only where it is wanted."""

import io
import re
import time

import pytest

from cubicweb_leakwatch.commands.spark import sparkline
from cubicweb_leakwatch.commands.table import Cell, Column, render, words
from cubicweb_leakwatch.commands.terminal import Screen, display_width, patience, say, shorten
from cubicweb_leakwatch.plain_text import clean

HOSTILE = "a\x1b[2Jb\u202ec\nd\x9be\u2028f\ud800"


def test_what_could_steer_a_terminal_is_shown_as_an_escape() -> None:
    """No control, direction or separator character of a name reaches the terminal; nothing of it is lost."""
    shown = clean(HOSTILE)
    assert shown == "a\\x1b[2Jb\\u202ec\\nd\\x9be\\u2028f\\ud800"
    assert shown.isprintable()


def test_a_plain_name_is_shown_as_it_is() -> None:
    """Accents and other scripts are no threat."""
    assert clean("módulo.Тип.名前") == "módulo.Тип.名前"


def test_an_endless_name_is_cut() -> None:
    """A type named by a whole book takes one screen at most."""
    assert len(clean("x" * 1_000_000)) < 5000


@pytest.mark.parametrize("width", range(0, 30))
def test_a_shortened_text_fits_its_width(width: int) -> None:
    """However narrow, in columns, with wide characters too."""
    assert display_width(shorten("模块.Very.long.name.of.a.Type", width)) <= width


def test_a_shortened_name_keeps_its_end() -> None:
    """The class says more than the package."""
    assert shorten("package.of.many.modules.httphandler", 20).endswith("httphandler")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_table_fits_the_terminal(width: int) -> None:
    """Long names shrink, columns of lesser rank go first."""
    columns = (words("TYPE", shrinks=True), Column("COUNT"), Column("BYTES", rank=1), Column("OTHER NUMBER", rank=2))
    rows = [["m." + "x" * 200, 12345, 1234567, 99], ["short", 1, None, 2]]
    assert all(display_width(line) <= width for line in render(columns, rows, Screen(width)))


def test_a_column_of_highest_rank_goes_first() -> None:
    """What matters least is left out first."""
    columns = (words("A"), Column("B" * 20, rank=1), Column("C" * 20, rank=2))
    header = render(columns, [["a", 1, 2]], Screen(30))[0]
    assert "B" in header
    assert "C" not in header


@pytest.mark.parametrize(
    ("width", "shown"), [(44, "PROCESS  PID  VERDICT"), (30, "PROCESS  VERDICT"), (18, "PROCESS  VERDICT")]
)
def test_a_whole_column_shrinks_last(width: int, shown: str) -> None:
    """A verdict is worth more than the columns of lesser rank; it is cut where nothing else is left to go."""
    columns = (words("PROCESS"), Column("PID", rank=1), words("VERDICT", shrinks=True, whole=True))
    lines = render(columns, [["web-1", "1234567", "file-descriptors"]], Screen(width))
    assert lines[0].split() == shown.split()
    assert ("file-descriptors" in lines[1]) is (width > 18)


def test_without_a_terminal_nothing_is_cut() -> None:
    """A program that reads the table gets the whole name."""
    name = "m." + "x" * 500
    assert name in render((words("TYPE", shrinks=True),), [[name]], Screen())[1]


def test_unknown_is_not_zero() -> None:
    """What nobody measured is n/a."""
    assert render((Column("BYTES"),), [[None]], Screen())[1].strip() == "n/a"


def test_colour_only_where_the_screen_has_it() -> None:
    """A pipe and NO_COLOR get plain text, and the width of a cell does not count its colour."""
    row = [[Cell("red", ("red",)), "x"]]
    plain = render((words("A"), words("B")), row, Screen())
    coloured = render((words("A"), words("B")), row, Screen(80, colour=True))
    assert "\x1b" not in "".join(plain)
    assert re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(coloured)) == "\n".join(plain)
    assert "\x1b[31m" in coloured[1]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR in the environment means none, whatever the terminal can do (no-color.org)."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Screen.of(Terminal()).colour
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Screen.of(Terminal()).colour


def test_a_dumb_terminal_gets_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM=dumb shows escapes as rubbish."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert not Screen.of(Terminal()).colour


def test_an_ascii_terminal_does_not_break_a_command() -> None:
    """Our own signs become simpler ones of the same width, a name's become question marks."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    say("A → B… " + sparkline([1, 2, 3]) + " 名", stream)
    stream.flush()
    assert stream.buffer.getvalue() == b"A > B~ _=@ ?\n"  # type: ignore[attr-defined]


def test_a_mark_over_a_letter_takes_no_column() -> None:
    """Thai vowels and accents stand over what is before them, whatever their combining class."""
    assert display_width("e\u0301") == display_width("\u0e01\u0e31") == 1


class Stream(io.StringIO):
    """A stream that is a terminal, or is not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        """Say which."""
        return self.terminal


def test_long_work_is_told_on_a_terminal_alone() -> None:
    """For how long it goes on; the line is gone when it is over, and nothing stands in a file."""
    shown = {}
    for terminal in (True, False):
        stream = Stream(terminal)
        with patience("leak-gc", stream, after_s=0.01):
            deadline = time.monotonic() + 10
            while terminal and "at work" not in stream.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
        shown[terminal] = stream.getvalue()
    assert "leak-gc: at work, 0 s" in shown[True]
    assert shown[True].endswith("\r\x1b[K")
    assert shown[False] == ""


def test_short_work_is_not_told() -> None:
    """Nothing flickers."""
    stream = Stream(True)
    with patience("leak-status", stream, after_s=60):
        pass
    assert stream.getvalue() == ""
