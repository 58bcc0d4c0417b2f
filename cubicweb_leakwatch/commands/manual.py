"""The commands as a manual: a page of ``docs/``, a man page, the completion of shells, all from their declarations."""

from collections.abc import Callable, Iterator
from typing import Any

from cubicweb_leakwatch.__pkginfo__ import version
from cubicweb_leakwatch.commands import COMMANDS
from cubicweb_leakwatch.commands.checkup import HINTS
from cubicweb_leakwatch.commands.options import Option

PROGRAM = "leakwatch"
SLOTS = "web-1 web-2 web-3 web-4 scheduler"
"""What is offered where a process is named; more there are seldom."""

EXIT_CODES = (
    ("0", "done"),
    ("1", "failed; for leak-doctor: a problem was found"),
    ("2", "interrupted by Ctrl-C"),
    ("4", "a wrong option, an unknown instance or process"),
    ("0 1 2 3", "leak-status --check alone: ok, warning, critical, unknown"),
)
_INTRODUCTION = (
    "Each command is there twice, with the same words: ``cubicweb-ctl leak-NAME INSTANCE``, and ``leakwatch leak-NAME"
    " INSTANCE``, which starts in a fraction of a second because it does not load CubicWeb first. ``--json`` prints one"
    " document on stdout, ``--csv`` a table for a spreadsheet; talk goes to stderr. Sizes are written ``250MiB``,"
    " durations ``30s`` or ``5min``. Colour is shown on a terminal alone, and not where ``NO_COLOR`` is set."
)


def _declared() -> list[Any]:
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
    for command in _declared():
        lines += _section(command)
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
    for command in _declared():
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
    lines.append(".SH EXIT STATUS")
    for code, meaning in EXIT_CODES:
        lines += [".TP", f".B {code}", _roff(meaning)]
    lines.append(".SH HINTS OF LEAK\\-DOCTOR")
    for code, (about, meaning) in HINTS.items():
        lines += [".TP", f".B {code}", f"{_roff(about)}: {_roff(meaning)}"]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """Write text so that roff prints it: a minus stays a minus, a line begins with no command."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


# completion


def completion(shell: str) -> str:
    """Return the completion of ``leakwatch`` for ``bash``, ``zsh`` or ``fish``."""
    return COMPLETIONS[shell]()


def _words(option: Option) -> list[str]:
    names = [option.short, option.name] if option.short else [option.name]
    return [*names, f"--no-{option.name[2:]}"] if option.negatable else names


def _offered(option: Option) -> str:
    """Return what may stand behind an option: slots, files (empty), or nothing that is known (``-``)."""
    if option.name == "--process":
        return SLOTS
    return "" if option.metavar == "FILE" else "-"


def _bash() -> str:
    cases, values = [], {}
    for command in _declared():
        flags = " ".join(word for option in command.options_of() for word in _words(option))
        cases.append(f"        {command.name}) words={flags!r};;")
        values.update({option.name: _offered(option) for option in command.options_of() if option.kind is not None})
    slots = "|".join(sorted(name for name, offered in values.items() if offered == SLOTS))
    known = "|".join(sorted(name for name, offered in values.items() if offered == "-"))
    named = "|".join(command.name for command in _declared() if "<instance>" in (a.metavar for a in command.arguments))
    return f"""\
# bash completion of {PROGRAM}: eval "$({PROGRAM} --completion bash)"
_{PROGRAM}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}} words=
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "{" ".join(command.name for command in COMMANDS)} --help --version" -- "$word")); return
    fi
    case $before in
        {slots}) COMPREPLY=($(compgen -W "{SLOTS}" -- "$word")); return;;
        {known}) COMPREPLY=(); return;;
    esac
    case $command in
{chr(10).join(cases)}
    esac
    case $word in
        -*) COMPREPLY=($(compgen -W "$words" -- "$word")); return;;
    esac
    case $command in
        {named}) COMPREPLY=($(compgen -W "$({PROGRAM} --instances 2>/dev/null)" -- "$word")); return;;
    esac
    [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
}}
complete -o filenames -F _{PROGRAM} {PROGRAM}
"""


def _zsh() -> str:
    listed = "\n".join(f"        {_quoted(f'{c.name}:{_colon(c.short_description())}')}" for c in _declared())
    cases = []
    for command in _declared():
        specs = [_zsh_option(option) for option in command.options_of()]
        takes = "'*:instance:($(leakwatch --instances 2>/dev/null))'"
        takes = takes if "<instance>" in (a.metavar for a in command.arguments) else "'*:file:_files'"
        cases.append(f"        {command.name}) _arguments {' '.join(specs)} {takes};;")
    return f"""\
#compdef {PROGRAM}
# zsh completion of {PROGRAM}: {PROGRAM} --completion zsh > "${{fpath[1]}}/_{PROGRAM}"
_{PROGRAM}() {{
    local -a commands
    commands=(
{listed}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{chr(10).join(cases)}
    esac
}}
compdef _{PROGRAM} {PROGRAM}
"""


def _zsh_option(option: Option) -> str:
    help_text = _colon(option.help).replace("[", "(").replace("]", ")")
    value = ""
    if option.kind is not None:
        offered = _offered(option)
        value = f":{option.metavar}:" + ("_files" if not offered else f"({offered})" if offered != "-" else " ")
    return " ".join(_quoted(f"{word}[{help_text}]{value}") for word in _words(option))


def _colon(text: str) -> str:
    return text.replace(":", "\\:")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish() -> str:
    lines = [f"# fish completion of {PROGRAM}: {PROGRAM} --completion fish | source", f"complete -c {PROGRAM} -f"]
    for command in _declared():
        told = command.short_description()
        lines.append(f"complete -c {PROGRAM} -n __fish_use_subcommand -a {command.name} -d {_quoted(told)}")
        inside = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {command.name}'"
        if "<instance>" in (argument.metavar for argument in command.arguments):
            lines.append(f"{inside} -a '({PROGRAM} --instances 2>/dev/null)'")
        else:
            lines.append(f"{inside} -F")
        for option in command.options_of():
            lines += [f"{inside} {spec} -d {_quoted(option.help)}" for spec in _fish_option(option)]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> Iterator[str]:
    offered = _offered(option)
    value = (
        "" if option.kind is None else " -r -F" if not offered else f" -x -a '{offered}'" if offered != "-" else " -x"
    )
    for word in _words(option):
        yield (f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}") + value


COMPLETIONS: dict[str, Callable[[], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
MANUALS: dict[str, Callable[[], str]] = {"rst": commands_rst, "man": man_page}
