"""Hold on to what a fork would destroy, so that the copy still has it.

After a fork the interpreter clears the state of every thread but the one that forked: the other threads' thread-local
objects, contexts and handled exceptions lose their owner and their finalizers run in the child, before any code of ours
(the finalizer of a database connection would then talk on a socket shared with the parent). A reference taken in the
parent just before the fork prevents it. The states are walked through the interpreter's public C functions; where the
fields lie in one is found by looking for known values in our own thread's.
"""

import contextvars
import ctypes
import gc
import sys
import threading
from _ctypes import PyObj_FromPtr
from dataclasses import dataclass
from itertools import accumulate, repeat, takewhile, tee
from operator import itemgetter
from types import FrameType
from typing import Any

_SEARCHED_WORDS = 44 if sys.version_info < (3, 13) else 72  # no more than the structure has
_Words = ctypes.c_size_t * _SEARCHED_WORDS
_api = ctypes.pythonapi
for _name in ("PyThreadState_Get", "PyThreadState_GetDict", "PyInterpreterState_Get"):
    getattr(_api, _name).restype = ctypes.c_void_p
for _name in ("PyInterpreterState_ThreadHead", "PyThreadState_Next"):
    getattr(_api, _name).restype = ctypes.c_void_p
    getattr(_api, _name).argtypes = [ctypes.c_void_p]


@dataclass(frozen=True)
class ThreadHold:
    """What the state of one thread owns: its thread-local dictionary (or None) and all objects held of it."""

    ident: int
    local_dict: dict[Any, Any] | None
    owned: tuple[object, ...]


@dataclass(frozen=True)
class Pins:
    """Everything held over a fork: thread states, the frame each thread runs, the ``Thread`` objects by identifier."""

    threads: list[ThreadHold]
    frames: dict[int, FrameType]
    registered: dict[int, Any]

    def release(self) -> None:
        """Let go of everything now: the frame of ``pin`` leads back to whoever keeps this, which would linger."""
        self.threads.clear()
        self.frames.clear()
        self.registered.clear()


def _find(wanted: int) -> int | None:
    """Return the index of the word of our own thread state that holds ``wanted``."""
    words = _Words.from_address(_api.PyThreadState_Get())
    return next((i for i, word in enumerate(words) if word == wanted), None)


def _find_exception() -> int | None:
    try:
        raise ValueError
    except ValueError as raised:
        return _find(id(raised))


def _find_thread_local_keys() -> list[int | None]:
    """Find the two objects by which a thread state owns its ``threading.local`` values from 3.13 on."""
    local = threading.local()
    local.made = True  # the state gets its keys with the first value
    by_key, *others = (found for found in gc.get_referents(local) if type(found) in (dict, set) and found)
    weak = [reference for other in others for reference in other]
    return [_find(id(key)) for key in by_key] + [_find(id(reference())) for reference in weak]


def _find_layout() -> list[int]:
    """Return where the identifier lies, where the dictionary lies, and where anything else that is owned lies."""
    context = contextvars.copy_context()
    known = [_find(threading.get_ident()), _find(_api.PyThreadState_GetDict() or 0)]
    if None in known:
        return []
    known += [context.run(_find, id(context)), _find_exception(), *_find_thread_local_keys()]
    return [index for index in known if index is not None]


# found once, at import: the layout is the same for every thread of the process
_LAYOUT = _find_layout()


def _hold_threads() -> list[ThreadHold]:
    """Walk the thread states and take a reference to what each owns.

    Another thread that ended during the walk would free its state under our hands. So nothing here lets go of the
    GIL: the whole walk is one chain of iterators in C, and between two bytecodes there is nothing left to read.
    """
    if not _LAYOUT:
        return []
    head = _api.PyInterpreterState_ThreadHead(_api.PyInterpreterState_Get())
    states = takewhile(bool, accumulate(repeat(0), _api.PyThreadState_Next, initial=head))
    words, again = tee(map(itemgetter(*_LAYOUT), map(_Words.from_address, states)))
    addresses = map(filter, repeat(None), map(itemgetter(slice(1, None)), again))
    held = map(tuple, map(map, repeat(PyObj_FromPtr), addresses))
    return [_hold(fields, owned) for fields, owned in list(zip(words, held, strict=True))]


def _hold(fields: tuple[int, ...], owned: tuple[object, ...]) -> ThreadHold:
    ident, dict_address = fields[0], fields[1]
    local = next((held for held in owned if id(held) == dict_address), None)
    return ThreadHold(ident, local if type(local) is dict else None, owned)


def pin() -> Pins:
    """Take the references; the caller keeps the result until the fork is done."""
    return Pins(_hold_threads(), sys._current_frames(), dict(threading._active))  # type: ignore[attr-defined]
