"""What retains most: single objects, and modules with all that their names lead to alone."""

from typing import Any

import numpy as np

from cubicweb_leakwatch.heap.dominators import NOT_REACHED, TOP, Dominators
from cubicweb_leakwatch.heap.graph import HeapGraph
from cubicweb_leakwatch.heap.reach import Reach
from cubicweb_leakwatch.heap.words import Sentence, is_module, links


def largest_objects(graph: HeapGraph, found: Reach, tree: Dominators, limit: int) -> list[dict[str, Any]]:
    """Return the objects that retain most bytes: ``{"type", "retained", "share", "holder"}``; modules are left out.

    Of a chain of objects in which each retains little more than the next, only the outermost is told.
    """
    total = int(tree.retained[tree.above == TOP].sum()) or 1
    sentence = Sentence(graph, found)
    rows: list[dict[str, Any]] = []
    candidates = np.argsort(-np.where(tree.above == NOT_REACHED, 0, tree.retained), kind="stable")[: 50 * limit]
    inside: set[int] = set()
    for row in candidates.tolist():
        if len(rows) == limit:
            break
        if row == graph.count or _is_a_modules_own(graph, tree, row):
            continue
        above = int(tree.above[row])
        if above in inside and tree.retained[row] > 0.9 * tree.retained[above]:
            inside.add(row)
            continue
        inside.add(row)
        retained = int(tree.retained[row])
        rows.append(
            {
                "type": graph.type_name(row),
                "retained": retained,
                "share": round(retained / total, 4),
                "holder": sentence.text(links(graph, found.chain(row))),
            }
        )
    return rows


def _is_a_modules_own(graph: HeapGraph, tree: Dominators, row: int) -> bool:
    """Tell whether a row is a module or the dictionary of one."""
    if is_module(graph, row):
        return True
    above = int(tree.above[row])
    return graph.type_name(row) == "builtins.dict" and above >= 0 and is_module(graph, above)


def retained_by_module(graph: HeapGraph, tree: Dominators, limit: int) -> list[dict[str, Any]]:
    """Return ``{"module", "retained"}`` of the modules that retain most: the module and its dictionary together."""
    listed = graph.roots["modules"]
    rows = graph.rows([address for _, address in listed]).tolist()
    found: dict[str, int] = {}
    for (name, _), row in zip(listed, rows, strict=True):
        if row == graph.count or not is_module(graph, row):
            continue
        own = [target for target in graph.references(row).tolist() if graph.type_name(target) == "builtins.dict"][:1]
        outside = sum(int(tree.retained[target]) for target in own if tree.above[target] != row)
        found[name] = max(found.get(name, 0), int(tree.retained[row]) + outside)
    best = sorted(found.items(), key=lambda item: -item[1])[:limit]
    return [{"module": name, "retained": size} for name, size in best]
