"""What can be said of a class without running any of its code, or its metaclass's.

Everything goes through the descriptors of ``type`` itself: attribute access on a class would consult a metaclass's
``__getattribute__``, ``isinstance`` would consult ``__class__``, and a class is never used as a dictionary key because
its metaclass may define ``__hash__``.
"""

from collections.abc import Mapping
from types import MethodDescriptorType, WrapperDescriptorType
from typing import Any

_MODULE = type.__dict__["__module__"].__get__
_QUALNAME = type.__dict__["__qualname__"].__get__
_MRO = type.__dict__["__mro__"].__get__
_NAMESPACE = type.__dict__["__dict__"].__get__
_FLAGS = type.__dict__["__flags__"].__get__
_ITEM_BYTES = type.__dict__["__itemsize__"].__get__

MANAGED_DICT = 1 << 4
HEAP_TYPE = 1 << 9
HAVE_GC = 1 << 14

_LONGEST_NAME = 200


def plain_text(value: object) -> str | None:
    """Return ``value`` if it is exactly a ``str`` (a subclass could run code), cut at 200 characters, else None."""
    return str(value)[:_LONGEST_NAME] if type(value) is str else None


def type_name(tp: type) -> str:
    """Return ``"module.QualName"`` of a class; a part that is no plain string, or cannot be had, is ``"?"``."""
    try:
        module = plain_text(_MODULE(tp)) or "?"
    except AttributeError:
        module = "?"
    try:
        name = plain_text(_QUALNAME(tp)) or "?"
    except (AttributeError, ValueError):
        name = "?"
    return f"{module}.{name}"


def flags(tp: type) -> int:
    """Return the interpreter's flag bits of a class."""
    return int(_FLAGS(tp))


def item_bytes(tp: type) -> int:
    """Return by how many bytes an instance grows with each of its items; 0 when all are of one size."""
    return int(_ITEM_BYTES(tp))


def mro(tp: type) -> tuple[type, ...]:
    """Return the method resolution order of a class, the class first; empty for one that is not ready yet."""
    found = _MRO(tp)
    return found if type(found) is tuple else ()


def namespace(tp: type) -> Mapping[str, Any]:
    """Return the class's own attributes, unbound, as a read-only mapping."""
    found: Mapping[str, Any] = _NAMESPACE(tp)
    return found


def find_in_mro(tp: type, name: str) -> object | None:
    """Return what the class or the first base that has it stores under ``name``, unbound; None if there is none."""
    for base in mro(tp):
        own = namespace(base)
        if name in own:
            found: object = own[name]
            return found
    return None


def has_finalizer(tp: type) -> bool:
    """Tell whether instances run Python code when they die: a ``__del__`` not written in C, or a ``tp_del``.

    Generators, files and other types of the interpreter have a finalizer written in C; it is not counted.
    """
    found = find_in_mro(tp, "__del__")
    if found is not None and type(found) is not WrapperDescriptorType:
        return True
    return find_in_mro(tp, "__tp_del__") is not None


def sizer(tp: type) -> tuple[Any, bool]:
    """Return ``(method, own)``: the nearest ``__sizeof__`` of the class that is written in C.

    ``own`` is True when it is the one ``sys.getsizeof`` would call, so that calling that is safe.
    """
    own = True
    for base in mro(tp):
        found = namespace(base).get("__sizeof__")
        if type(found) is MethodDescriptorType:
            return found, own
        own = own and found is None
    return object.__sizeof__, False
