"""Draw chains of references as dot text, from a dump alone."""

from itertools import pairwise

from cubicweb_leakwatch.heap.graph import HeapGraph
from cubicweb_leakwatch.heap.holders import Group, root_name
from cubicweb_leakwatch.heap.reach import Reach
from cubicweb_leakwatch.heap.words import short_name
from cubicweb_leakwatch.plain_text import clean

MOST_NODES = 200
_LONGEST_LINE = 200
_FEW_CHAINS = 3
"""So many stand side by side, each from top to bottom; more lie one above the other."""

_STYLE = (
    "  ranksep=0.25; nodesep=0.15;",
    '  node [shape=box, fontname="sans", fontsize=9, margin="0.08,0.04", height=0.3];',
    '  edge [fontname="sans", fontsize=8, arrowsize=0.6];',
)
"""Small: what holds an object is to be seen without scrolling."""

_BREAK = "\0"  # where a label of ours has a new line; what the program named may hold any character but is cleaned


def dot_text(graph: HeapGraph, found: Reach, groups: list[Group]) -> str:
    """Return a digraph of each group's example chain; chains that share objects share the nodes, 200 at most."""
    nodes: dict[int, str] = {}
    edges: dict[tuple[int, int], str] = {}
    for group in groups:
        chain = group.example
        if len(nodes) + len(chain) > MOST_NODES:
            break
        nodes.setdefault(chain[0].row, root_name(graph, found, chain[0].row))
        for before, link in pairwise(chain):
            nodes.setdefault(link.row, short_name(graph, link.row))
            edges[before.row, link.row] = link.label
        nodes[chain[-1].row] += f"{_BREAK}{group.count} held like this"
    lines = [f"  n{row} [label={_quoted(label)}];" for row, label in nodes.items()]
    lines += [f"  n{source} -> n{target} [label={_quoted(label)}];" for (source, target), label in edges.items()]
    direction = "TB" if len(groups) <= _FEW_CHAINS else "LR"
    return "\n".join(["digraph holders {", f"  rankdir={direction};", *_STYLE, *lines, "}", ""])


def _quoted(label: str) -> str:
    """Quote a label whose lines may hold anything: control and direction characters become visible escapes."""
    lines = [clean(line, _LONGEST_LINE).replace("\\", "\\\\").replace('"', '\\"') for line in label.split(_BREAK)]
    return '"' + "\\n".join(lines) + '"'
