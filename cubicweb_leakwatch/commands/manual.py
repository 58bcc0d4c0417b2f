"""The commands as a manual: a page of ``docs/`` and a man page, from their declarations."""

from collections.abc import Callable, Iterator
from typing import Any

from cubicweb_leakwatch.__pkginfo__ import version
from cubicweb_leakwatch.commands import COMMANDS
from cubicweb_leakwatch.commands.checkup import HINTS
from cubicweb_leakwatch.commands.options import Option

PROGRAM = "leakwatch"
EXIT_CODES = (
    ("0", "done"),
    ("1", "failed; for leak-doctor: a problem was found"),
    ("2", "interrupted by Ctrl-C"),
    ("4", "a wrong option, an unknown instance or process"),
    ("0 1 2 3", "leak-status --check alone: ok, warning, critical, unknown"),
)
ITSELF = (
    ("--help, --version", "list the commands; tell the version"),
    ("--completion bash|zsh|fish", "print what makes a shell complete commands, options and instances"),
    ("--manual man|rst", "print this page, or that of the manual"),
    ("--instances", "list the instances on this host, one a line"),
)
ENVIRONMENT = (
    ("CW_INSTANCE", "the instance, where none is named"),
    ("CW_INSTANCES_DIR, CW_INSTANCES_DATA_DIR, CW_MODE, CW_RUNTIME_DIR", "where instances are, as for cubicweb-ctl"),
    ("NO_COLOR", "no colour; nor is there any where TERM is dumb"),
    ("COLUMNS", "the width of the terminal, where it does not tell"),
)
_INTRODUCTION = (
    "Each command is there twice, with the same words: ``cubicweb-ctl leak-NAME INSTANCE``, and ``leakwatch leak-NAME"
    " INSTANCE``, which starts in a fraction of a second because it does not load CubicWeb first. ``--json`` prints one"
    " document on stdout, ``--csv`` a table for a spreadsheet; talk goes to stderr. Sizes are written ``250MiB``,"
    " durations ``30s`` or ``5min``. Colour is shown on a terminal alone, and not where ``NO_COLOR`` is set."
)


def declared() -> list[Any]:
    """Return the class of each command."""
    return [command.load() for command in COMMANDS]


def _usage(command: Any) -> str:
    return " ".join([command.name, *(argument.metavar for argument in command.arguments), "[options]"])


def _spelled(option: Option) -> str:
    """Return an option as it is typed, with the name of its value."""
    value = f" {option.metavar}" if option.kind is not None and option.bare is None else ""
    value = value or (f" [{option.metavar}]" if option.bare is not None else "")
    names = [option.short] if option.short else []
    names += [option.name] + ([f"--no-{option.name[2:]}"] if option.negatable else [])
    return ", ".join(name + value for name in names)


# a page of the manual


def commands_rst() -> str:
    """Return ``docs/commands.rst``."""
    lines = [
        "========",
        "Commands",
        "========",
        "",
        f".. written by ``{PROGRAM} --manual rst``: edit the declarations",
        "",
    ]
    lines += [_INTRODUCTION, "", "==========  " + "=" * 60, "exit code   meaning", "==========  " + "=" * 60]
    lines += [f"{code:<10}  {meaning}" for code, meaning in EXIT_CODES]
    lines += ["==========  " + "=" * 60, ""]
    for command in declared():
        lines += _section(command)
    for title, told in (("The program itself", ITSELF), ("Environment", ENVIRONMENT)):
        lines += [title, "=" * len(title), ""]
        lines += [line for name, meaning in told for line in (f"``{name}``", f"    {_plain(meaning)}")]
        lines.append("")
    lines += ["The hints of leak-doctor", "=" * 24, ""]
    for code, (about, meaning) in HINTS.items():
        lines += [f"**{code}**: {about}", f"    {meaning}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(command: Any) -> Iterator[str]:
    yield from (command.name, "=" * len(command.name), "", command.short_description() + ".", "")
    yield from ("::", "", f"    {PROGRAM} {_usage(command)}", "")
    for argument in command.arguments:
        yield from (f"``{argument.metavar}``", f"    {_plain(argument.help)}")
    for option in command.options_of():
        yield from (f"``{_spelled(option)}``", f"    {_plain(option.help_text)}")
    yield from ("", "::", "")
    for line, meaning in command.examples:
        yield from (f"    # {meaning}", f"    {line}")
    yield ""


def _plain(text: str) -> str:
    """Keep what a help says from being read as markup."""
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("|", "\\|").replace("`", "\\`")


# a man page


def man_page() -> str:
    """Return ``leakwatch(1)``."""
    lines = [
        f'.TH LEAKWATCH 1 "" "cubicweb-leakwatch {version}" "User commands"',
        ".SH NAME",
        f"{PROGRAM} \\- find, explain and contain the memory leaks of a CubicWeb instance",
        ".SH SYNOPSIS",
        f".B {PROGRAM}",
        ".I leak\\-NAME",
        "[\\fIwords and options\\fR]",
        ".SH DESCRIPTION",
        _roff(_INTRODUCTION.replace("``", "")),
        ".SH COMMANDS",
    ]
    for command in declared():
        lines += [
            f".SS {_roff(command.name)}",
            _roff(command.short_description()) + ".",
            ".PP",
            f".B {_roff(_usage(command))}",
        ]
        for argument in command.arguments:
            lines += [".TP", f".I {_roff(argument.metavar)}", _roff(argument.help)]
        for option in command.options_of():
            lines += [".TP", f".B {_roff(_spelled(option))}", _roff(option.help_text)]
        for line, meaning in command.examples:
            lines += [".PP", f"Example: {_roff(meaning)}", ".PP", ".nf", f"    {_roff(line)}", ".fi"]
    lines.append(".SH OPTIONS OF THE PROGRAM ITSELF")
    for name, meaning in ITSELF:
        lines += [".TP", f".B {_roff(name)}", _roff(meaning)]
    lines.append(".SH EXIT STATUS")
    for code, meaning in EXIT_CODES:
        lines += [".TP", f".B {code}", _roff(meaning)]
    lines.append(".SH ENVIRONMENT")
    for name, meaning in ENVIRONMENT:
        lines += [".TP", f".B {_roff(name)}", _roff(meaning)]
    lines.append(".SH HINTS OF LEAK\\-DOCTOR")
    for code, (about, meaning) in HINTS.items():
        lines += [".TP", f".B {code}", f"{_roff(about)}: {_roff(meaning)}"]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """Write text so that roff prints it: a minus stays a minus, a line begins with no command."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


MANUALS: dict[str, Callable[[], str]] = {"rst": commands_rst, "man": man_page}
