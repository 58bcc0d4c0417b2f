"""What makes a shell complete commands, options and instances, from the declarations of the commands."""

from collections.abc import Callable, Iterator
from typing import Any

from cubicweb_leakwatch.commands import COMMANDS
from cubicweb_leakwatch.commands.manual import PROGRAM, declared
from cubicweb_leakwatch.commands.options import Option

SLOTS = "web-1 web-2 web-3 web-4 scheduler"
"""What is offered where a process is named; more there are seldom."""

OF_ITSELF = {"--completion": ("bash", "zsh", "fish"), "--manual": ("man", "rst")}
"""What the program itself takes, with the values."""


def completion(shell: str) -> str:
    """Return the completion of ``leakwatch`` for ``bash``, ``zsh`` or ``fish``."""
    return COMPLETIONS[shell]()


def _words(option: Option) -> list[str]:
    names = _names(option)
    return [*names, f"--no-{option.name[2:]}"] if option.negatable else names


def _names(option: Option) -> list[str]:
    return [option.short, option.name] if option.short else [option.name]


def _offered(option: Option) -> str:
    """Return what may stand behind an option: slots, words, files (empty), or nothing that is known (``-``)."""
    if option.name == "--process":
        return SLOTS
    return " ".join(option.offered) or ("" if option.metavar == "FILE" else "-")


def _takes_instance(command: Any) -> bool:
    return "<instance>" in (argument.metavar for argument in command.arguments)


def _bash() -> str:
    """A value is asked for by the word before it; ``mapfile`` keeps the blanks in the names of files."""
    flags, values = [], dict[str, str]()
    for command in declared():
        listed = " ".join(word for option in command.options_of() for word in _words(option))
        flags.append(f"        {command.name}) words='{listed} --help';;")
        taking = [option for option in command.options_of() if option.kind is not None]
        values.update({name: _offered(option) for option in taking for name in _names(option)})
    values.update({name: " ".join(kinds) for name, kinds in OF_ITSELF.items()})
    offers = [f"        {name}) {_bash_offer(offered)}; return;;" for name, offered in sorted(values.items())]
    named = "|".join(command.name for command in declared() if _takes_instance(command))
    return f"""\
# bash completion of {PROGRAM}: eval "$({PROGRAM} --completion bash)"
_{PROGRAM}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}} words=
    if [ "$COMP_CWORD" = 1 ]; then
        words="{" ".join(command.name for command in COMMANDS)} --help --version {" ".join(OF_ITSELF)} --instances"
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word"); return
    fi
    case $before in
{chr(10).join(offers)}
    esac
    case $command in
{chr(10).join(flags)}
    esac
    case $word in
        -*) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word"); return;;
    esac
    case $command in
        {named}) words=$({PROGRAM} --instances 2>/dev/null)
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word"); return;;
    esac
    {_bash_offer("")}
}}
complete -o filenames -F _{PROGRAM} {PROGRAM}
"""


def _bash_offer(offered: str) -> str:
    if offered == "-":
        return "COMPREPLY=()"
    return f'mapfile -t COMPREPLY < <(compgen {f"-W {_quoted(offered)}" if offered else "-f"} -- "$word")'


def _zsh() -> str:
    listed = "\n".join(f"        {_quoted(f'{c.name}:{_colon(c.short_description())}')}" for c in declared())
    cases = []
    for command in declared():
        specs = [_zsh_option(option) for option in command.options_of()]
        takes = "'*:instance:($(leakwatch --instances 2>/dev/null))'"
        takes = takes if _takes_instance(command) else "'*:file:_files'"
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
    for command in declared():
        told = command.short_description()
        lines.append(f"complete -c {PROGRAM} -n __fish_use_subcommand -a {command.name} -d {_quoted(told)}")
        inside = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {command.name}'"
        if _takes_instance(command):
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
