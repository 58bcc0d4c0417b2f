"""``leak-diagnose``: the same conclusion from a file of samples."""

import os
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.finding_text import FINDING_CSV, finding_lines
from cubicweb_leakwatch.commands.options import Argument
from cubicweb_leakwatch.commands.terminal import Screen

FILE = Argument("file", "FILE", "samples, one JSON object a line, or leak-history's JSON; - reads standard input")


class LeakDiagnose(Command):
    """Say what a file of samples shows: which process leaks, how, how fast."""

    name = "leak-diagnose"
    has_csv = True
    arguments = (FILE,)
    examples = (
        ("cubicweb-ctl leak-diagnose samples.jsonl", "one finding a process in the file"),
        ("cubicweb-ctl leak-diagnose samples.jsonl --json", "the same for a program"),
    )

    def data(self, asked: Namespace) -> list[dict[str, Any]]:
        """Return one finding a process in the file."""
        # the matrices are small: threads would only wait for one another; NumPy reads this once, when it is imported
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from cubicweb_leakwatch.watch.diagnose import diagnose

        return [finding.as_json() for finding in diagnose(asked.file)]

    def table(self, data: list[dict[str, Any]], asked: Namespace) -> Table:
        """Return the findings."""
        return Table(FINDING_CSV, data)

    def lines(self, data: list[dict[str, Any]], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return each finding with its evidence."""
        for finding in data:
            yield from finding_lines(finding, screen)
