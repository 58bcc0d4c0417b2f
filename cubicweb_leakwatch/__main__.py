"""``leakwatch leak-NAME …``, or ``python -m cubicweb_leakwatch``: the commands of ``cubicweb-ctl`` without its start.

``cubicweb-ctl`` imports the whole of CubicWeb and of every installed cube before it looks at its first word; most of
our commands need none of that.
"""

import sys
from collections.abc import Sequence

from cubicweb_leakwatch.__pkginfo__ import version
from cubicweb_leakwatch.commands import COMMANDS
from cubicweb_leakwatch.commands.outlet import guarded
from cubicweb_leakwatch.errors import EXIT_CONFIGURATION, EXIT_DONE

PROGRAM = "leakwatch"


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without a command's name, tell which there are."""
    return guarded(PROGRAM, lambda: _run(sys.argv[1:] if words is None else words))


def _run(words: Sequence[str]) -> int:
    name, *rest = [*words, ""]
    if name in ("", "-h", "--help"):
        print(overview())
        return EXIT_DONE
    if name == "--version":
        print(f"{PROGRAM} {version}")
        return EXIT_DONE
    if name in ("--completion", "--manual", "--instances"):
        return written(name, rest[0])
    command = next((command for command in COMMANDS if command.name == name), None)
    if command is None:
        print(f"{PROGRAM}: no command {name!r} (see {PROGRAM} --help)", file=sys.stderr)
        return EXIT_CONFIGURATION
    code: int = command().main_run(rest[:-1])
    return code


def written(what: str, kind: str) -> int:
    """Print what is made of the declarations: a shell's completion, the manual; or the names of the instances."""
    from cubicweb_leakwatch.commands import completion, instance, manual

    if what == "--instances":
        print("\n".join(instance.instance_names()))
        return EXIT_DONE
    makers = completion.COMPLETIONS if what == "--completion" else manual.MANUALS
    if kind not in makers:
        print(f"{PROGRAM}: {what} is one of: {', '.join(makers)}", file=sys.stderr)
        return EXIT_CONFIGURATION
    print(makers[kind](), end="")
    return EXIT_DONE


def overview() -> str:
    """Return the list of the commands."""
    width = max(len(command.name) for command in COMMANDS)
    listed = "\n".join(f"  {command.name:<{width}}  {command.short_description()}" for command in COMMANDS)
    return (
        f"usage: {PROGRAM} leak-NAME [words and options]\n\n{listed}\n\n"
        f"{PROGRAM} leak-NAME --help tells more. cubicweb-ctl has the same commands, and takes longer to start.\n"
        f"{PROGRAM} --completion bash|zsh|fish and --manual man|rst print what a shell, man and the docs take."
    )


if __name__ == "__main__":
    sys.exit(main())
