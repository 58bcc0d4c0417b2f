"""Suspects: where objects pile up, the largest pile first.

A *pile* is: many objects of one type that one object dominates (a cache's dictionary and its entries). It is
named by the program's own type found in it, not by the lists and dictionaries that the entries are made of. Objects
that nothing in Python holds make a pile of their own. What every program has (code, functions, classes of modules) is
none.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cubicweb_leakwatch.heap.dominators import NOT_REACHED, TOP, Dominators
from cubicweb_leakwatch.heap.graph import Bools, HeapGraph, Ints
from cubicweb_leakwatch.heap.holders import NOBODY, group_by_holder, sample
from cubicweb_leakwatch.heap.known import fingerprint, known_retention, without_indices
from cubicweb_leakwatch.heap.reach import UNEXPLAINED, Reach
from cubicweb_leakwatch.heap.typestats import merge_names
from cubicweb_leakwatch.heap.words import Sentence, is_module, is_module_type, links

_FEWEST = 8
_DEEPEST = 6
_EXAMINED = 100
_BASELINE = {
    "builtins.code",
    "builtins.function",
    "builtins.module",
    "builtins.builtin_function_or_method",
    "builtins.method_descriptor",
    "builtins.wrapper_descriptor",
    "builtins.getset_descriptor",
    "builtins.member_descriptor",
    "builtins.classmethod_descriptor",
    "builtins.property",
    "builtins.cell",
    "builtins.staticmethod",
    "builtins.classmethod",
    "_abc._abc_data",
    "types.GenericAlias",
    "_frozen_importlib.ModuleSpec",
}
# what the interpreter holds in ways it shows nobody: interned text, small numbers, its own types and functions
_HELD_BY_THE_INTERPRETER = {
    f"builtins.{name}"
    for name in ("str", "int", "float", "bytes", "bool", "type", "NoneType", "moduledef", "frame", "object", "module")
}
_HELD_HERE_AND_THERE = _BASELINE | {f"builtins.{name}" for name in ("tuple", "list", "dict", "set", "method")}
_SURELY_LEAKED = 100  # the interpreter and the extensions of a large program hold some dozen of these
_SURELY_LEAKED_TUPLES = 500  # and Python 3.12 some 400 of its static classes
_WEAK = "weakref.ReferenceType"
# what carries the program's own objects: named only where nothing of its own is found inside
_CARRIERS = {
    *(_WEAK, "weakref.KeyedRef", "weakref.WeakMethod", "weakref.finalize._Info", "functools.partial"),
    *("_contextvars.Context", "collections.deque", "collections.OrderedDict", "collections.defaultdict"),
    *("functools._lru_list_elem", "types.MappingProxyType", "types.SimpleNamespace"),
}
_SCATTERED_TYPES = 20
_SPARE = 10  # piles that may turn out to be one


@dataclass(frozen=True)
class Pile:
    """Objects of one type under one dominator (TOP: under none): their rows, and the bytes they retain together."""

    holder: int
    rows: Ints
    retained: int
    objects: int


def find_suspects(graph: HeapGraph, found: Reach, tree: Dominators, *, limit: int = 20) -> list[dict[str, Any]]:
    """Return ``leak-analyze``'s suspects, the most retained bytes first, and known harmless ones after the others."""
    total = int(tree.retained[tree.above == TOP].sum()) or 1
    sentence = Sentence(graph, found)
    chosen: list[Pile] = []
    for pile in _piles(graph, found, tree, 20 * limit):
        if len(chosen) < limit + _SPARE and not any(_same(graph, tree, pile, other) for other in chosen):
            chosen.append(pile)
    chosen += _scattered(graph, found, tree, chosen)
    return _merged([_describe(graph, found, tree, pile, sentence, total) for pile in chosen])[:limit]


def _scattered(graph: HeapGraph, found: Reach, tree: Dominators, chosen: list[Pile]) -> list[Pile]:
    """Return the program's types that retain much but pile up nowhere: links of a chain, objects with a holder each."""
    covered = np.zeros(len(tree.above), bool)
    for pile in chosen:
        covered[tree.below(pile.rows)] = True
    keep = _candidates(graph, found, tree) & (tree.above != TOP) & ~covered
    type_of = _first_of_name(graph)[graph.type_of]
    numbers = np.bincount(type_of[keep], minlength=len(graph.types))
    scattered = []
    for number in np.argsort(-numbers)[:_SCATTERED_TYPES].tolist():
        name = graph.types[number].name
        if numbers[number] >= _FEWEST and not name.startswith("builtins.") and "weakref" not in name:
            rows = np.nonzero(keep & (type_of == number))[0].astype(np.int32)
            rows = outermost(tree, rows)
            scattered.append(Pile(int(tree.above[rows[0]]), rows, int(tree.retained[rows].sum()), int(numbers[number])))
    return scattered


def outermost(tree: Dominators, rows: Ints) -> Ints:
    """Return those of the rows that none of the others dominates."""
    rows = rows[np.argsort(tree.first[rows])]
    ends = np.maximum.accumulate(tree.last[rows])
    free = np.ones(len(rows), bool)
    free[1:] = tree.first[rows][1:] >= ends[:-1]
    return rows[free]


def _merged(suspects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make one of the piles with the same type and holder: those of several threads, or of a class's instances."""
    found: dict[str, dict[str, Any]] = {}
    for suspect in suspects:
        first = found.setdefault(suspect["fingerprint"], suspect)
        if first is not suspect:
            first["holder"] = without_indices(first["holder"])
            for key in ("objects", "retained", "share"):
                first[key] = round(first[key] + suspect[key], 4)
    return sorted(found.values(), key=lambda suspect: (_is_harmless(suspect), -suspect["retained"]))


def _is_harmless(suspect: dict[str, Any]) -> bool:
    return bool(suspect["known"] and suspect["known"]["harmless"])


def _piles(graph: HeapGraph, found: Reach, tree: Dominators, limit: int) -> list[Pile]:
    """Group the rows by dominator and type, and return the groups that retain most."""
    rows = np.nonzero(_candidates(graph, found, tree))[0].astype(np.int32)
    keys = (tree.above[rows].astype(np.int64) + 1) * len(graph.types) + _first_of_name(graph)[graph.type_of[rows]]
    order = np.argsort(keys, kind="stable")
    rows, keys = rows[order], keys[order]
    starts = np.nonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))[0] if len(keys) else np.zeros(0, np.int64)
    counts = np.diff(np.append(starts, len(keys)))
    retained = np.add.reduceat(tree.retained[rows], starts) if len(starts) else np.zeros(0, np.int64)
    large = np.nonzero(counts >= _FEWEST)[0]
    best = large[np.argsort(-retained[large], kind="stable")][:limit]
    return [
        Pile(
            int(tree.above[rows[starts[n]]]), rows[starts[n] : starts[n] + counts[n]], int(retained[n]), int(counts[n])
        )
        for n in best.tolist()
    ]


def _first_of_name(graph: HeapGraph) -> Ints:
    """Return for every type the first that bears its name: classes made on the fly are one type to a reader."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(info.name, number) for number, info in enumerate(graph.types)], np.int32)


def _candidates(graph: HeapGraph, found: Reach, tree: Dominators) -> Bools:
    """Return the rows that can be part of a pile: not what every program has; under the top, what nothing holds."""
    keep = ~graph.of_types([info.name in _BASELINE for info in graph.types])
    keep &= (tree.above != NOT_REACHED) & (tree.above != TOP) & ~_names_of_modules(graph, tree)
    subclasses = graph.of_types([info.name == _WEAK for info in graph.types]) & alone(found)[tree.above]
    keep &= ~subclasses  # the interpreter's lists of each class's subclasses
    modules = np.array([is_module_type(info) for info in graph.types])[graph.type_of]
    keep &= ~(graph.of_types([info.name == "builtins.type" for info in graph.types]) & modules[tree.above])
    rows: Bools = keep | (over_referenced(graph, found) & (tree.above == TOP))
    return rows


def alone(found: Reach) -> Bools:
    """Return the rows that nothing recorded leads to."""
    rows: Bools = (found.stage == UNEXPLAINED) & (found.parent < 0)
    return rows


def over_referenced(graph: HeapGraph, found: Reach) -> Bools:
    """Return the rows with more references than the heap explains, less what the interpreter itself holds so."""
    own = [info.name not in _HELD_BY_THE_INTERPRETER and "builtins.type" not in info.bases for info in graph.types]
    keep = (graph.excess > 0) & graph.of_types(own)
    keep[graph.count] = False
    weak = graph.of_types([info.name == _WEAK for info in graph.types])
    for row in np.nonzero(keep & graph.of_types([info.name == "builtins.dict" for info in graph.types]))[0].tolist():
        first = graph.references(row)[:1]
        keep[row] = (
            len(first) > 0 and not weak[first[0]]
        )  # a class's list of subclasses is a dictionary of weak references
    common = graph.of_types([info.name in _HELD_HERE_AND_THERE for info in graph.types])
    keep &= alone(found) | ~common
    counts = np.bincount(graph.type_of[keep], minlength=len(graph.types))
    fewest = [_SURELY_LEAKED_TUPLES if info.name == "builtins.tuple" else _SURELY_LEAKED for info in graph.types]
    result: Bools = keep & (~common | (counts >= np.array(fewest))[graph.type_of])
    return result


def _names_of_modules(graph: HeapGraph, tree: Dominators) -> Bools:
    """Return the rows that a module's own dictionary dominates: the names of the module are no pile."""
    holders = np.zeros(graph.count + 1, bool)
    for address_row in graph.rows([address for _, address in graph.roots["modules"]]).tolist():
        for row in graph.references(address_row).tolist() if is_module(graph, address_row) else ():
            holders[row] = True
    inside: Bools = holders[np.maximum(tree.above, 0)] & (tree.above >= 0)
    return inside


def _same(graph: HeapGraph, tree: Dominators, pile: Pile, other: Pile) -> bool:
    """Tell whether a pile is a part of another: inside its objects, or their keys in the same mapping."""
    if pile.holder == other.holder and graph.type_name(int(pile.rows[0])).startswith("builtins."):
        return pile.holder != TOP
    return _within(tree, pile, other)


def _within(tree: Dominators, pile: Pile, other: Pile) -> bool:
    first = tree.first[pile.rows[:50]]
    begins, ends = tree.first[other.rows], tree.last[other.rows]
    order = np.argsort(begins)
    place = np.searchsorted(begins[order], first, side="right") - 1
    inside = (place >= 0) & (first < ends[order][np.maximum(place, 0)])
    return bool(inside.mean() > 0.5)


def _describe(
    graph: HeapGraph, found: Reach, tree: Dominators, pile: Pile, sentence: Sentence, total: int
) -> dict[str, Any]:
    inside = tree.below(pile.rows)
    accumulates = _accumulated(graph, inside)
    name = _owner_type(graph, tree, pile, inside)
    holder = _holder_text(graph, found, sentence, pile)
    known = known_retention(holder)
    return {
        "type": name,
        "objects": pile.objects,
        "retained": pile.retained,
        "share": round(pile.retained / total, 4),
        "holder": holder,
        "accumulates": accumulates[:8],
        "fingerprint": fingerprint(name, holder),
        "known": known.as_json() if known else None,
    }


def _accumulated(graph: HeapGraph, inside: Ints) -> list[dict[str, Any]]:
    counts = np.bincount(graph.type_of[inside], minlength=len(graph.types))
    sizes = np.bincount(graph.type_of[inside], weights=graph.size[inside], minlength=len(graph.types))
    merged = merge_names(graph, counts, sizes.astype(np.int64))
    rows = [{"type": name, "count": count, "bytes": size} for name, (count, size) in merged.items() if count]
    return sorted(rows, key=lambda row: -row["bytes"])


def _owner_type(graph: HeapGraph, tree: Dominators, pile: Pile, members: Ints) -> str:
    """Return the pile's type, or, where that is a container of the interpreter, the program's type nearest below it."""
    rows, carrier = pile.rows, None
    for _ in range(_DEEPEST):
        own = _program_type(graph, tree, rows, len(pile.rows) // 2)
        if own is not None and own not in _CARRIERS:
            return own
        carrier = carrier or own
        holders = np.zeros(len(tree.above), bool)
        holders[rows] = True
        rows = members[(tree.above[members] >= 0) & holders[tree.above[members]]]
    return carrier or graph.type_name(int(pile.rows[0]))


def _program_type(graph: HeapGraph, tree: Dominators, rows: Ints, fewest: int) -> str | None:
    """Return the type among these rows, not the interpreter's, that retains most; None without one that is frequent."""
    counts = np.bincount(graph.type_of[rows], minlength=len(graph.types))
    sizes = np.bincount(graph.type_of[rows], weights=tree.retained[rows], minlength=len(graph.types))
    merged = merge_names(graph, counts, sizes.astype(np.int64))
    own = {
        name: size
        for name, (count, size) in merged.items()
        if count >= max(1, fewest) and name not in _BASELINE and not name.startswith("builtins.")
    }
    return max(own, key=lambda name: own[name]) if own else None


def _holder_text(graph: HeapGraph, found: Reach, sentence: Sentence, pile: Pile) -> str:
    if pile.holder == TOP:
        return f"{NOBODY}: its reference count is too high (C code)"
    rows = sample(pile.rows, _EXAMINED)
    if (found.parent[rows] != pile.holder).mean() > 0.5:  # the dominator is further up, and its name would say little
        return group_by_holder(graph, found, rows)[0].text
    return sentence.text(links(graph, found.chain(pile.holder)))
