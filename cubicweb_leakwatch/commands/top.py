"""A list on a terminal that shows itself again and again, as ``top`` does: a key sorts it, ``q`` ends it.

The terminal is given back as it was, whatever ends the list: a key, Ctrl-C, a signal, an error; while it is stopped by
Ctrl-Z, too.
"""

import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType

from cubicweb_leakwatch.commands.terminal import CLEAR_LINE, say

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""The terminal's second screen without a cursor, and back to what stood there before."""

HOME, CLEAR_REST = "\x1b[H", "\x1b[J"
LOOK_S = 0.25
"""How often the size of the terminal is looked at while nothing happens."""

QUIT = "qQ\x04\x1b"


def follow(lines: Callable[[], Sequence[str]], every_s: float, press: Callable[[str], bool]) -> None:
    """Show ``lines()`` every so many seconds until a key that ends it.

    Other keys go to ``press``, which says whether the list is to be shown anew at once.
    """
    with Terminal() as terminal:
        while True:
            terminal.show(lines())
            due = time.monotonic() + every_s
            if _ended(terminal, due, press):
                return


def _ended(terminal: "Terminal", due: float, press: Callable[[str], bool]) -> bool:
    """Wait for the next time to show the list; say whether a key has ended it."""
    while time.monotonic() < due:
        key = terminal.key(min(LOOK_S, max(0.0, due - time.monotonic())))
        if key and key in QUIT:
            return True
        if (key and (key == " " or press(key))) or terminal.changed():
            return False
    return False


class Terminal:
    """The terminal as long as the list has it: key by key, without echo, on its second screen."""

    def __enter__(self) -> "Terminal":
        self._input = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._input)
        self._size = shutil.get_terminal_size()
        self._stop = signal.signal(signal.SIGTSTP, self._stopped)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()
        signal.signal(signal.SIGTSTP, self._stop)

    def _take(self) -> None:
        tty.setcbreak(self._input)
        sys.stdout.write(ENTER)
        sys.stdout.flush()

    def _give_back(self) -> None:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)

    def _stopped(self, _number: int, _frame: FrameType | None) -> None:
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def key(self, timeout_s: float) -> str:
        """Return the key that was pressed within the time, or nothing; an arrow or a function key is one."""
        if not select.select([self._input], [], [], timeout_s)[0]:
            return ""
        pressed = os.read(self._input, 32).decode(errors="replace")
        return pressed if len(pressed) > 1 and pressed[0] == "\x1b" else pressed[:1] or "\x04"

    def changed(self) -> bool:
        """Say whether the terminal has another size than the last time."""
        size, self._size = self._size, shutil.get_terminal_size()
        return size != self._size

    def show(self, lines: Sequence[str]) -> None:
        """Show as many of the lines as fit, over those of before."""
        fitting = lines[: max(1, shutil.get_terminal_size().lines - 1)]
        sys.stdout.write(HOME)
        for line in fitting:
            say(f"{line}{CLEAR_LINE}")
        sys.stdout.write(CLEAR_REST)
        sys.stdout.flush()
