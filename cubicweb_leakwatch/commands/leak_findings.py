"""``leak-findings``: what leakwatch concludes from the recorded history."""

import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import Any

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.finding_text import FINDING_CSV, by_urgency, finding_lines
from cubicweb_leakwatch.commands.options import PROCESS, Option
from cubicweb_leakwatch.commands.repository import connection
from cubicweb_leakwatch.commands.terminal import Screen
from cubicweb_leakwatch.host import this_host
from cubicweb_leakwatch.recording.conclusions import conclude_apart, read_findings
from cubicweb_leakwatch.recording.findings import spread_samples


class LeakFindings(Command):
    """Say what leakwatch concludes from the recorded history, with its evidence."""

    name = "leak-findings"
    has_csv = True
    own_options = (PROCESS, Option("--all", "the recorded findings, open and closed ones, the newest first"))
    examples = (
        ("cubicweb-ctl leak-findings mysite", "which process leaks, what, how fast, and why we say so"),
        ("cubicweb-ctl leak-findings mysite --all --process web-1", "what was ever found in web-1"),
    )

    def data(self, asked: Namespace) -> list[dict[str, Any]]:
        """Return the findings: those of the looping task, or drawn now where it has not run for an hour."""
        instance = self.instance(asked)
        if asked.all:
            with connection(instance) as cnx:
                found = cnx.call_service("leakwatch_findings", closed=True)[::-1]
        else:
            found = read_findings(instance.runtime_dir)
            if not found:
                with connection(instance) as cnx:
                    samples = spread_samples(cnx, this_host(), time.time())
                found = conclude_apart(samples, {}) if samples else []
            found = sorted(found, key=by_urgency)
        return [finding for finding in found if asked.process in (None, finding["process"])]

    def lines(self, data: list[dict[str, Any]], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return each finding with its evidence."""
        if not data:
            return ["no finding" if asked.all else "nothing can be concluded: no sample was recorded in the last day"]
        return self._shown(data, screen)

    def _shown(self, data: list[dict[str, Any]], screen: Screen) -> Iterator[str]:
        for index, finding in enumerate(data):
            if index:
                yield ""
            yield from finding_lines(finding, screen)

    def table(self, data: list[dict[str, Any]], asked: Namespace) -> Table:
        """Return the findings."""
        return Table(FINDING_CSV, data)

    def next_step(self, data: list[dict[str, Any]], asked: Namespace) -> str:
        """Lead to the heap of the process that leaks."""
        leaking = [finding["process"] for finding in data if finding.get("leak") and not finding.get("closed_at")]
        return f"cubicweb-ctl leak-gc {asked.instance} --process {leaking[0]}" if leaking else ""
