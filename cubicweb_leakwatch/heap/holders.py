"""Who keeps objects of a type alive: chains to a root, grouped by the path that they share."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.heap.graph import HeapGraph, Ints, read_graph
from cubicweb_leakwatch.heap.known import fingerprint, known_retention
from cubicweb_leakwatch.heap.reach import AT_EXIT, OURSELVES, THREAD, TRASH, UNEXPLAINED, Reach, reach
from cubicweb_leakwatch.heap.words import Link, Sentence, links, path_of, short_name
from cubicweb_leakwatch.plain_text import clean

EXAMINED = 1000
NOBODY = "nothing in Python holds it"


@dataclass(frozen=True)
class Group:
    """Objects held the same way: how many of those examined, the words, and a chain as an example."""

    text: str
    count: int
    example: list[Link]


def find_types(graph: HeapGraph, name: str) -> list[bool]:
    """Return which types are meant by a full name, as it is or as it is shown, or by a class name alone.

    Raises LeakwatchError when none is.
    """
    for known in (str, clean, _class_name):
        meant = [known(info.name) == name for info in graph.types]
        if any(meant):
            return meant
    raise LeakwatchError(f"no object of type {name} is in this heap", "leak-gc lists the types", "unknown-type")


def _class_name(name: str) -> str:
    return name.rpartition(".")[2]


def group_by_holder(graph: HeapGraph, found: Reach, rows: Ints, *, examined: int = EXAMINED) -> list[Group]:
    """Group an evenly spread sample of ``rows`` by the words for their shortest chain.

    The largest group comes first, and those that are known to be harmless after all others.
    """
    sentence = Sentence(graph, found)
    texts: dict[str, list[list[Link]]] = defaultdict(list)
    for row in sample(rows, examined).tolist():
        chain = links(graph, found.chain(row))
        texts[_words(sentence, found, row, chain)].append(chain)
    groups = [Group(text, len(chains), min(chains, key=len)) for text, chains in texts.items()]
    return sorted(groups, key=lambda group: (_is_harmless(group.text), -group.count, group.text))


def _is_harmless(text: str) -> bool:
    known = known_retention(text)
    return known is not None and known.harmless


def holder_groups(graph: HeapGraph, found: Reach, name: str, *, examined: int = EXAMINED) -> list[Group]:
    """Group the objects of a type by holder. Raises LeakwatchError for a type that is not there."""
    rows = np.nonzero(graph.of_types(find_types(graph, name)))[0].astype(np.int32)
    return group_by_holder(graph, found, rows, examined=examined)


def sample(rows: Ints, examined: int) -> Ints:
    """Return at most about ``examined`` of the rows, evenly spread."""
    return rows[:: max(1, -(-len(rows) // examined))]


def _words(sentence: Sentence, found: Reach, row: int, chain: list[Link]) -> str:
    if found.stage[row] == TRASH:
        return f"{NOBODY}: it waits for the collector"
    if found.stage[row] == UNEXPLAINED and len(chain) == 1:
        return f"{NOBODY}: its reference count is too high (C code)"
    return sentence.text(chain)


def holders_report(
    path: str, name: str, *, limit: int = 20, depth: int = 40, examined: int = EXAMINED
) -> dict[str, Any]:
    """Return ``leak-holders``' data for the objects of one type in a dump.

    ``limit`` bounds the groups, ``depth`` the links of a chain that are shown, ``examined`` the objects whose chain is
    looked for. Raises DumpUnreadable, or LeakwatchError for a type that is not there.
    """
    graph = read_graph(path)
    found = reach(graph)
    groups = holder_groups(graph, found, name, examined=examined)
    total = sum(group.count for group in groups)
    return {
        "type": name,
        "instances": int(graph.of_types(find_types(graph, name)).sum()),
        "examined": total,
        "groups": [_describe(graph, found, group, total, depth, name) for group in groups[:limit]],
    }


def _describe(graph: HeapGraph, found: Reach, group: Group, total: int, depth: int, name: str) -> dict[str, Any]:
    chain = group.example
    shown = chain if len(chain) <= depth else [*chain[: depth // 2], *chain[-(depth - depth // 2) :]]
    known = known_retention(group.text)
    return {
        "count": group.count,
        "share": round(group.count / total, 4),
        "root": root_name(graph, found, chain[0].row),
        "path": [root_name(graph, found, chain[0].row), *path_of(graph, shown)[1:]],
        "text": group.text,
        "source": _source(graph, chain),
        "fingerprint": fingerprint(name, group.text),
        "known": known.as_json() if known else None,
    }


def root_name(graph: HeapGraph, found: Reach, row: int) -> str:
    """Name a root for a path: ``module x``, ``thread x``, or what kind of thing holds on to the chain."""
    name = found.names.get(row)
    stage = int(found.stage[row])
    if name:
        return name if name.startswith(("module ", "thread ", AT_EXIT)) else f"thread {name}"
    if stage in (THREAD, OURSELVES):
        return "thread" if stage == THREAD else "leakwatch itself"
    return "nobody" if stage == TRASH else f"C code or a running frame ({short_name(graph, row)})"


def _source(graph: HeapGraph, chain: list[Link]) -> str | None:
    """Return ``file:line`` of the last frame or function on the chain."""
    for link in reversed(chain[:-1]):
        if link.row in graph.frames:
            code_row, line = graph.frames[link.row]
            code = graph.codes.get(code_row)
            return f"{code.file}:{line}" if code else None
        code = next((graph.codes[row] for row in graph.references(link.row).tolist() if row in graph.codes), None)
        if code and graph.type_name(link.row) == "builtins.function":
            return f"{code.file}:{code.line}"
    return None
