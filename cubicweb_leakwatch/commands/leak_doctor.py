"""``leak-doctor``: checks the set-up."""

import os
import stat
import sys
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from cubicweb_leakwatch import live
from cubicweb_leakwatch.commands import checkup
from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.instance import Instance
from cubicweb_leakwatch.commands.running import require_cube
from cubicweb_leakwatch.commands.terminal import Screen, wrapped
from cubicweb_leakwatch.errors import EXIT_DONE, EXIT_FAILED, LeakwatchError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.recording.conclusions import overdue_since, read_findings


class LeakDoctor(Command):
    """Check the set-up of an instance: who answers, who records, which limits hold; a numbered hint a problem."""

    name = "leak-doctor"
    has_csv = True
    examples = (
        ("cubicweb-ctl leak-doctor mysite", "is mysite watched as it should be?"),
        ("cubicweb-ctl leak-doctor mysite --json", "the same for a program; exit code 1 when there is a problem"),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Return the problems, each with its number and a hint."""
        instance = self.instance(asked)
        require_cube(instance)
        found = checkup.problems(examine(instance))
        return {"problems": [asdict(problem) for problem in found], "checks": len(checkup.CHECKS)}

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return a hint a problem, or that all is well."""
        if not data["problems"]:
            yield screen.style(f"{clean(asked.instance)}: no problem found", "bold", "green")
        for problem in data["problems"]:
            yield f"{screen.style(problem['code'], 'bold', 'yellow')}  {clean(problem['message'])}"
            yield from wrapped("      → ", clean(problem["hint"]), screen)

    def table(self, data: dict[str, Any], asked: Namespace) -> Table:
        """Return the problems."""
        return Table(("code", "message", "hint"), data["problems"])

    def exit_code(self, data: dict[str, Any], asked: Namespace) -> int:
        """Return 1 when there is a problem."""
        return EXIT_FAILED if data["problems"] else EXIT_DONE


def examine(instance: Instance) -> checkup.Facts:
    """Find out what the checks need."""
    from cubicweb_leakwatch.room import read_room

    processes, silent = _processes(instance)
    interval_s, bad_option = _settings(instance)
    mode, ours = _directory(instance)
    return checkup.Facts(
        name=instance.name,
        processes=tuple(process for process in processes if process.get("instance") in (None, instance.name)),
        strangers=tuple(process["name"] for process in processes if process.get("instance", "") != instance.name),
        silent=tuple(silent),
        launcher=_launcher(instance),
        findings=len(read_findings(instance.runtime_dir)),
        overdue_since=overdue_since(instance.runtime_dir, interval_s),
        directory=str(instance.runtime_dir),
        directory_mode=mode,
        directory_is_ours=ours,
        bad_option=bad_option,
        interval_s=interval_s,
        memory_total=read_room().total,
        python=sys.version_info[:3],
    )


def _processes(instance: Instance) -> tuple[list[dict[str, Any]], list[str]]:
    try:
        data, look = live.status(instance.runtime_dir)
    except LeakwatchError as error:
        return [], [] if error.code == "no-probe" else [error.message]
    return data["processes"], [failure.message for failure in look.failures]


def _settings(instance: Instance) -> tuple[float | None, str | None]:
    from cubicweb_leakwatch.commands.serving import load

    try:
        return load(instance).settings.interval_s, None
    except LeakwatchError as error:
        return None, error.message
    except Exception as error:  # whatever a broken configuration file makes CubicWeb raise
        return None, f"the configuration cannot be read: {error}"


def _launcher(instance: Instance) -> dict[str, Any] | None:
    from cubicweb_leakwatch.serve.control import ask_launcher

    try:
        return ask_launcher(str(instance.runtime_dir), "status")
    except LeakwatchError:
        return None


def _directory(instance: Instance) -> tuple[int | None, bool]:
    try:
        found = instance.runtime_dir.stat()
    except OSError:
        return None, True
    return stat.S_IMODE(found.st_mode), found.st_uid == os.geteuid()
