"""Read what objects of one type refer to, in an order that lets every reference be named afterwards.

The references of an object are written as: the items of a mapping (k values, then k keys) or of a sequence (k items),
then those that a *layout* names one by one (attributes, local variables), then the others. A layout is a tuple of
names, shared by all objects that have the same.
"""

import gc
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from operator import sub
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any

from cubicweb_leakwatch.heap.members import Members, members_of
from cubicweb_leakwatch.heap.sizes import inline_values_bytes
from cubicweb_leakwatch.heap.typenames import HAVE_GC, HEAP_TYPE, flags, mro, namespace

PLAIN, MAPPING, SEQUENCE, BAG, FRAME = range(5)

_OPTIMIZED = 0x1  # the code keeps its locals in fixed places: reading them calls nobody's mapping
_RUNNERS = {GeneratorType: "gi_frame", CoroutineType: "cr_frame", AsyncGeneratorType: "ag_frame"}


class Layouts:
    """The tuples of names met so far, each with a number; number 0 has none."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, ...], int] = {(): 0}

    def number(self, names: tuple[str, ...]) -> int:
        """Return the number of a tuple of plain strings."""
        return self.numbers.setdefault(names, len(self.numbers))


@dataclass
class Read:
    """What a list of objects refers to: all references in a row, and for each object how many, items, layout.

    ``inline_bytes`` are the sizes of attribute values kept outside a dictionary, where there are such.
    """

    kind: int
    referents: list[Any]
    counts: "array[int]"
    items: "array[int] | None" = None
    layouts: "array[int] | None" = None
    inline_bytes: "array[int] | None" = None


Reader = Callable[[Sequence[Any]], Read]


def reader_of(tp: type, layouts: Layouts) -> Reader:
    """Choose how objects of a type are read."""
    if tp is dict:
        return _read_dicts
    if tp is list or tp is tuple:
        return _read_sequences
    if any(tp is known for known in (set, frozenset, deque)):
        return _read_bags
    if tp is CodeType:
        return partial(_read_one_by_one, PLAIN, layouts, _code_parts)
    if not flags(tp) & HAVE_GC:
        return _read_leaves
    if tp is FrameType:
        return partial(_read_one_by_one, FRAME, layouts, _frame_parts)
    for known, attribute in _RUNNERS.items():
        if tp is known:
            return partial(_read_one_by_one, FRAME, layouts, partial(_runner_parts, attribute))
    if any(base is type for base in mro(tp)):
        return partial(_read_one_by_one, PLAIN, layouts, _class_parts)
    return _AttributeReader(tp, members_of(tp), layouts)


def _read_leaves(objects: Sequence[Any]) -> Read:
    return Read(PLAIN, [], array("I", bytes(4 * len(objects))))


def _read_dicts(objects: Sequence[Any]) -> Read:
    sizes = array("I", map(len, objects))
    referents = list(chain.from_iterable(map(chain, map(dict.values, objects), objects)))
    return Read(MAPPING, referents, array("I", map((2).__mul__, sizes)), items=sizes)


def _read_sequences(objects: Sequence[Any]) -> Read:
    """Read exact lists and tuples; the interpreter visits them from the last item to the first."""
    read = _read_bags(objects)
    return Read(SEQUENCE, read.referents, read.counts, items=read.counts)


def _read_bags(objects: Sequence[Any]) -> Read:
    found = list(map(gc.get_referents, objects))
    return Read(BAG, list(chain.from_iterable(found)), array("I", map(len, found)))


Parts = tuple[tuple[str, ...], list[Any], list[Any]]  # names, the referents they name, all referents


def _read_one_by_one(kind: int, layouts: Layouts, parts: Callable[[Any], Parts], objects: Sequence[Any]) -> Read:
    read = Read(kind, [], array("I"), layouts=array("I"))
    assert read.layouts is not None
    for found in objects:
        names, named, everything = parts(found)
        rest = _without(everything, named)
        read.referents += named
        read.referents += rest
        read.counts.append(len(named) + len(rest))
        read.layouts.append(layouts.number(names))
    return read


def _without(everything: list[Any], named: Sequence[Any]) -> list[Any]:
    """Return ``everything`` less one occurrence of each of ``named``, by identity."""
    left: dict[int, int] = {}
    for found in named:
        left[id(found)] = left.get(id(found), 0) + 1
    rest = []
    for found in everything:
        if left.get(id(found), 0):
            left[id(found)] -= 1
        else:
            rest.append(found)
    return rest


def _code_parts(code: CodeType) -> Parts:
    return ("co_consts", "co_names"), [code.co_consts, code.co_names], []


def _class_parts(tp: type) -> Parts:
    """A class; one of the interpreter's static ones hides its dictionary and bases from the collector."""
    everything = gc.get_referents(tp)
    dictionary = gc.get_referents(namespace(tp))
    if not flags(tp) & HEAP_TYPE:
        everything = [*dictionary, *mro(tp)[1:]]
    return ("__dict__",) * len(dictionary), dictionary, everything


def frame_locals(frame: FrameType) -> dict[str, Any]:
    """Return the local variables of a frame by name; none where they live in a mapping of the program's own making."""
    if not frame.f_code.co_flags & _OPTIMIZED:
        return {}
    return dict(frame.f_locals)


def _frame_parts(frame: FrameType) -> Parts:
    variables = frame_locals(frame)
    everything = gc.get_referents(frame)
    if not everything:  # it runs: the interpreter shows nothing of it to the collector
        everything = [*variables.values(), frame.f_globals, frame.f_code]
    return _named(variables, everything)


def _runner_parts(attribute: str, runner: Any) -> Parts:
    """A generator or coroutine: the variables of its frame, if it has not ended."""
    everything = gc.get_referents(runner)
    frame = getattr(runner, attribute)
    return _named(frame_locals(frame) if frame is not None else {}, everything)


def _named(variables: dict[str, Any], everything: list[Any]) -> Parts:
    """Split off the variables that are among the referents (a cell's content is not: its cell is)."""
    there = set(map(id, everything))
    kept = {name: value for name, value in variables.items() if id(value) in there and type(name) is str}
    return tuple(kept), list(kept.values()), everything


class _AttributeReader:
    """Reads instances: named fields, attributes, and the items of a container that the class extends."""

    def __init__(self, tp: type, members: Members, layouts: Layouts) -> None:
        self._tp = tp
        self._members = members
        self._layouts = layouts
        self._field_names = tuple(name for name, _ in members.fields)

    def __call__(self, objects: Sequence[Any]) -> Read:
        found = list(map(gc.get_referents, objects))
        if self._members.container is None:
            if self._members.dictionary is None and self._field_names:
                quick = self._fields_in_columns(objects, found)
                if quick is not None:
                    return quick
            if self._members.dictionary is None and not self._field_names:
                return Read(PLAIN, list(chain.from_iterable(found)), array("I", map(len, found)))
        return self._one_by_one(objects, found)

    def _fields_in_columns(self, objects: Sequence[Any], found: list[list[Any]]) -> Read | None:
        """Read all instances field by field, if every field of every one is set and nothing else is there."""
        try:
            columns = [list(map(get, objects)) for _, get in self._members.fields]
        except Exception:  # a slot that is not set, a field that holds no object
            return None
        width = len(columns)
        extra = list(map(sub, map(len, found), repeat(width)))
        if set(extra) != {1} or not all(map(_is_last, found, repeat(self._tp))):
            return None
        rows = map(chain, zip(*columns, strict=True), repeat((self._tp,)))
        number = self._layouts.number(self._field_names)
        count = len(objects)
        layouts = array("I", [number]) * count
        return Read(PLAIN, list(chain.from_iterable(rows)), array("I", [width + 1]) * count, layouts=layouts)

    def _one_by_one(self, objects: Sequence[Any], found: list[list[Any]]) -> Read:
        container = self._members.container
        kind = PLAIN if container is None else MAPPING if container is dict else SEQUENCE
        read = Read(kind, [], array("I"), array("I"), array("I"), array("I"))
        quick = container is None and not self._field_names and self._members.dictionary is not None
        for instance, everything in zip(objects, found, strict=True):
            if not (quick and self._read_inline(instance, everything, read)):
                self._read_one(instance, everything, read)
        return read

    def _read_inline(self, instance: Any, everything: list[Any], read: Read) -> bool:
        """Read an instance that has nothing but attributes kept inline, the common case; False if this one has more."""
        attributes: Any = self._members.dictionary(instance)  # type: ignore[misc]
        count = len(everything)
        if type(attributes) is not dict or count != len(attributes) + 1:
            return False
        if everything[-1] is not self._tp or everything[0] is attributes:
            return False
        read.referents += attributes.values()
        read.referents.append(self._tp)
        read.counts.append(count)
        read.items.append(0)  # type: ignore[union-attr]
        read.layouts.append(self._layouts.number(tuple(attributes)))  # type: ignore[union-attr]
        read.inline_bytes.append(inline_values_bytes(attributes))  # type: ignore[union-attr]
        return True

    def _read_one(self, instance: Any, everything: list[Any], read: Read) -> None:
        assert read.items is not None and read.layouts is not None and read.inline_bytes is not None
        start = len(read.referents)
        read.items.append(self._add_items(instance, read.referents) if self._members.container else 0)
        names, named, inline = self._attributes(instance, everything)
        if (
            len(named) + 1 == len(everything)
            and everything
            and everything[-1] is self._tp
            and start == len(read.referents)
        ):
            read.referents += named
            read.referents.append(self._tp)
        else:
            rest = _without(everything, [*read.referents[start:], *named])
            read.referents += named
            read.referents += rest
        read.counts.append(len(read.referents) - start)
        read.layouts.append(self._layouts.number(names))
        read.inline_bytes.append(inline)

    def _add_items(self, instance: Any, referents: list[Any]) -> int:
        """Add the items of a dict, list or tuple subclass, with the base's own methods; return how many."""
        container = self._members.container
        if container is dict:
            keys = list(dict.keys(instance))
            referents += dict.values(instance)
            referents += keys
            return len(keys)
        items = (list if container is list else tuple).__getitem__(instance, slice(None, None, -1))
        referents += items
        return len(items)

    def _attributes(self, instance: Any, everything: list[Any]) -> tuple[tuple[str, ...], list[Any], int]:
        """Return the names and values of the fields and attributes among the referents, and the inline values' size."""
        names: list[str] = []
        named: list[Any] = []
        if self._field_names:
            self._add_fields(instance, everything, names, named)
        if self._members.dictionary is None:
            return tuple(names), named, 0
        attributes: Any = self._members.dictionary(instance)
        if any(value is attributes for value in reversed(everything)):
            return (*names, "__dict__"), [*named, attributes], 0
        if type(attributes) is not dict or not all(type(name) is str for name in attributes):
            return tuple(names), named, 0
        return (*names, *attributes), [*named, *attributes.values()], inline_values_bytes(attributes)

    def _add_fields(self, instance: Any, everything: list[Any], names: list[str], named: list[Any]) -> None:
        there = list(map(id, everything))
        for name, get in self._members.fields:
            try:
                value = get(instance)
            except Exception:  # a slot that is not set
                continue
            if id(value) in there:  # else made for the occasion; and two fields may show one reference
                there.remove(id(value))
                names.append(name)
                named.append(value)


def _is_last(found: list[Any], tp: type) -> bool:
    return found[-1] is tp
