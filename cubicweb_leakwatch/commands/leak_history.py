"""``leak-history``: what was recorded, over time."""

import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.leak_dump import check_writable
from cubicweb_leakwatch.commands.moments import moment
from cubicweb_leakwatch.commands.options import PROCESS, Option
from cubicweb_leakwatch.commands.repository import connection
from cubicweb_leakwatch.commands.spark import sparkline
from cubicweb_leakwatch.commands.table import Column, render, words
from cubicweb_leakwatch.commands.terminal import Screen, wrapped
from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.watch.units import MIB

COLUMNS = (
    words("PROCESS"),
    Column("SNAPSHOTS", rank=5),
    Column("FIRST MiB", rank=2),
    Column("LAST MiB"),
    Column("LOWEST MiB", rank=4),
    Column("HIGHEST MiB", rank=3),
    Column("CHANGE MiB"),
    words("RSS", rank=1),
)
WIDEST_LINE = 40
"""Blocks of the line of memory; a third of a narrower terminal."""

CSV_COLUMNS = (
    "t", "host", "process", "pid", "rss", "uss", "pss", "python_blocks", "malloc_used", "malloc_free",
    "gc_objects", "garbage", "requests", "in_flight", "fds", "threads", "cgroup_limit", "cgroup_pressure",
    "note",
)  # fmt: skip


class LeakHistory(Command):
    """Show recorded samples over time, with restarts and deployments."""

    name = "leak-history"
    has_csv = True
    own_options = (
        PROCESS,
        Option("--since", "from when: how long ago (24h) or a time (2026-05-01T12:00)", moment, "WHEN", "24h"),
        Option("--until", "until when", moment, "WHEN", "now"),
        Option("--types", "with the type counts of each sample, in JSON"),
        Option("--svg", "write the chart to FILE as well", Path, "FILE"),
    )
    examples = (
        ("cubicweb-ctl leak-history mysite --since 7d", "a week at a glance, with what happened in it"),
        ("cubicweb-ctl leak-history mysite --process web-1 --csv", "the samples of one process, for a spreadsheet"),
    )

    def data(self, asked: Namespace) -> list[dict[str, Any]]:
        """Return the samples; ``events`` and ``restarts`` go beside them into the document."""
        if asked.since >= asked.until:
            raise ConfigurationError("--since is not before --until", code="usage")
        check_writable(asked.svg, force=True)
        with connection(self.instance(asked)) as cnx:
            recorded = cnx.call_service(
                "leakwatch_history", since=asked.since, until=asked.until, process=asked.process, types=asked.types
            )
        self.beside = {"events": recorded["events"], "restarts": recorded["restarts"]}
        if asked.svg:
            write_chart(asked.svg, recorded)
        return list(recorded["samples"])

    def lines(self, data: list[dict[str, Any]], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return a row a process, then what happened."""
        if not data:
            return ["nothing was recorded in this time"]
        return self._shown(data, screen)

    def _shown(self, data: list[dict[str, Any]], screen: Screen) -> Iterator[str]:
        first, last = data[0]["t"], data[-1]["t"]
        for line in wrapped("", f"{len(data)} snapshots from {local(first)} to {local(last)}", screen):
            yield screen.style(line, "bold")
        yield ""
        blocks = WIDEST_LINE if screen.width is None else min(WIDEST_LINE, screen.width // 3)
        rows = [summary(name, samples, blocks) for name, samples in by_process(data).items()]
        yield from render(COLUMNS, rows, screen)
        events = [event for event in self.beside["events"] if event["kind"] in ("restart", "deployment")]
        if events:
            yield ""
            yield screen.style("what happened", "bold")
        for event in events:
            yield f"{local(event['t'])}  {clean(event['process'])}  {clean(event['kind'])}"
            yield from wrapped("    ", clean(event["text"]), screen)

    def table(self, data: list[dict[str, Any]], asked: Namespace) -> Table:
        """Return the samples."""
        return Table(CSV_COLUMNS, data)

    def next_step(self, data: list[dict[str, Any]], asked: Namespace) -> str:
        """Lead to the conclusion, or to what records."""
        if not data:
            return f"cubicweb-ctl leak-serve {asked.instance} runs the scheduler, which records"
        return f"cubicweb-ctl leak-findings {asked.instance}   (what leakwatch concludes from it)"


def by_process(samples: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the samples of each slot, by name; the host stands before it where there are several."""
    items = list(samples)
    several = len({sample.get("host") for sample in items}) > 1
    found: dict[str, list[dict[str, Any]]] = {}
    for sample in items:
        name = f"{sample.get('host')}:{sample['process']}" if several else sample["process"]
        found.setdefault(name, []).append(sample)
    return dict(sorted(found.items()))


def summary(name: str, samples: Sequence[dict[str, Any]], blocks: int = WIDEST_LINE) -> list[object]:
    """Return the row of one process, its memory as a line of at most so many blocks."""
    values = [sample["rss"] for sample in samples]
    shown = [f"{value / MIB:.1f}" for value in (values[0], values[-1], min(values), max(values))]
    return [name, len(values), *shown, f"{(values[-1] - values[0]) / MIB:+.1f}", sparkline(values, max(1, blocks))]


def local(t: float) -> str:
    """Return Unix seconds as local time with its zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(t))


def write_chart(path: Path, recorded: dict[str, Any]) -> None:
    """Write the chart as a picture that stands alone. Raises ``LeakwatchError`` when the file cannot be written."""
    from cubicweb_leakwatch.views.picture import picture

    try:
        path.write_text(picture(recorded), encoding="utf-8")
    except OSError as error:
        raise LeakwatchError(f"cannot write {path}: {error.strerror}", code="file") from error
