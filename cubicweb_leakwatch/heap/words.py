"""Say a chain of references in words that a developer can act on."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import dropwhile, pairwise
from pathlib import PurePath

import numpy as np

from cubicweb_leakwatch.heap.graph import HeapGraph, TypeInfo
from cubicweb_leakwatch.heap.reach import AT_EXIT, MODULE, OURSELVES, THREAD, Reach
from cubicweb_leakwatch.heap.reading import BAG, FRAME, MAPPING, SEQUENCE

_MOST_KEYS = 32  # in larger mappings a key is data, and two objects under different keys are held alike
_LONGEST_CHAIN = 40
_LARGE = 5_000
# the interpreter's own tree behind a context's variables
_SCAFFOLDING = {f"builtins.{name}" for name in ("hamt", "hamt_bitmap_node", "hamt_array_node", "hamt_collision_node")}
SUBCLASSES = "the interpreter's lists of subclasses"
_CACHED = " (functools.lru_cache)"


@dataclass(frozen=True)
class Link:
    """One object of a chain and how its predecessor refers to it (empty for the root)."""

    row: int
    label: str


def label_of(graph: HeapGraph, source: int, target: int) -> str:
    """Return how ``source`` refers to ``target``: ``.attr``, ``['key']``, ``[3]``, ``[…]``, ``variable x``, or nothing.

    Where there are several ways, an attribute or a value is named rather than a key.
    """
    labels = [_label_at(graph, source, place) for place in _places(graph, source, target)]
    label = min(labels, key=lambda label: (label == "", label == "{key}"), default="")
    if not label and graph.type_name(source) == "builtins.function" and graph.type_name(target) == "builtins.dict":
        return ".__dict__"  # its other dictionaries have names
    return label


def _places(graph: HeapGraph, source: int, target: int) -> list[int]:
    references = graph.references(source)
    if len(references) < _LARGE:
        return [int(place) for place in np.nonzero(references == target)[0]]
    if source not in graph.sorted_places:  # the mapping of a leak is asked for each of the objects examined
        order = np.argsort(references, kind="stable")
        graph.sorted_places[source] = (references[order], order)
    rows, order = graph.sorted_places[source]
    begin, end = np.searchsorted(rows, np.array([target, target + 1], rows.dtype))
    return [int(place) for place in order[begin:end]]


def _label_at(graph: HeapGraph, source: int, place: int) -> str:
    kind, items = int(graph.kind[source]), int(graph.items[source])
    if kind == BAG:
        return "{…}"
    if kind == MAPPING and place < items:
        return _key_label(graph, source, place, items)
    if kind == MAPPING and place < 2 * items:
        return "{key}"
    if kind == SEQUENCE and place < items:
        return f"[{items - 1 - place}]"
    names = graph.layouts[graph.layout[source]]
    number = place - (2 * items if kind == MAPPING else items)
    if not 0 <= number < len(names):
        return ""
    return f"variable {names[number]}" if kind == FRAME else f".{names[number]}"


def _key_label(graph: HeapGraph, source: int, place: int, items: int) -> str:
    text = graph.texts.get(int(graph.references(source)[items + place]))
    return "[…]" if text is None else f"[{text!r}]"


def links(graph: HeapGraph, rows: list[int]) -> list[Link]:
    """Return a chain of rows with the label of each step."""
    labels = (label_of(graph, source, target) for source, target in pairwise(rows))
    return [Link(row, label) for row, label in zip(rows, ["", *labels], strict=True)]


def short_name(graph: HeapGraph, row: int) -> str:
    """Return an object's type as a path shows it: ``list``, ``mercurial.url.httphandler``."""
    return graph.type_name(row).removeprefix("builtins.")


def path_of(graph: HeapGraph, chain: list[Link]) -> list[str]:
    """Return types and labels by turns; an instance's dictionary is left out, its attributes are the instance's."""
    steps = list(_plain_steps(graph, chain))
    path = [short_name(graph, steps[0].row)]
    for step in steps[1:]:
        path += [step.label or "→", short_name(graph, step.row)]
    return path


def _plain_steps(graph: HeapGraph, chain: list[Link], thread_local: Container[int] = ()) -> Iterator[Link]:
    """Yield the links without dictionaries of attributes: their keys become attributes of what owns them."""
    inside = False
    for number, link in enumerate(chain):
        label = _as_attribute(link.label) if inside else link.label
        owner = chain[number - 1].row if number else -1
        inside = _is_namespace(graph, owner, link) or link.row in thread_local
        if not inside or number == len(chain) - 1:
            yield Link(link.row, label)


def _is_namespace(graph: HeapGraph, owner: int, link: Link) -> bool:
    if owner < 0 or graph.type_name(link.row) != "builtins.dict":
        return False
    return link.label == ".__dict__" or is_module(graph, owner)


def is_module_type(info: TypeInfo) -> bool:
    """Tell whether objects of a type are modules."""
    return info.name == "builtins.module" or "builtins.module" in info.bases


def is_module(graph: HeapGraph, row: int) -> bool:
    """Tell whether an object is a module."""
    return is_module_type(graph.types[graph.type_of[row]])


def _as_attribute(label: str) -> str:
    return "." + label[2:-2] if label.startswith("['") else ".…" if label == "[…]" else label


class Sentence:
    """Builds the text of one chain; with ``general``, without indices and without the keys of large mappings."""

    def __init__(self, graph: HeapGraph, reach: Reach, *, general: bool = True) -> None:
        self._graph = graph
        self._reach = reach
        self._general = general
        self._locals = {int(row): name for row, name in _thread_local_rows(graph)}

    def text(self, chain: list[Link]) -> str:
        """Return the text of a chain that starts at a root."""
        steps = list(_plain_steps(self._graph, chain, self._locals))
        if len(steps) > _LONGEST_CHAIN:
            steps = [*steps[: _LONGEST_CHAIN // 2], *steps[-_LONGEST_CHAIN // 2 :]]
        words = [self.root(steps[0].row)]
        words += [self._step(steps, number, step) for number, step in enumerate(steps[1:], 1)]
        if _CACHED in words:  # an entry's key is a tuple of the arguments: where in it the object lies says nothing
            place = words.index(_CACHED) + 1
            words[place:] = [*words[place : place + 1], *dropwhile("[…]".__eq__, words[place + 1 :])]
        # What a root of no name holds follows a colon; where it is the root itself that is named, nothing does.
        told = _fold(words).removesuffix(": ")
        return told + "".join(self._place(before.row, link.row) for before, link in pairwise(chain))

    def root(self, row: int) -> str:
        """Name where a chain begins."""
        stage = int(self._reach.stage[row])
        name = self._reach.names.get(row)
        if stage == MODULE and name:
            return name.removeprefix("module ")
        if row in self._graph.frames:
            return ""
        if name == AT_EXIT:
            return name
        if stage == THREAD and name:
            return f"{name} (its own {'data' if self._graph.type_name(row) == 'builtins.dict' else 'context'})"
        if stage == OURSELVES:
            return "leakwatch itself"
        if self._lists_subclasses(row):
            return SUBCLASSES
        return f"{short_name(self._graph, row)} held by C code or a running frame: "

    def _lists_subclasses(self, row: int) -> bool:
        graph = self._graph
        first = graph.references(row)[:1].tolist() if graph.type_name(row) == "builtins.dict" else []
        return bool(first) and graph.type_name(first[0]) == "weakref.ReferenceType"

    def _step(self, steps: list[Link], number: int, step: Link) -> str:
        graph = self._graph
        before = steps[number - 1].row
        if before in graph.frames:
            return ("" if number == 1 else " ") + f"local {step.label or 'data'}"
        kind = graph.type_name(before)
        if kind == "builtins.cell" or graph.type_name(step.row) in _SCAFFOLDING:
            return ""
        if kind == "builtins.tuple" and graph.type_name(step.row) == "builtins.cell":
            return self._closure(steps, number, step)
        if kind == "functools._lru_cache_wrapper" and not step.label.startswith("."):
            return _CACHED
        if step.label == ".__closure__" or (kind == "_thread._local" and step.label == ""):
            return ""
        if step.label.startswith("variable "):
            return f" {step.label}"
        return self._label(before, step) or f" → {short_name(graph, step.row)}"

    def _label(self, before: int, step: Link) -> str:
        if step.label == "{key}":
            return "[…]"
        if not self._general or step.label.startswith(".") or step.label == "{…}":
            return step.label
        small = self._graph.kind[before] == MAPPING and self._graph.items[before] <= _MOST_KEYS
        return step.label if small or not step.label else "[…]"

    def _closure(self, steps: list[Link], number: int, step: Link) -> str:
        """A cell of a closure: which variable of which function."""
        function = steps[number - 2].row if number >= 2 else -1
        code = next((self._graph.codes[row] for row in self._references(function) if row in self._graph.codes), None)
        if code is None or not step.label[1:-1].isdigit():
            return " (a closure)"
        place = int(step.label[1:-1])
        variable = code.free[place] if place < len(code.free) else None
        return f" (closure variable {variable or '?'} of {code.name})"

    def _references(self, row: int) -> list[int]:
        return self._graph.references(row).tolist() if row >= 0 else []

    def _place(self, before: int, row: int) -> str:
        """Say where a step leads through a frame, or through the data of one thread."""
        if row in self._locals:
            return f" in thread {self._locals[row]}"
        if before not in self._graph.frames:
            return ""
        thread = self._reach.names.get(before)
        return f" of {place_of_frame(self._graph, before)}" + (f" in thread {thread}" if thread else "")


def place_of_frame(graph: HeapGraph, frame: int) -> str:
    """Return ``function() at folder/file.py:12`` for the row of a frame."""
    code_row, line = graph.frames[frame]
    code = graph.codes.get(code_row)
    if code is None:
        return "a frame"
    return f"{code.name}() at {'/'.join(PurePath(code.file).parts[-2:])}:{line}"


def _thread_local_rows(graph: HeapGraph) -> Iterator[tuple[int, str]]:
    listed = graph.roots["thread_locals"]
    return zip(graph.rows([address for address, _ in listed]).tolist(), [name for _, name in listed], strict=True)


def _fold(words: list[str]) -> str:
    """Say a step that repeats itself, as in a linked list, once: ``.next × 120``."""
    folded = [words[0]]
    number = 1
    while number < len(words):
        width, times = _repetition(words, number)
        folded.append("".join(words[number : number + width]) + (f" × {times}" if times > 1 else ""))
        number += width * times
    return "".join(folded)


def _repetition(words: list[str], start: int) -> tuple[int, int]:
    """Return the width of the unit that repeats at least three times from here, and how often; else (1, 1)."""
    for width in (1, 2, 3):
        unit, times = words[start : start + width], 1
        while words[start + times * width : start + (times + 1) * width] == unit:
            times += 1
        if times >= 3:
            return width, times
    return 1, 1
