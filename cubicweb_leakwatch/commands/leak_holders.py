"""``leak-holders``: who keeps objects of a type alive."""

import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cubicweb_leakwatch import live
from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.leak_dump import check_writable, the_one
from cubicweb_leakwatch.commands.options import INSTANCE, LIMIT, Argument, Option, count, named
from cubicweb_leakwatch.commands.running import explained
from cubicweb_leakwatch.commands.terminal import Screen, say, wrapped
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.probe.client import choose

TYPE = Argument("type", "TYPE", "the type, as leak-gc names it (mercurial.url.httphandler), or its class name alone")

CSV_COLUMNS = ("type", "count", "share", "root", "text", "path", "source")


class LeakHolders(Command):
    """Say who keeps objects of a type alive: chains to a root, grouped by the path that they share."""

    name = "leak-holders"
    has_csv = True
    arguments = (INSTANCE, TYPE)
    own_options = (
        Option("--process", "the process to look into, by its slot (web-1, scheduler) or its pid", named, "P"),
        Option("--depth", "links of a chain that are shown", count, "N", default=40),
        Option("--examples", "objects whose chain is looked for, evenly spread over all", count, "N", default=1000),
        LIMIT,
        Option("--dot", "write the chains as a graph for Graphviz to FILE as well", Path, "FILE"),
    )
    examples = (
        ("cubicweb-ctl leak-holders mysite mercurial.url.httphandler --process scheduler", "who keeps the handlers?"),
        ("cubicweb-ctl leak-holders mysite Connection --process web-1 --dot c.dot", "and as a graph, for dot -Tsvg"),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Return the groups of one process."""
        instance = self.instance(asked)
        check_writable(asked.dot, force=True)
        with explained(instance):
            address = the_one(choose(instance.runtime_dir, asked.process))
        if sys.stderr.isatty():
            say(f"looking into {address.name} (pid {address.pid})…", sys.stderr)
        with live.taken_dump(address) as dump:
            report = self._report(dump["path"], asked)
            if asked.dot:
                draw(dump["path"], asked)
        report["process"] = {"name": address.name, "pid": address.pid}
        return report

    def _report(self, path: str, asked: Namespace) -> dict[str, Any]:
        from cubicweb_leakwatch.heap.holders import holders_report

        return holders_report(path, asked.type, limit=asked.limit, depth=asked.depth, examined=asked.examples)

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return each group: how many, what holds them, the chain."""
        head = f"{data['instances']:,} × {clean(data['type'])} in {clean(data['process']['name'])}"
        examined = "" if data["examined"] >= data["instances"] else f", {data['examined']:,} of them examined"
        yield screen.style(head + examined, "bold")
        for group in data["groups"]:
            yield ""
            yield from group_lines(group, screen)

    def table(self, data: dict[str, Any], asked: Namespace) -> Table:
        """Return the groups."""
        return Table(CSV_COLUMNS, [{**group, "type": data["type"]} for group in data["groups"]])

    def next_step(self, data: dict[str, Any], asked: Namespace) -> str:
        """Lead to the retained sizes."""
        return f"cubicweb-ctl leak-dump {asked.instance} --process {data['process']['name']}, then leak-analyze FILE"


def group_lines(group: dict[str, Any], screen: Screen) -> Iterator[str]:
    """Return one group of objects that are held the same way."""
    share = screen.style(f"{group['share']:>6.1%}", "bold", "yellow")
    yield f"{share}  {group['count']:,} held by {clean(group['text'])}"
    yield from wrapped("        chain: ", " → ".join(clean(step) for step in group["path"]), screen)
    if group.get("source"):
        yield f"        source: {clean(group['source'])}"
    known = group.get("known")
    if known:
        told = f"{known['sentence']} ({'harmless' if known['harmless'] else known['reference']})"
        yield from wrapped("        known: ", clean(told), screen)


def draw(path: str, asked: Namespace) -> None:
    """Write the chains of a dump as dot text. Raises ``LeakwatchError`` when the file cannot be written."""
    from cubicweb_leakwatch.heap.dot import dot_text
    from cubicweb_leakwatch.heap.graph import read_graph
    from cubicweb_leakwatch.heap.holders import holder_groups
    from cubicweb_leakwatch.heap.reach import reach

    graph = read_graph(path)
    found = reach(graph)
    groups = holder_groups(graph, found, asked.type, examined=asked.examples)[: asked.limit]
    try:
        asked.dot.write_text(dot_text(graph, found, groups), encoding="utf-8")
    except OSError as error:
        raise LeakwatchError(f"cannot write {asked.dot}: {error.strerror}", code="file") from error
