"""What the interpreter keeps in plain memory, read in bulk: addresses in a list, names that instances share.

The public way makes a Python number of each address, and a dictionary of each instance's attributes; in a heap of
millions of objects that is a third of the walk. Each layout is tried on objects of our own at import; where it does not
fit, the public way is used.
"""

import ctypes
from _ctypes import PyObj_FromPtr
from array import array
from typing import Any

_WORD_BYTES = 8
_LIST_ITEMS = 24  # PyListObject.ob_item
_DICT_KEYS = 32  # PyDictObject.ma_keys
_KEYS_INDEX_BYTES, _KEYS_KIND, _KEYS_ENTRIES, _KEYS_HEAD_BYTES = 9, 10, 24, 32  # PyDictKeysObject
_SPLIT = 2  # the kind of keys that instances of one class share
_ENTRY_WORDS = 2  # a key and a value


def _word(address: int) -> int:
    return ctypes.c_size_t.from_address(address).value


def _copied(objects: list[Any]) -> bytes:
    return ctypes.string_at(_word(id(objects) + _LIST_ITEMS), _WORD_BYTES * len(objects)) if objects else b""


def _one_by_one(objects: list[Any]) -> bytes:
    return array("Q", map(id, objects)).tobytes()


def _lists_fit() -> bool:
    tried: list[Any] = [object(), "text", 7.5, None]
    return list.__basicsize__ == _LIST_ITEMS + 2 * _WORD_BYTES and _copied(tried) == _one_by_one(tried)


addresses = _copied if _lists_fit() else _one_by_one
"""Return the addresses of the objects in a list, 8 bytes each."""


def _names_in(attributes: dict[str, Any]) -> tuple[str, ...] | None:
    keys = _word(id(attributes) + _DICT_KEYS)
    head = ctypes.string_at(keys, _KEYS_HEAD_BYTES)
    if head[_KEYS_KIND] != _SPLIT:
        return None
    begin = keys + _KEYS_HEAD_BYTES + (1 << head[_KEYS_INDEX_BYTES])
    entries = range(begin, begin + _word(keys + _KEYS_ENTRIES) * _ENTRY_WORDS * _WORD_BYTES, _ENTRY_WORDS * _WORD_BYTES)
    names = tuple(PyObj_FromPtr(_word(entry)) for entry in entries)
    return names if all(type(name) is str for name in names) else None


def _keys_fit() -> bool:
    class Tried:
        pass

    one, other = Tried(), Tried()
    one.first, one.second, one.third = 1, 2, 3  # type: ignore[attr-defined]
    other.third, other.first = 3, 1  # type: ignore[attr-defined]
    wanted = ("first", "second", "third")
    try:
        return _names_in(vars(other)) == wanted == _names_in(vars(one)) and _names_in({"first": 1}) is None
    except Exception:
        return False


_SHARED = dict.__basicsize__ == _DICT_KEYS + 2 * _WORD_BYTES and _keys_fit()


def shared_names(attributes: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the names of all attributes that instances of a class have had, in the order of their places.

    ``attributes`` is the plain dictionary of one instance. None when it shares no names, or the layout is unknown.
    """
    return _names_in(attributes) if _SHARED else None
