"""``leak-metrics``: the figures of the processes as text, for Prometheus, OpenMetrics or Munin."""

import os
import sys
from argparse import ArgumentTypeError, Namespace

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.options import Option
from cubicweb_leakwatch.commands.terminal import say
from cubicweb_leakwatch.errors import EXIT_DONE
from cubicweb_leakwatch.metrics import munin, text
from cubicweb_leakwatch.metrics.gather import Figures, gather

FORMATS = ("prometheus", "openmetrics", "munin")


def text_format(name: str) -> str:
    """Read the name of a format, for an option."""
    if name not in FORMATS:
        raise ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return name


class LeakMetrics(Command):
    """Print the metrics of the instance's processes on this host, for a monitoring system."""

    name = "leak-metrics"
    has_json = False
    own_options = (
        Option(
            "--format", "prometheus, openmetrics or munin", text_format, "FORMAT", default=FORMATS[0], offered=FORMATS
        ),
        Option("--config", "with --format munin: what its graphs are, as a plugin's config"),
    )
    examples = (
        ("cubicweb-ctl leak-metrics mysite", "what /_leakwatch/metrics gives, without the web"),
        ("cubicweb-ctl leak-metrics mysite --format munin", "what the Munin plugin gives"),
    )

    def run(self, asked: Namespace) -> int:
        """Print them; an instance of which nothing runs has metrics too: that no launcher answers."""
        figures = gather(self.instance(asked).runtime_dir, asked.instance)
        sys.stdout.write(written(figures, asked.format, config=asked.config))
        if not figures.processes:
            say(f"{self.name}: no process of {asked.instance} answers", sys.stderr)
        return EXIT_DONE


def written(figures: Figures, name: str, *, config: bool) -> str:
    """Return the figures in a format; Munin's node tells by MUNIN_CAP_DIRTYCONFIG that it takes values with config."""
    if name == "munin" and config:
        return munin.config(figures, with_values=os.environ.get("MUNIN_CAP_DIRTYCONFIG") == "1")
    return {"prometheus": text.prometheus, "openmetrics": text.openmetrics, "munin": munin.values}[name](figures)
