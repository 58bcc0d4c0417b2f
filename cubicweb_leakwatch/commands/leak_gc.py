"""``leak-gc``: the gc page in the terminal."""

import shlex
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import Any

from cubicweb_leakwatch import live
from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.options import LIMIT, PROCESS, Option
from cubicweb_leakwatch.commands.running import explained
from cubicweb_leakwatch.commands.table import Cell, Column, render, words
from cubicweb_leakwatch.commands.terminal import Screen, wrapped
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.watch.units import format_bytes

TYPES = (words("TYPE", shrinks=True), Column("COUNT"), Column("KiB", rank=1), Column("GROWTH"))
GARBAGE = (words("TYPE", shrinks=True), Column("COUNT"), Column("KiB"))

CSV_COLUMNS = ("process", "pid", "taken_at", "type", "count", "bytes", "delta")


class LeakGc(Command):
    """Show what a process keeps: gc.garbage, type counts and growth, cycles with finalizers."""

    name = "leak-gc"
    has_csv = True
    own_options = (
        PROCESS,
        LIMIT,
        Option("--types-only", "counts alone, which is cheap: no heap dump, no cycles"),
    )
    examples = (
        ("cubicweb-ctl leak-gc mysite --process scheduler", "what does the scheduler keep alive?"),
        ("cubicweb-ctl leak-gc mysite --types-only --limit 50", "the 50 most frequent types of every process"),
    )

    def data(self, asked: Namespace) -> list[dict[str, Any]]:
        """Return one report a process."""
        instance = self.instance(asked)
        with explained(instance):
            if asked.types_only:
                look = live.gc_counts(instance.runtime_dir, asked.process, limit=asked.limit)
            else:
                look = live.gc_reports(instance.runtime_dir, asked.process, limit=asked.limit)
        self.warnings = [failure.message for failure in look.failures]
        return look.items

    def lines(self, data: list[dict[str, Any]], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return the report of each process, one after the other."""
        for index, report in enumerate(data):
            if index:
                yield ""
            yield from report_lines(report, screen, types_only=asked.types_only)

    def table(self, data: list[dict[str, Any]], asked: Namespace) -> Table:
        """Return a row for each type of each process."""
        return Table(CSV_COLUMNS, type_rows(data))

    def next_step(self, data: list[dict[str, Any]], asked: Namespace) -> str:
        """Lead from counts to cycles, from cycles that are held to what holds them."""
        if asked.types_only:
            first = data[0]["process"]["name"]
            return f"cubicweb-ctl leak-gc {asked.instance} --process {first}   (cycles and holders)"
        most = max(_held(data), default=None)
        if most is not None:
            _count, type_name, name = most
            return f"cubicweb-ctl leak-holders {asked.instance} {shlex.quote(type_name)} --process {name}"
        return f"cubicweb-ctl leak-status {asked.instance}   (memory and growth of each process)"


def _held(reports: Iterable[dict[str, Any]]) -> Iterator[tuple[int, str, str]]:
    """Return, of cycles that are kept alive, how many there are, what finalizer is in them and in which process."""
    for report in reports:
        for cycle in report["cycles"]:
            if cycle["reachable"] and cycle["finalizers"] and cycle["count"] > 1:
                yield cycle["count"], cycle["finalizers"][0], report["process"]["name"]


def type_rows(reports: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return the types of several processes as one table."""
    for report in reports:
        who = {"process": report["process"]["name"], "pid": report["process"]["pid"], "taken_at": report["taken_at"]}
        yield from ({**who, **item} for item in report["types"])


def report_lines(report: dict[str, Any], screen: Screen, *, types_only: bool = False) -> Iterator[str]:
    """Return the lines of one process's report."""
    process = report["process"]
    title = f"{clean(process['name'])} (pid {process['pid']}, {clean(process['role'])}) at {report['taken_at']}"
    yield screen.style(title, "bold")
    yield f"stopped for {report['pause_ms']:.1f} ms, looked at for {report['elapsed_ms'] / 1000:.1f} s"
    if report.get("partial"):
        yield screen.style(f"partial: {clean(report['partial'])}", "yellow")
    yield from wrapped("", _memory(report["memory"]), screen)
    yield ""
    yield from _garbage(report["garbage"], screen)
    if not types_only:
        yield ""
        yield from _cycles(report["cycles"], screen)
    yield ""
    since = report.get("growth_since")
    yield screen.style(f"types (growth since {since})" if since else "types (no baseline yet: growth unknown)", "bold")
    yield from render(TYPES, [_type_row(item) for item in report["types"]], screen)
    if report.get("roles"):
        yield ""
        yield from _roles(report["roles"], screen)


def _memory(memory: dict[str, Any]) -> str:
    blocks = memory.get("python_blocks")
    parts = [
        f"RSS {format_bytes(memory.get('rss'))}",
        f"USS {format_bytes(memory.get('uss'))}",
        f"Python blocks {'n/a' if blocks is None else f'{blocks:,}'}",
        f"malloc in use {format_bytes(memory.get('malloc_used'))}",
        f"free {format_bytes(memory.get('malloc_free'))}",
    ]
    return " · ".join(parts)


def _garbage(garbage: dict[str, Any], screen: Screen) -> Iterator[str]:
    count = garbage["count"]
    if not count:
        yield "gc.garbage: empty"
        return
    size = garbage.get("bytes")
    told = "" if size is None else f", {format_bytes(size)}"
    yield screen.style(f"gc.garbage: {count:,} uncollectable objects{told}", "bold", "red")
    rows = [[item["type"], _count(item["count"]), _kib(item.get("bytes"))] for item in garbage["types"]]
    if rows:
        yield from render(GARBAGE, rows, screen)


def _cycles(cycles: list[dict[str, Any]], screen: Screen) -> Iterator[str]:
    if not cycles:
        yield "cycles with finalizers (__del__), and trash: none"
        return
    yield screen.style("cycles with finalizers (__del__), and trash that waits for the collector", "bold")
    for cycle in cycles:
        yield from cycle_lines(cycle, screen)


def cycle_lines(cycle: dict[str, Any], screen: Screen) -> Iterator[str]:
    """Return one shape of cycles: how many, members, the way round, what holds it."""
    reach = "reachable" if cycle["reachable"] else "unreachable, waiting for the collector"
    head = f"{cycle['count']:,} × {cycle_name(cycle)}"
    size = f"{cycle['objects']:,} objects, {format_bytes(cycle['bytes'])}"
    if screen.width and len(f"  {head}  {size}, {reach}") > screen.width:
        yield f"  {screen.style(head, 'bold', 'yellow')}"
        yield from wrapped("    ", f"{size}, {reach}", screen)
    else:
        yield f"  {screen.style(head, 'bold', 'yellow')}  {size}, {reach}"
    members = ", ".join(f"{clean(item['type'])} × {item['count']:,}" for item in cycle["types"])
    yield from wrapped("    members: ", members, screen)
    yield from wrapped("    path:    ", clean(path_text(cycle["path"])), screen)
    holder = cycle.get("holder")
    yield from wrapped("    held by: ", clean(holder) if holder else "n/a" if cycle["reachable"] else "nothing", screen)


def cycle_name(cycle: dict[str, Any]) -> str:
    """Return the types with finalizers of a cycle, or its first type where it has none."""
    finalizers = ", ".join(clean(item) for item in cycle["finalizers"])
    return finalizers or f"{clean(cycle['types'][0]['type'])} (no finalizer)"


def path_text(path: list[str]) -> str:
    """Return the way round a cycle: ``A.attr → B['key'] → A``."""
    steps: list[str] = []
    for part in path:
        if steps and part.startswith((".", "[")):
            steps[-1] += part
        else:
            steps.append(part)
    return " → ".join(steps)


def _roles(roles: dict[str, Any], screen: Screen) -> Iterator[str]:
    yield screen.style("CubicWeb objects alive", "bold")
    entities = roles.get("entity") or {}
    known = {key: value for key, value in roles.items() if key != "entity"}
    yield "  " + " · ".join(f"{clean(key.replace('_', ' '))} {_count(value)}" for key, value in known.items())
    if entities:
        most = sorted(entities.items(), key=lambda item: -item[1])
        yield "  entities: " + ", ".join(f"{clean(etype)} {count:,}" for etype, count in most)


def _type_row(item: dict[str, Any]) -> list[object]:
    delta = item.get("delta")
    growth = "n/a" if delta is None else f"{delta:+,}" if delta else "0"
    grows = delta is not None and delta > 0
    return [item["type"], _count(item["count"]), _kib(item.get("bytes")), Cell(growth, ("yellow",) if grows else ())]


def _count(value: int | None) -> str:
    return "n/a" if value is None else f"{value:,}"


def _kib(value: int | None) -> str:
    return "n/a" if value is None else f"{value / 1024:,.1f}"
