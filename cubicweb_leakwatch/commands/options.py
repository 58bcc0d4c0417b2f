"""How a command declares what it takes: once, for parsing, ``--help``, completion and the manual."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.watch.units import parse_duration, parse_size

TO_TYPE = "  "
"""Stands before the command line of an example; what it means stands further to the right."""


@dataclass(frozen=True)
class Argument:
    """What stands on the command line without a name; ``optional`` ones may be left out."""

    name: str
    metavar: str
    help: str
    optional: bool = False


@dataclass(frozen=True)
class Option:
    """One ``--name``: ``kind`` turns its text into a value; without a ``kind`` it is a flag.

    ``default_text`` is how the help names the default where the value itself would not be understood.
    ``bare`` is the value of the option given without one; ``negatable`` flags have a ``--no-name`` too.
    ``offered`` are the values that a shell's completion proposes.
    """

    name: str
    help: str
    kind: Callable[[str], Any] | None = None
    metavar: str = ""
    default: Any = None
    default_text: str = ""
    bare: Any = None
    negatable: bool = False
    short: str = ""
    offered: tuple[str, ...] = ()

    @property
    def dest(self) -> str:
        """Name of the attribute that holds the parsed value."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def help_text(self) -> str:
        """Return the help with the default."""
        default = self.default_text or ("" if self.default in (None, False) else str(self.default))
        default = "yes" if self.default is True else default
        return f"{self.help} (default: {default})" if default else self.help


def size(text: str) -> int:
    """Read a size such as ``250MiB``, for an option."""
    return int(_read(parse_size, text))


def duration(text: str) -> float:
    """Read a duration such as ``30s`` or ``5min``, for an option."""
    return float(_read(parse_duration, text))


def lasting(text: str) -> float:
    """Read a duration of more than nothing, for an option."""
    seconds = duration(text)
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is no time at all; write for example 30s, 5min, 12h or 7d")
    return seconds


def named(text: str) -> str:
    """Read the name of something, for an option."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it names nothing")
    return text


def count(text: str) -> int:
    """Read a whole number of at least 1, for an option."""
    return _at_least(1, text)


def number(text: str) -> int:
    """Read a whole number of at least 0, for an option."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


def _read(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except LeakwatchError as error:
        raise argparse.ArgumentTypeError(f"{error.message}; {error.hint}") from None


INSTANCE = Argument("instance", "<instance>", "name of the instance; CW_INSTANCE in the environment stands in for it")
JSON = Option("--json", "print one JSON document, for programs")
CSV = Option("--csv", "print the table as CSV, for a spreadsheet: sizes in bytes")
PROCESS = Option(
    "--process", "the process to look at, by its slot (web-1, scheduler) or its pid", named, "P", default_text="all"
)
LIMIT = Option("--limit", "rows of each table", count, "N", default=20)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises what an operator should read instead of ending the process."""

    def error(self, message: str) -> Any:
        """Raise ``ConfigurationError`` (code ``usage``)."""
        raise ConfigurationError(message, hint=f"see {self.prog} --help", code="usage")

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse would keep silent about a full disk."""
        print(self.format_help(), end="", file=file)


class _Help(argparse.HelpFormatter):
    """Wraps the purpose and what examples mean as it does the options; a line to be typed stays whole."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = (self._wrapped(line, width) for line in text.splitlines())
        return "\n".join(f"{indent}{line}" for line in lines)

    def _wrapped(self, line: str, width: int) -> str:
        margin = line[: len(line) - len(line.lstrip())]
        if margin == TO_TYPE:
            return line
        return fill(line.lstrip(), width, initial_indent=margin, subsequent_indent=margin, break_long_words=False)


def build_parser(
    prog: str,
    purpose: str,
    arguments: Sequence[Argument],
    options: Sequence[Option],
    examples: Sequence[tuple[str, str]],
) -> Parser:
    """Return the parser of a command; its help ends with the examples."""
    shown = "\n".join(f"{TO_TYPE}{line}\n      {meaning}" for line, meaning in examples)
    parser = Parser(
        prog,
        description=purpose,
        epilog=f"examples:\n{shown}" if shown else None,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    for argument in arguments:
        parser.add_argument(argument.name, metavar=argument.metavar, help=argument.help, nargs="?")
    for option in options:
        _add(parser, option)
    return parser


def _add(parser: Parser, option: Option) -> None:
    names = [name for name in (option.short, option.name) if name]
    help_text = option.help_text.replace("%", "%%")
    if option.kind is not None:
        bare: dict[str, Any] = {} if option.bare is None else {"nargs": "?", "const": option.bare}
        parser.add_argument(
            *names, type=option.kind, metavar=option.metavar, default=option.default, help=help_text, **bare
        )
    elif option.negatable:
        parser.add_argument(*names, action=argparse.BooleanOptionalAction, default=option.default, help=help_text)
    else:
        parser.add_argument(*names, action="store_true", default=False, help=help_text)


def parse(parser: Parser, arguments: Sequence[Argument], options: Sequence[Option], words: Sequence[str]) -> Any:
    """Return the parsed namespace; raises ``ConfigurationError`` (code ``usage``) for anything wrong."""
    asked = parser.parse_intermixed_args(_spelled_out(options, words))
    for argument in arguments:
        if getattr(asked, argument.name) is None and not argument.optional:
            parser.error(f"{argument.metavar} is missing")
    return asked


def _spelled_out(options: Sequence[Option], words: Sequence[str]) -> list[str]:
    """Give a bare option its value when what follows is none: in ``--watch demo``, demo is the instance."""
    by_name = {option.name: option for option in options if option.bare is not None}
    result = list(words)
    for index, word in enumerate(words):
        option = by_name.get(word)
        if option is not None and not _is_value(option, words[index + 1 : index + 2]):
            result[index] = f"{word}={option.bare}"
    return result


def _is_value(option: Option, following: Sequence[str]) -> bool:
    if not following or option.kind is None:
        return False
    try:
        option.kind(following[0])
    except (argparse.ArgumentTypeError, ValueError):
        return False
    return True
