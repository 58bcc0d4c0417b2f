"""Where a command writes may be full, closed, or read by somebody who has gone: a line says so, never a traceback."""

import os
import sys
from collections.abc import Callable

from cubicweb_leakwatch.commands.terminal import say
from cubicweb_leakwatch.errors import EXIT_DONE, EXIT_FAILED


def guarded(name: str, act: Callable[[], int]) -> int:
    """Return what ``act`` returns once all that it wrote is written; else tell why it is not."""
    _open_missing()
    try:
        try:
            return act()
        finally:  # also when --help or a signal ends it
            sys.stdout.flush()
    except BrokenPipeError:
        _discard()  # the reader has what it wanted
        return EXIT_DONE
    except OSError as error:
        _discard()
        say(f"{name}: cannot write the answer: {error.strerror or error}", sys.stderr)
        return EXIT_FAILED


def _open_missing() -> None:
    """Open what was closed before we started, or the next file that is opened would be taken for it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _discard() -> None:
    """Let nothing be written any more: Python flushes at exit, and would complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
