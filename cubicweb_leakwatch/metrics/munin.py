"""The figures as a Munin plugin tells them: several graphs (``multigraph``), their definitions and their values.

Sources: Munin's guide, "plugin reference", "multigraph plugins" and "protocol: dirtyconfig".
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cubicweb_leakwatch.metrics.gather import Figures
from cubicweb_leakwatch.metrics.series import by_slot
from cubicweb_leakwatch.metrics.text import number

UNKNOWN = "U"
WARN_SHARE = 0.9
"""Share of its memory limit from which a process is drawn as a warning."""

Rows = list[Mapping[str, Any]]


@dataclass(frozen=True)
class Field:
    """One line of a graph; ``limits`` are the values from which Munin warns and from which it alarms."""

    name: str
    label: str
    value: float | None
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Graph:
    """One graph: ``counts`` means that its values only rise and their rate is drawn."""

    name: str
    title: str
    axis: str
    info: str
    fields: Callable[[Figures, Rows], Iterator[Field]]
    base: int = 1000
    counts: bool = False


def _of(key: str) -> Callable[[Figures, Rows], Iterator[Field]]:
    def fields(_figures: Figures, rows: Rows) -> Iterator[Field]:
        for row in rows:
            yield Field(field_name(row["name"]), row["name"], row.get(key))

    return fields


def _memory(_figures: Figures, rows: Rows) -> Iterator[Field]:
    for row in rows:
        limit = row.get("limit")
        limits = (round(WARN_SHARE * limit), limit) if limit else None
        yield Field(field_name(row["name"]), row["name"], row.get("uss"), limits)


def _restarts(figures: Figures, _rows: Rows) -> Iterator[Field]:
    known = (figures.launcher or {}).get("restarts") or {}
    for outcome in ("replaced", "successor-failed", "drain-timeout"):
        told = sum(outcomes.get(outcome, 0) for outcomes in known.values())
        yield Field(field_name(outcome), outcome, told if figures.launcher else None)


def _leaks(figures: Figures, rows: Rows) -> Iterator[Field]:
    for row in rows:
        finding = (figures.findings or {}).get(row["name"])
        leak = int(bool(finding["leak"])) if finding else None
        yield Field(field_name(row["name"]), row["name"], leak, (0.5, 1.5))


GRAPHS = (
    Graph("memory", "private memory", "bytes", "What would come back if the process ended.", _memory, base=1024),
    Graph("leaking", "leaks", "1: it leaks", "What leakwatch concluded last.", _leaks),
    Graph("objects", "garbage-collected objects", "objects", "Objects that the collector tracks.", _of("gc_objects")),
    Graph("garbage", "gc.garbage", "objects", "Objects that nobody will free.", _of("garbage")),
    Graph("requests", "requests", "requests / ${graph_period}", "Requests served.", _of("requests"), counts=True),
    Graph(
        "restarts", "restarts", "restarts / ${graph_period}", "Replaced workers, by outcome.", _restarts, counts=True
    ),
    Graph("fds", "open file descriptors", "descriptors", "Open file descriptors.", _of("fds")),
    Graph("threads", "threads", "threads", "Threads.", _of("threads")),
)


def config(figures: Figures, *, with_values: bool = False) -> str:
    """Return the definitions of the graphs; ``with_values`` adds the values, for a node that asks once for both."""
    return _text(_definitions(figures, with_values))


def values(figures: Figures) -> str:
    """Return the values of all graphs."""
    return _text(_values(figures))


def field_name(text: str) -> str:
    """Return a name as Munin's data files bear it."""
    return re.sub(r"^[^A-Za-z_]|[^A-Za-z0-9_]", "_", text)


def _text(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _definitions(figures: Figures, with_values: bool) -> Iterator[str]:
    rows = by_slot(figures.processes)
    for graph in GRAPHS:
        yield f"multigraph {graph_name(figures, graph)}"
        yield f"graph_title {one_line(figures.site)}: {graph.title}"
        yield f"graph_args --base {graph.base} --lower-limit 0"
        yield f"graph_vlabel {graph.axis}"
        yield "graph_category cubicweb"
        yield f"graph_info {graph.info}"
        for field in graph.fields(figures, rows):
            yield f"{field.name}.label {one_line(field.label)}"
            if graph.counts:
                yield f"{field.name}.type DERIVE"
                yield f"{field.name}.min 0"
            if field.limits is not None:
                yield f"{field.name}.warning {number(field.limits[0])}"
                yield f"{field.name}.critical {number(field.limits[1])}"
            if with_values:
                yield _value(field)
        yield ""


def _values(figures: Figures) -> Iterator[str]:
    rows = by_slot(figures.processes)
    for graph in GRAPHS:
        yield f"multigraph {graph_name(figures, graph)}"
        yield from map(_value, graph.fields(figures, rows))
        yield ""


def _value(field: Field) -> str:
    return f"{field.name}.value {UNKNOWN if field.value is None else number(field.value)}"


def graph_name(figures: Figures, graph: Graph) -> str:
    """Return a name that no other instance's graphs on this node have."""
    return f"leakwatch_{field_name(figures.site)}_{graph.name}"


def one_line(text: str) -> str:
    """Return text that stays in its line, and in its word where Munin reads ``#`` as a comment's begin."""
    return " ".join(text.replace("#", "_").split())
