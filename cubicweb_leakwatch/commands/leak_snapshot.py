"""``leak-snapshot``: take and record a snapshot of every process now."""

from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.options import Option
from cubicweb_leakwatch.commands.repository import connection
from cubicweb_leakwatch.commands.running import explained
from cubicweb_leakwatch.commands.terminal import Screen
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.probe.client import choose


class LeakSnapshot(Command):
    """Take and record a snapshot of every process now."""

    name = "leak-snapshot"
    own_options = (Option("--note", "what to write beside it", str, "TEXT", default=""),)
    examples = (
        ("cubicweb-ctl leak-snapshot mysite", "record how much each process takes now"),
        ('cubicweb-ctl leak-snapshot mysite --note "before the fix"', "a point to compare with later"),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Return ``recorded``, the names of the processes."""
        instance = self.instance(asked)
        with explained(instance):
            choose(instance.runtime_dir, None)
        with connection(instance) as cnx:
            done = cnx.call_service("leakwatch_snapshot", note=asked.note)
        self.warnings = [failure["message"] for failure in done["failures"]]
        if not done["recorded"]:
            raise LeakwatchError("no process could be measured", hint="; ".join(self.warnings), code="nothing-recorded")
        return {"recorded": done["recorded"]}

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Name the processes."""
        return [f"recorded: {clean(', '.join(data['recorded']))}"]

    def next_step(self, data: dict[str, Any], asked: Namespace) -> str:
        """Lead to the history."""
        return f"cubicweb-ctl leak-history {asked.instance} --since 1h"
