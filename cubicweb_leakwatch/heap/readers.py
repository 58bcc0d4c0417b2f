"""Read what objects of one type refer to, in an order that lets every reference be named afterwards.

The references of an object are written as: the items of a mapping (k values, then k keys) or of a sequence (k items),
then those that a *layout* names one by one (attributes, local variables), then the others. A layout is a tuple of
names, shared by all objects that have the same.
"""

import gc
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any

from cubicweb_leakwatch.heap.instances import InstanceReader
from cubicweb_leakwatch.heap.members import members_of
from cubicweb_leakwatch.heap.reading import BAG, FRAME, MAPPING, PLAIN, SEQUENCE, Layouts, Read, Reader, without
from cubicweb_leakwatch.heap.typenames import HAVE_GC, HEAP_TYPE, flags, mro, namespace

_OPTIMIZED = 0x1  # the code keeps its locals in fixed places: reading them calls nobody's mapping
_RUNNERS = {GeneratorType: "gi_frame", CoroutineType: "cr_frame", AsyncGeneratorType: "ag_frame"}


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
    return InstanceReader(tp, members_of(tp), layouts)


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
        rest = without(everything, named)
        read.referents += named
        read.referents += rest
        read.counts.append(len(named) + len(rest))
        read.layouts.append(layouts.number(names))
    return read


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
