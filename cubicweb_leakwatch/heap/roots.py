"""Where reference chains begin: modules, threads, and what looking itself added."""

import gc
import sys
import threading
import types
import weakref
from types import FrameType
from typing import Any

from cubicweb_leakwatch.heap.exits import exit_callbacks
from cubicweb_leakwatch.heap.pins import Pins, ThreadHold
from cubicweb_leakwatch.heap.typenames import find_in_mro, plain_text

_OWN_PACKAGE = "cubicweb_leakwatch.heap."
_MODULES = sys.modules
THREAD_LOCAL: type = threading.local


Stack = tuple[int, list[FrameType], list[FrameType]]


def thread_frames(pins: Pins) -> list[Stack]:
    """Return each thread's identifier and frames, the innermost first, those of leakwatch that are looking apart."""
    return [(ident, *_stack(frame)) for ident, frame in pins.frames.items()]


def _stack(frame: FrameType | None) -> tuple[list[FrameType], list[FrameType]]:
    frames: list[FrameType] = []
    own: list[FrameType] = []
    while frame is not None:
        module = plain_text(frame.f_globals.get("__name__")) or ""
        (own if module.startswith(_OWN_PACKAGE) else frames).append(frame)
        frame = frame.f_back
    return frames, own


def describe_roots(pins: Pins, frames: list[Stack], thread_locals: list[object]) -> dict[str, Any]:
    """Return the dump's record of roots, by address; ``thread_locals`` are all objects of ``threading.local``."""
    names = {ident: _thread_name(thread, ident) for ident, thread in pins.registered.items()}
    holds = {hold.ident: hold for hold in pins.threads}
    return {
        "modules": [
            [name, id(module)] for key, module in list(_MODULES.items()) if (name := plain_text(key)) is not None
        ],
        "threads": [
            {
                "name": names.get(ident, f"thread {ident}"),
                "ident": ident,
                "frames": [id(frame) for frame in stack],
                "owned": [id(found) for found in holds[ident].owned] if ident in holds else [],
            }
            for ident, stack, _ in frames
        ],
        "atexit": exit_callbacks(),
        "own_frames": [id(frame) for _, _, own in frames for frame in own],
        "thread_locals": _thread_locals(thread_locals, pins.threads, names),
        "singletons": {"True": id(True), "False": id(False), "None": id(None)},
        "held": [id(found) for found in _held(pins)],
    }


def _held(pins: Pins) -> list[Any]:
    """Return what has one reference more because it is pinned."""
    owned = [found for hold in pins.threads for found in hold.owned]
    return [*owned, *pins.frames.values(), *pins.registered.values()]


def _thread_name(thread: Any, ident: int) -> str:
    """Read a thread's name from its attributes: ``Thread.name`` may be overridden."""
    found: Any = find_in_mro(type(thread), "__dict__")
    if type(found) is not types.GetSetDescriptorType:  # a property of its own would be code of its own
        return f"thread {ident}"
    try:
        attributes = found.__get__(thread)
        return plain_text(attributes.get("_name")) or f"thread {ident}"
    except Exception:
        return f"thread {ident}"


def _thread_locals(locals_: list[object], threads: list[ThreadHold], names: dict[int, str]) -> list[list[Any]]:
    """Return [address of a thread-local dictionary, name of its thread], for every ``threading.local``.

    A local object maps a marker of each thread (up to 3.12 through a weak reference) to that thread's dictionary; the
    thread's state owns the marker.
    """
    owners: dict[int, str] = {}
    for hold in threads:
        owned = [*hold.owned, *(hold.local_dict or {}).values()]
        owners.update((id(found), names.get(hold.ident, f"thread {hold.ident}")) for found in owned)
    found = []
    for local in locals_:
        for mapping in gc.get_referents(local):
            for marker, values in list(mapping.items()) if type(mapping) is dict else []:
                key = id(marker()) if type(marker) is weakref.ref else id(marker)
                if key in owners:
                    found.append([id(values), owners[key]])
    return found
