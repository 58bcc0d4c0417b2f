"""Chains to a root as a graph in Graphviz's language, for ``dot`` and its kin."""

import itertools
from collections.abc import Iterator
from typing import Any

from cubicweb_leakwatch.plain_text import clean

MAX_NODES = 200
"""Beyond this no picture can be read."""


def holders_graph(report: dict[str, Any]) -> str:
    """Return the groups of ``leak-holders`` as one graph, the type at the bottom; each group is a chain."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield "digraph holders {"
    yield '  rankdir=TB; node [shape=box, fontname="monospace", fontsize=10];'
    target = f"{report['type']}\n{report['instances']:,} instances"
    yield f"  target [label={quoted(target)}, style=bold];"
    nodes = 1
    for number, group in enumerate(report["groups"]):
        if nodes + len(group["path"]) > MAX_NODES:
            break
        nodes += len(group["path"])
        yield from _chain(number, group)
    yield "}"


def _chain(number: int, group: dict[str, Any]) -> Iterator[str]:
    names = [f"g{number}n{index}" for index in range(len(group["path"]))]
    for node, step in zip(names, group["path"], strict=True):
        yield f"  {node} [label={quoted(step)}];"
    for before, after in itertools.pairwise(names):
        yield f"  {before} -> {after};"
    count = f"{group['count']:,}"
    yield f"  {names[-1]} -> target [label={quoted(count)}];"


def quoted(text: object) -> str:
    """Return a text as a quoted string of the language; line feeds of ours stay, what is hostile becomes visible."""
    lines = (clean(line, 300).replace("\\", "\\\\").replace('"', '\\"') for line in str(text).split("\n"))
    return '"' + "\\n".join(lines) + '"'
