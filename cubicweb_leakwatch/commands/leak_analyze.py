"""``leak-analyze``: what a heap dump shows, or what changed since another."""

import os
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import Any

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.leak_gc import cycle_lines
from cubicweb_leakwatch.commands.options import LIMIT, Argument, Option
from cubicweb_leakwatch.commands.table import Column, render, words
from cubicweb_leakwatch.commands.terminal import Screen, wrapped
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.watch.units import MIB, format_bytes

FILE = Argument("file", "FILE", "the heap dump, as leak-dump writes it")
TYPES = (
    words("TYPE", shrinks=True),
    Column("COUNT"),
    Column("MiB", rank=1),
    Column("RETAINED MiB"),
    Column("GROWTH", rank=2),
)
GROWTH = (words("TYPE", shrinks=True), Column("OBJECTS"), Column("MiB"))

TYPES_CSV = ("type", "count", "bytes", "retained", "delta")
GROWTH_CSV = ("type", "objects_delta", "bytes_delta", "holders")


class LeakAnalyze(Command):
    """Analyse a heap dump: suspects, retained sizes, trash, cycles; or what grew since another dump."""

    name = "leak-analyze"
    has_csv = True
    arguments = (FILE,)
    own_options = (
        Option("--baseline", "an earlier dump of the same process, to compare with", str, "FILE"),
        LIMIT,
        Option("--type", "this type alone, as leak-gc names it, or its class name", str, "TYPE"),
    )
    examples = (
        ("cubicweb-ctl leak-analyze web-1.dump", "what retains most, and what holds it"),
        ("cubicweb-ctl leak-analyze later.dump --baseline earlier.dump", "what grew in between, and where it is held"),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Return the analysis."""
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from cubicweb_leakwatch.heap.analyze import analyze

        return analyze(asked.file, baseline=asked.baseline, limit=asked.limit, only=asked.type)

    def table(self, data: dict[str, Any], asked: Namespace) -> Table:
        """Return the types; with a baseline, those that grew."""
        return Table(GROWTH_CSV, data["growth"]) if "growth" in data else Table(TYPES_CSV, data["types"])

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return the suspects first, then what they rest on."""
        yield from _head(data, screen)
        if "growth" in data:
            yield from _growth(data["growth"], screen)
        yield from _suspects(data["suspects"], screen)
        yield ""
        yield screen.style("types", "bold")
        yield from render(TYPES, [_type_row(item) for item in data["types"]], screen)
        yield from _trash(data["unreachable"], screen)
        finalized = [cycle for cycle in data["cycles"] if cycle["finalizers"]]
        if finalized:
            yield ""
            yield screen.style("cycles with finalizers (__del__)", "bold")
            for cycle in finalized:
                yield from cycle_lines(cycle, screen)


def _head(data: dict[str, Any], screen: Screen) -> Iterator[str]:
    dump = data["dump"]
    process = dump.get("process") or {}
    who = f"{process.get('name', 'a process')} (pid {process.get('pid', 'n/a')})"
    yield screen.style(f"{clean(who)} at {clean(dump.get('taken_at', 'n/a'))}", "bold")
    yield f"{data['objects']:,} objects, {format_bytes(data['bytes'])}"


def _growth(items: list[dict[str, Any]], screen: Screen) -> Iterator[str]:
    yield ""
    yield screen.style("what grew since the baseline", "bold")
    if not items:
        yield "nothing"
        return
    rows = [[i["type"], f"{i['objects_delta']:+,}", f"{i['bytes_delta'] / MIB:+.2f}"] for i in items]
    yield from render(GROWTH, rows, screen)
    for item in items:
        for holder in item["holders"]:
            yield from wrapped("  ", f"{holder['count']:+,} {clean(item['type'])} in {clean(holder['text'])}", screen)


def _suspects(items: list[dict[str, Any]], screen: Screen) -> Iterator[str]:
    yield ""
    yield screen.style("suspects", "bold")
    if not items:
        yield "none: nothing accumulates"
    for item in items:
        share = f"{item['share']:.1%} of the heap, {format_bytes(item['retained'])}"
        yield f"  {screen.style(clean(item['type']), 'bold', 'yellow')}"
        yield from wrapped("    retains:     ", share, screen)
        yield from wrapped("    held by:     ", clean(item["holder"]), screen)
        piled = ", ".join(f"{clean(each['type'])} × {each['count']:,}" for each in item["accumulates"])
        yield from wrapped("    accumulates: ", piled, screen)
        known = item.get("known")
        if known:
            yield from wrapped("    known:       ", clean(known["sentence"]), screen)


def _type_row(item: dict[str, Any]) -> list[object]:
    delta, retained = item.get("delta"), item.get("retained")
    return [
        item["type"],
        f"{item['count']:,}",
        f"{item['bytes'] / MIB:.2f}",
        None if retained is None else f"{retained / MIB:.2f}",
        None if delta is None else f"{delta:+,}",
    ]


def _trash(values: dict[str, Any], screen: Screen) -> Iterator[str]:
    yield ""
    yield screen.style("trash that waits for the collector", "bold")
    most = ", ".join(f"{clean(item['type'])} × {item['count']:,}" for item in values["types"][:5])
    yield from wrapped(
        "  ", f"{values['objects']:,} objects, {format_bytes(values['bytes'])}: {most or 'none'}", screen
    )
