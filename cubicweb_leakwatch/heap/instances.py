"""Read instances of ordinary classes: named fields, attributes, and the items of a container that the class extends."""

import gc
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from operator import sub
from typing import Any

from cubicweb_leakwatch.heap.members import Members
from cubicweb_leakwatch.heap.rawread import shared_names
from cubicweb_leakwatch.heap.reading import MAPPING, PLAIN, SEQUENCE, Layouts, Read, without
from cubicweb_leakwatch.heap.sizes import inline_values_bytes

_FEWEST_ALIKE = 40  # the first thirty instances of a class have more room for attributes than the others
_FEWEST_NAMES = 2  # one referent could be the dictionary


@dataclass(frozen=True)
class _Alike:
    """The names of all attributes of a class's instances in the order of their places, and what the values occupy."""

    names: tuple[str, ...]
    layout: int
    inline_bytes: int


class InstanceReader:
    """Reads instances: named fields, attributes, and the items of a container that the class extends."""

    def __init__(self, tp: type, members: Members, layouts: Layouts) -> None:
        self._tp = tp
        self._members = members
        self._layouts = layouts
        self._field_names = tuple(name for name, _ in members.fields)

    def __call__(self, objects: Sequence[Any]) -> Read:
        """Read some instances of the class."""
        found = list(map(gc.get_referents, objects))
        alike = self._alike(objects)
        return self._in_columns(objects, found, alike) or self._one_by_one(objects, found, alike)

    def _in_columns(self, objects: Sequence[Any], found: list[list[Any]], alike: _Alike | None) -> Read | None:
        """Read all instances at once, if they are of a simple kind."""
        if alike is not None:
            return self._inline_in_columns(objects, found, alike)
        if self._members.container is not None or self._members.dictionary is not None:
            return None
        if self._field_names:
            return self._fields_in_columns(objects, found)
        return Read(PLAIN, list(chain.from_iterable(found)), array("I", map(len, found)))

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

    def _inline_in_columns(self, objects: Sequence[Any], found: list[list[Any]], alike: _Alike) -> Read | None:
        """Read instances that have every attribute of their class inline, and nothing else; None if one has not."""
        width = len(alike.names) + 1
        if set(map(len, found)) != {width} or not all(map(_is_last, found, repeat(self._tp))):
            return None
        count = len(objects)
        layouts, sizes = (array("I", [number]) * count for number in (alike.layout, alike.inline_bytes))
        referents = list(chain.from_iterable(found))
        return Read(PLAIN, referents, array("I", [width]) * count, layouts=layouts, inline_bytes=sizes)

    def _alike(self, objects: Sequence[Any]) -> _Alike | None:
        """Return what an instance with every attribute inline looks like: its values are shown in that order."""
        dictionary: Any = self._members.dictionary
        if dictionary is None or self._field_names or self._members.container or len(objects) < _FEWEST_ALIKE:
            return None
        first, last = dictionary(objects[0]), dictionary(objects[-1])
        names = shared_names(last) if type(last) is dict and type(first) is dict else None
        if not names or len(names) < _FEWEST_NAMES or shared_names(first) != names:
            return None
        size = inline_values_bytes(last)
        return _Alike(names, self._layouts.number(names), size) if inline_values_bytes(first) == size else None

    def _one_by_one(self, objects: Sequence[Any], found: list[list[Any]], alike: _Alike | None) -> Read:
        container = self._members.container
        kind = PLAIN if container is None else MAPPING if container is dict else SEQUENCE
        read = Read(kind, [], array("I"), array("I"), array("I"), array("I"))
        quick = container is None and not self._field_names and self._members.dictionary is not None
        width = len(alike.names) + 1 if alike else 0
        for instance, everything in zip(objects, found, strict=True):
            if alike and len(everything) == width and everything[-1] is self._tp:
                self._add_alike(alike, everything, read)
            elif not (quick and self._read_inline(instance, everything, read)):
                self._read_one(instance, everything, read)
        return read

    def _add_alike(self, alike: _Alike, everything: list[Any], read: Read) -> None:
        read.referents += everything
        read.counts.append(len(everything))
        read.items.append(0)  # type: ignore[union-attr]
        read.layouts.append(alike.layout)  # type: ignore[union-attr]
        read.inline_bytes.append(alike.inline_bytes)  # type: ignore[union-attr]

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
            rest = without(everything, [*read.referents[start:], *named])
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
