"""What part the objects of a CubicWeb site play: requests, connections, entities and so on.

The rules are names of classes, found in the dump: nothing of CubicWeb is imported, and a dump of a site can be read
on a machine without it.
"""

from collections import Counter
from typing import Any

import numpy as np

from cubicweb_leakwatch.heap.graph import HeapGraph, Ints, TypeInfo

_ENTITY = "cubicweb.entity.Entity"
_CONNECTION = "cubicweb.server.session.Connection"
_BASES = {
    "request": {"cubicweb.req.RequestSessionAndConnectionBase", "cubicweb.req.RequestSessionBase"},
    "rset": {"cubicweb.rset.ResultSet"},
    "rql": {"rql.base.BaseNode"},
    "form": {"cubicweb_web.form.Form", "cubicweb.web.form.Form"},
    "session": {"cubicweb.server.session.Session", "cubicweb.pyramid.core.Session"},
    "hook": {"cubicweb.server.hook.Hook"},
    "operation": {"cubicweb.server.hook.Operation"},
}


def count_roles(graph: HeapGraph) -> dict[str, Any]:
    """Return how many objects play each part; connections by whether they are open, entities by entity type."""
    counts = np.bincount(graph.type_of, minlength=len(graph.types)).tolist()
    found: dict[str, Any] = {
        role: sum(count for count, info in zip(counts, graph.types, strict=True) if _plays(info, role, bases))
        for role, bases in _BASES.items()
    }
    opened, closed = _connections(graph)
    return {**found, "connection_open": opened, "connection_closed": closed, "entity": _entities(graph, counts)}


def _plays(info: TypeInfo, role: str, bases: set[str]) -> bool:
    if role == "request" and _is(info, _CONNECTION):
        return False  # a connection is made like a request, but counted apart
    return info.name in bases or not bases.isdisjoint(info.bases)


def _is(info: TypeInfo, name: str) -> bool:
    return info.name == name or name in info.bases


def _entities(graph: HeapGraph, counts: list[int]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for count, info in zip(counts, graph.types, strict=True):
        if count and _is(info, _ENTITY):
            found[info.registered or info.name.rpartition(".")[2]] += count
    return dict(found)


def _connections(graph: HeapGraph) -> tuple[int, int]:
    rows: Ints = np.nonzero(graph.of_types([_is(info, _CONNECTION) for info in graph.types]))[0].astype(np.int32)
    true = int(graph.rows([graph.roots["singletons"]["True"]])[0])
    opened = sum(attribute(graph, row, "_open") == true for row in rows.tolist())
    return opened, len(rows) - opened


def attribute(graph: HeapGraph, row: int, name: str) -> int | None:
    """Return the row of an instance's attribute, whether it is kept inline or in a dictionary; None without one."""
    names = graph.layouts[graph.layout[row]]
    references = graph.references(row)
    start = int(graph.items[row]) * (2 if graph.kind[row] == 1 else 1)
    if name in names:
        return int(references[start + names.index(name)])
    if "__dict__" in names:
        return _value(graph, int(references[start + names.index("__dict__")]), name)
    return None


def _value(graph: HeapGraph, mapping: int, key: str) -> int | None:
    size = int(graph.items[mapping])
    references = graph.references(mapping).tolist()
    for value, key_row in zip(references[:size], references[size : 2 * size], strict=True):
        if graph.texts.get(key_row) == key:
            return int(value)
    return None
