"""What a terminal can show: its width and its colours."""

import codecs
import contextlib
import os
import shutil
import sys
import textwrap
import threading
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

CLEAR_LINE = "\x1b[K"
_SIMPLER = str.maketrans("→·×…▁▂▃▄▅▆▇█\xa0\u202f", ">|x~_.-=+*#@  ")
"""What stands for our own signs where the encoding has none of them: one column for one column."""

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def display_width(text: str) -> int:
    """Return the columns that ``text`` takes: East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` columns; the middle goes, for the ends say most of a dotted name."""
    if display_width(text) <= width:
        return text
    if width < 4:
        return _head(text, max(0, width))
    tail_width = (width - 1) * 2 // 3
    return _head(text, width - 1 - tail_width) + "…" + _head(text[::-1], tail_width)[::-1]


def _head(text: str, width: int) -> str:
    used = 0
    for index, character in enumerate(text):
        used += _character_width(character)
        if used > width:
            return text[:index]
    return text


@dataclass(frozen=True)
class Screen:
    """Where a command shows its tables; ``width`` is ``None`` where nothing limits the line (a pipe, a file)."""

    width: int | None = None
    colour: bool = False

    @classmethod
    def of(cls, stream: TextIO) -> "Screen":
        """Return what ``stream`` can show; NO_COLOR and a dumb terminal mean no colour."""
        if not stream.isatty():
            return cls()
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return cls(shutil.get_terminal_size((100, 24)).columns, not plain)

    def style(self, text: str, *styles: str) -> str:
        """Return ``text`` in the given styles where colour is shown, unchanged elsewhere."""
        codes = ";".join(_STYLES[style] for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m" if self.colour and codes and text else text


def say(text: str, stream: TextIO | None = None) -> None:
    """Write a line that any encoding of the stream can bear; talk that cannot be written is no failure."""
    stream = sys.stdout if stream is None else stream
    with contextlib.suppress(OSError) if stream is sys.stderr else contextlib.nullcontext():
        print(bearable(text, getattr(stream, "encoding", None) or "utf-8"), file=stream)


def bearable(text: str, encoding: str) -> str:
    """Return ``text`` with simpler signs for those that the encoding lacks, and ``?`` where there is none."""
    return text.encode(encoding, "leakwatch-simpler").decode(encoding)


def _simpler(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return lacking.translate(_SIMPLER).encode("ascii", "replace").decode(), error.end


codecs.register_error("leakwatch-simpler", _simpler)


def wrapped(label: str, text: str, screen: Screen) -> list[str]:
    """Return the text behind its label, in as many lines of the terminal as it takes."""
    width = max(40, screen.width) if screen.width else 1_000_000
    return textwrap.wrap(
        text, width, initial_indent=label, subsequent_indent=" " * len(label), break_on_hyphens=False
    ) or [label.rstrip()]


@contextlib.contextmanager
def patience(name: str, stream: TextIO | None = None, after_s: float = 1.0) -> Iterator[None]:
    """Tell on a terminal, after a moment, that the work goes on and for how long; the line goes when it is over."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield
        return
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(name, stream, over, after_s), daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _tell(name: str, stream: TextIO, over: threading.Event, after_s: float) -> None:
    begun, told = time.monotonic(), False
    while not over.wait(after_s if not told else 1.0):
        told = True
        stream.write(f"\r{name}: at work, {time.monotonic() - begun:.0f} s{CLEAR_LINE}")
        stream.flush()
    if told:
        stream.write(f"\r{CLEAR_LINE}")
        stream.flush()
