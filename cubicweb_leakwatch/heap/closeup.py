"""A close look at a few live objects with the tools that Python's leak hunters know: objgraph and Pympler's asizeof.

Unlike everything else here this *does* run code of the inspected program, in the forked copy only: objgraph labels its
nodes by ``repr`` and ``len``, asizeof asks ``__sizeof__``, ``__dict__`` and ``__slots__``. In the copy that harms
nobody, but it can fail, block until the time limit, or show what the objects contain. It is therefore asked for by
name, never a part of the reports.

The figures are theirs: asizeof's deep size counts all that an object leads to, whoever else holds it (retained sizes
are in ``dominators``).
"""

import gc
import io
from dataclasses import dataclass
from typing import Any

import objgraph
from pympler.asizeof import asizeof

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.heap.forked import run_in_copy
from cubicweb_leakwatch.heap.typenames import type_name

_MOST_OBJECTS = 1000


@dataclass(frozen=True)
class Closeup:
    """What was seen: how many objects of the type there are, the types one of them refers to, its deep size, the graph.

    ``deep_bytes`` is Pympler's, of one object; ``dot`` is objgraph's graph of what refers to it. Times in milliseconds.
    """

    type: str
    instances: int
    refers_to: dict[str, int]
    deep_bytes: int
    dot: str
    pause_ms: float
    elapsed_ms: float


def take_closeup(name: str, *, depth: int = 5, time_limit_s: float = 30.0) -> Closeup:
    """Look closely at the newest object of the type ``name`` ("module.QualName"), in a copy of this process.

    Runs the program's own ``repr`` and ``len`` in the copy. Raises LeakwatchError when there is no such object,
    CopyRefused, CopyFailed.
    """
    result = run_in_copy(lambda: _look(name, depth), time_limit_s=time_limit_s)
    if result.value is None:
        raise LeakwatchError(
            f"no tracked object of type {name} is in this process", "leak-gc lists types", "unknown-type"
        )
    return Closeup(type=name, **result.value, pause_ms=result.pause_ms, elapsed_ms=result.elapsed_ms)


def _look(name: str, depth: int) -> dict[str, Any] | None:
    wanted: dict[int, bool] = {}
    found = []
    everything = gc.get_objects()
    for each in everything:
        tp = type(each)
        if id(tp) not in wanted:
            wanted[id(tp)] = type_name(tp) == name
        if wanted[id(tp)]:
            found.append(each)
    del everything
    if not found:
        return None
    chosen = found[-1]
    referents = gc.get_referents(chosen)[:_MOST_OBJECTS]
    return {
        "instances": len(found),
        "refers_to": objgraph.typestats(referents, shortnames=False),
        "deep_bytes": _deep_bytes(chosen),
        "dot": _dot(chosen, depth, [found, referents]),
    }


def _deep_bytes(chosen: object) -> int:
    size: int = asizeof(chosen, code=False, stats=0)  # type: ignore[no-untyped-call]
    return size


def _dot(chosen: object, depth: int, own: list[object]) -> str:
    """Let objgraph draw what refers to an object; our own lists are left out."""
    text = io.StringIO()
    hidden = set(map(id, own)) | {id(own)}
    objgraph.show_backrefs(
        [chosen],
        max_depth=depth,
        output=text,
        filter=lambda each: id(each) not in hidden,
        extra_ignore=hidden,
        shortnames=False,
    )
    return text.getvalue()
