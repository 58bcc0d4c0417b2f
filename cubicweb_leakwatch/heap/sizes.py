"""Shallow sizes in bytes, without calling a ``__sizeof__`` that the program wrote."""

import sys
from array import array
from collections.abc import Sequence
from itertools import repeat
from operator import add

from cubicweb_leakwatch.heap.typenames import HAVE_GC, MANAGED_DICT, flags, item_bytes, sizer

_GC_HEADER_BYTES = 16
_PRE_HEADER_BYTES = 16
_MANAGED_WEAKREF = 1 << 3
_POINTER_BYTES = 8
_BARE_DICT_BYTES = sys.getsizeof({})
_VALUES_HEAD_BYTES = 8 if sys.version_info >= (3, 13) else 0


def shallow_sizes(tp: type, objects: Sequence[object]) -> "array[int]":
    """Return the size of each of ``objects``, all of type ``tp``: with the header, without inline values."""
    method, own = sizer(tp)
    if own and method is object.__sizeof__ and not item_bytes(tp):
        return array("Q", [sys.getsizeof(objects[0])]) * len(objects)
    if own:
        try:
            return array("Q", map(add, map(method, objects), repeat(_header_bytes(tp))))
        except Exception:  # an extension type's __sizeof__ that fails for one object
            return array("Q", [_one_size(tp, method, found) for found in objects])
    return array("Q", [_one_size(tp, method, found) for found in objects])


def _one_size(tp: type, method: object, found: object) -> int:
    try:
        size = int(method(found))  # type: ignore[operator]
    except Exception:
        size = int(object.__sizeof__(found))
    return size + _header_bytes(tp)


def _header_bytes(tp: type) -> int:
    """Return what the interpreter puts before an object of this type."""
    bits = flags(tp)
    before = MANAGED_DICT if sys.version_info < (3, 12) else MANAGED_DICT | _MANAGED_WEAKREF
    return (_GC_HEADER_BYTES if bits & HAVE_GC else 0) + (_PRE_HEADER_BYTES if bits & before else 0)


def inline_values_bytes(view: dict[str, object]) -> int:
    """Return what the attribute values of an instance occupy, given its freshly made ``__dict__``.

    Since 3.11 an instance keeps them in an array of its own, which ``sys.getsizeof`` leaves out. The dictionary made of
    them shares its keys with the class, so that its size is a bare head and that array.
    """
    values = sys.getsizeof(view) - _BARE_DICT_BYTES
    slots = values // _POINTER_BYTES
    order = -(-(slots + 2) // _POINTER_BYTES) * _POINTER_BYTES  # the order of assignment, a byte a slot
    return values + order + _VALUES_HEAD_BYTES if values > 0 else 0
