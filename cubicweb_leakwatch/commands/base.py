"""What every command shares: its life from the words typed to the exit code.

A command measures (``data``), then shows (``lines``); it never does both at once, so that ``--json``
tells the same as the tables. Nothing here loads an instance.
"""

import contextlib
import dataclasses
import json
import signal
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from cubicweb_leakwatch.commands.csv_text import Table, as_csv
from cubicweb_leakwatch.commands.instance import Instance, find_instance, instance_named
from cubicweb_leakwatch.commands.options import CSV, INSTANCE, JSON, Argument, Option, Parser, build_parser, parse
from cubicweb_leakwatch.commands.outlet import guarded
from cubicweb_leakwatch.commands.terminal import Screen, patience, say
from cubicweb_leakwatch.errors import EXIT_DONE, EXIT_INTERRUPTED, LeakwatchError
from cubicweb_leakwatch.plain_text import clean


@contextlib.contextmanager
def _in_order() -> Iterator[None]:
    """Let SIGTERM end the command in order, so that a heap dump is removed and a connection closed.

    Deprecations inside CubicWeb, which cubicweb-ctl shows, are no news for whoever looks for a leak.
    """

    def terminated(signum: int, _frame: object) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Command:
    """One ``cubicweb-ctl leak-…`` command; the class's docstring is its one-line purpose.

    It has the few members that ``cubicweb-ctl`` asks of a command (``name``, ``hidden``, ``short_description``,
    ``main_run``, ``help``), so it needs neither its option machinery nor its mapping of errors to exit codes.
    """

    name: ClassVar[str] = ""
    hidden: ClassVar[bool] = False
    arguments: ClassVar[tuple[Argument, ...]] = (INSTANCE,)
    own_options: ClassVar[tuple[Option, ...]] = ()
    examples: ClassVar[tuple[tuple[str, str], ...]] = ()
    has_json: ClassVar[bool] = True
    has_csv: ClassVar[bool] = False
    """Whether the answer is a table; then ``table`` gives it."""

    tells_patience: ClassVar[bool] = True
    """Whether a terminal is told how long the work goes on; not where the command itself tells more."""

    def __init__(self, logger: object = None) -> None:
        self.warnings: list[str] = []
        self.beside: dict[str, Any] = {}

    # what a command fills in

    def data(self, asked: Namespace) -> Any:
        """Return what ``--json`` prints under ``data``; raises ``LeakwatchError``."""
        raise NotImplementedError

    def lines(self, data: Any, asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return the same as lines for people."""
        raise NotImplementedError

    def table(self, data: Any, asked: Namespace) -> Table:
        """Return the same as a table, for ``--csv``."""
        raise NotImplementedError

    def next_step(self, data: Any, asked: Namespace) -> str:
        """Return what to type next, or nothing."""
        return ""

    def exit_code(self, data: Any, asked: Namespace) -> int:
        """Return the exit code of a command that worked."""
        return EXIT_DONE

    def failure_code(self, error: LeakwatchError, words: Sequence[str]) -> int:
        """Return the exit code of a command that failed."""
        return error.exit_code

    # what cubicweb-ctl calls

    @classmethod
    def short_description(cls) -> str:
        """Return the purpose, for the list of commands."""
        return (cls.__doc__ or "").strip().rstrip(".")

    @classmethod
    def options_of(cls) -> tuple[Option, ...]:
        """Return every option, the common ones last."""
        return (*cls.own_options, *([CSV] if cls.has_csv else []), *([JSON] if cls.has_json else []))

    def help(self) -> str:
        """Return what ``--help`` prints."""
        return self._parser().format_help()

    def main_run(self, args: Sequence[str], rcfile: str | None = None) -> int:
        """Do what the words after the command's name ask for; return the exit code."""
        with _in_order():
            return guarded(self.name, lambda: self._run_told(args))

    def _run_told(self, words: Sequence[str]) -> int:
        """Run, and tell what went wrong in one line."""
        asked = Namespace()
        try:
            asked = self._parse(words)
            return self.run(asked)
        except LeakwatchError as error:
            # whoever raised it may not know which instance it is about
            error.hint = error.hint.replace("<instance>", getattr(asked, "instance", None) or "<instance>")
            return self._failed(error, words)
        except KeyboardInterrupt:
            say(f"{self.name}: interrupted", sys.stderr)
            return EXIT_INTERRUPTED
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "cubicweb":
                raise
            return self._failed(self._without_cubicweb(), words)
        except OSError as error:
            if error.filename is None:
                raise  # of stdout: there is nowhere to tell it
            return self._failed(LeakwatchError(f"{error.filename}: {error.strerror}", code="file"), words)

    def _without_cubicweb(self) -> LeakwatchError:
        return LeakwatchError(
            f"this needs CubicWeb, which {sys.executable} does not have",
            hint=f"run it in the instance's own environment: …/bin/cubicweb-ctl {self.name}",
            code="no-cubicweb",
        )

    def _failed(self, error: LeakwatchError, words: Sequence[str]) -> int:
        self.tell_failure(error, words)
        return self.failure_code(error, words)

    def run(self, asked: Namespace) -> int:
        """Measure and show once; commands that stay in the foreground have their own."""
        with patience(self.name) if self.tells_patience else contextlib.nullcontext():
            data = self.data(asked)
        self.show(data, asked)
        for warning in self.warnings:
            say(f"{self.name}: {clean(warning)}", sys.stderr)
        step = "" if self.is_for_a_program(asked) else self.next_step(data, asked)
        if step:
            say(f"next: {clean(step)}", sys.stderr)
        return self.exit_code(data, asked)

    def show(self, data: Any, asked: Namespace) -> None:
        """Print what was measured, in the form that was asked for."""
        if self.has_json and asked.json:
            self.print_document(data, asked)
            return
        as_table = self.has_csv and asked.csv
        for line in as_csv(self.table(data, asked)) if as_table else self.lines(data, asked, Screen.of(sys.stdout)):
            say(line)

    def is_for_a_program(self, asked: Namespace) -> bool:
        """Say whether no person reads it."""
        return bool((self.has_json and asked.json) or (self.has_csv and asked.csv))

    # helpers

    def instance(self, asked: Namespace) -> Instance:
        """Return the instance that was asked for."""
        return find_instance(asked.instance)

    def print_document(self, data: Any, asked: Namespace) -> None:
        """Print the documented JSON document; ``warnings`` stands in it when there is something to warn of."""
        document: dict[str, Any] = {
            "ok": True,
            "generated_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "instance": getattr(asked, "instance", None),
            "data": data,
        }
        document.update(self.beside)
        if self.warnings:
            document["warnings"] = self.warnings
        print(json.dumps(document, indent=2))

    def _parser(self) -> Parser:
        return build_parser(
            f"cubicweb-ctl {self.name}",
            self.short_description() + ".",
            self.arguments,
            self.options_of(),
            self.examples,
        )

    def _parse(self, words: Sequence[str]) -> Namespace:
        words = list(words)
        takes_instance = INSTANCE in self.arguments
        optional = [dataclasses.replace(argument, optional=True) for argument in self.arguments]
        asked: Namespace = parse(self._parser(), optional, self.options_of(), words)
        if takes_instance:
            self._name_instance(asked)
        if self.has_csv and asked.csv and asked.json:
            self._parser().error("--csv and --json: choose one")
        for argument in self.arguments:
            if getattr(asked, argument.name) is None and not argument.optional:
                self._parser().error(f"{argument.metavar} is missing")
        return asked

    def _name_instance(self, asked: Namespace) -> None:
        """Take the instance from the environment where it was not typed; what was typed then moves one place on."""
        names = [argument.name for argument in self.arguments]
        values = [getattr(asked, name) for name in names]
        if values[-1] is None and instance_named(None):
            values = [instance_named(None), *values[:-1]]
        for name, value in zip(names, values, strict=True):
            setattr(asked, name, value)

    def tell_failure(self, error: LeakwatchError, words: Sequence[str]) -> None:
        """Say why it failed: one line on stderr, or the documented JSON document on stdout."""
        if self.has_json and "--json" in words:
            print(json.dumps({"ok": False, "error": error.as_json()}, indent=2))
            return
        hint = f" ({clean(error.hint)})" if error.hint else ""
        say(f"{self.name}: {clean(error.message)}{hint}", sys.stderr)
