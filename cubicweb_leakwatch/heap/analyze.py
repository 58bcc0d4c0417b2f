"""The analysis of one dump, and what changed since another: ``leak-analyze``'s data."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cubicweb_leakwatch.heap.cycles import find_cycles
from cubicweb_leakwatch.heap.dominators import Dominators, dominate
from cubicweb_leakwatch.heap.graph import HeapGraph, Ints, Longs, read_graph
from cubicweb_leakwatch.heap.holders import find_types, group_by_holder
from cubicweb_leakwatch.heap.largest import largest_objects, retained_by_module
from cubicweb_leakwatch.heap.reach import Reach, reach
from cubicweb_leakwatch.heap.shapes import describe_cycles
from cubicweb_leakwatch.heap.suspects import alone, find_suspects, over_referenced
from cubicweb_leakwatch.heap.typestats import merge_names, type_rows, with_growth

_GROWN_TYPES_TRACED = 5


def analyze(path: str, *, baseline: str | None = None, limit: int = 20, only: str | None = None) -> dict[str, Any]:
    """Return the types with retained sizes, the suspects, what is unreachable or held by nobody, the cycles.

    With ``baseline`` (an earlier dump's path) also the growth by type and holder; ``only`` restricts types and growth
    to one type. Raises DumpUnreadable, or LeakwatchError for a type that is not there.
    """
    return analyze_graph(read_graph(path), baseline, limit=limit, only=only)


def analyze_graph(
    graph: HeapGraph, baseline: str | None = None, *, limit: int = 20, only: str | None = None
) -> dict[str, Any]:
    """Do as ``analyze`` with a graph that has been read."""
    found = reach(graph)
    tree = dominate(graph, found)
    types = _types(graph, tree, _names(graph, only))
    report: dict[str, Any] = {
        "dump": {key: value for key, value in graph.header.items() if key not in ("baseline", "byteorder")},
        "objects": graph.count,
        "bytes": int(graph.size.sum()),
        "types": types[:limit],
        "suspects": find_suspects(graph, found, tree, limit=limit),
        "largest": largest_objects(graph, found, tree, limit),
        "modules": retained_by_module(graph, tree, limit),
        "growing": _growing(graph, found, types),
        "unreachable": _unreachable(graph, found, limit),
        "over_referenced": _over_referenced(graph, found, limit),
        "cycles": describe_cycles(graph, found, find_cycles(graph, found))[:limit],
    }
    if baseline is not None:
        report["growth"] = _growth(graph, found, types, read_graph(baseline), limit)
    return report


def _names(graph: HeapGraph, only: str | None) -> set[str] | None:
    """Return the full names of the types that are asked for; None for all."""
    if only is None:
        return None
    return {info.name for info, keep in zip(graph.types, find_types(graph, only), strict=True) if keep}


def _types(graph: HeapGraph, tree: Dominators, wanted: set[str] | None) -> list[dict[str, Any]]:
    rows = with_growth(graph, type_rows(graph))
    retained = merge_names(graph, np.zeros(len(graph.types), np.int64), retained_by_type(graph, tree))
    chosen = [{**row, "retained": retained[row["type"]][1]} for row in rows if wanted is None or row["type"] in wanted]
    return sorted(chosen, key=lambda row: -row["bytes"])


def retained_by_type(graph: HeapGraph, tree: Dominators) -> Longs:
    """Return what the objects of each type retain together; those inside another of their type count once."""
    rows = tree.row_of[: int((tree.first >= 0).sum())]  # in the order of their numbers
    rows = rows[np.argsort(_narrow(graph.type_of[rows]), kind="stable")]
    types, width = graph.type_of[rows].astype(np.int64), np.int64(len(tree.first) + 1)
    types *= width
    ends = np.maximum.accumulate(types + tree.last[rows])
    outermost = np.ones(len(rows), bool)
    outermost[1:] = (types + tree.first[rows])[1:] >= ends[:-1]
    chosen = rows[outermost]
    sums = np.bincount(graph.type_of[chosen], weights=tree.retained[chosen], minlength=len(graph.types))
    return sums.astype(np.int64)


def _narrow(numbers: Ints) -> npt.NDArray[Any]:
    """Return the numbers in 16 bits where they fit: NumPy sorts such in linear time."""
    return numbers.astype(np.uint16) if len(numbers) and int(numbers.max()) < 1 << 16 else numbers


def _unreachable(graph: HeapGraph, found: Reach, limit: int) -> dict[str, Any]:
    trash = found.trash()
    return {
        "objects": int(trash.sum()),
        "bytes": int(graph.size[trash].sum()),
        "types": type_rows(graph, trash)[:limit],
    }


def _over_referenced(graph: HeapGraph, found: Reach, limit: int) -> list[dict[str, Any]]:
    """Count, by type, objects that live by references which nothing in the heap explains: a leak in C code looks so."""
    keep = over_referenced(graph, found) & alone(found)
    return sorted(type_rows(graph, keep), key=lambda row: -row["count"])[:limit]


def _growing(graph: HeapGraph, found: Reach, types: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the holders of the types that grew most since the process's own baseline; none without one."""
    grown = sorted((row for row in types if (row["delta"] or 0) > 0), key=lambda row: -row["delta"])
    chosen = grown[:_GROWN_TYPES_TRACED]
    return [
        {
            "type": row["type"],
            "delta": row["delta"],
            "holders": [
                {"text": text, "count": round(count)} for text, count in _by_holder(graph, found, row["type"]).items()
            ][:10],
        }
        for row in chosen
    ]


def _growth(
    graph: HeapGraph, found: Reach, types: list[dict[str, Any]], before: HeapGraph, limit: int
) -> list[dict[str, Any]]:
    earlier = {row["type"]: row for row in type_rows(before)}
    rows = []
    for row in types:
        was = earlier.get(row["type"], {"count": 0, "bytes": 0})
        rows.append((row["count"] - was["count"], row["bytes"] - was["bytes"], row["type"]))
    grown = sorted((row for row in rows if row[0] > 0 or row[1] > 0), key=lambda row: -row[1])[:limit]
    reach_before = reach(before)
    return [
        {
            "type": name,
            "objects_delta": objects,
            "bytes_delta": size,
            "holders": _grown_holders(graph, found, before, reach_before, name) if n < _GROWN_TYPES_TRACED else [],
        }
        for n, (objects, size, name) in enumerate(grown)
    ]


def _grown_holders(
    graph: HeapGraph, found: Reach, before: HeapGraph, reach_before: Reach, name: str
) -> list[dict[str, Any]]:
    """Return how many more objects of a type each holder has, estimated from a sample of both dumps."""
    now, was = _by_holder(graph, found, name), _by_holder(before, reach_before, name)
    more = {text: round(count - was.get(text, 0.0)) for text, count in now.items()}
    grown = sorted((item for item in more.items() if item[1] > 0), key=lambda item: -item[1])
    return [{"text": text, "count": count} for text, count in grown[:10]]


def _by_holder(graph: HeapGraph, found: Reach, name: str) -> dict[str, float]:
    rows = np.nonzero(graph.of_types([info.name == name for info in graph.types]))[0].astype(np.int32)
    groups = group_by_holder(graph, found, rows)
    examined = sum(group.count for group in groups) or 1
    return {group.text: group.count * len(rows) / examined for group in groups}
