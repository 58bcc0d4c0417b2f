"""How the attributes of a class's instances are fetched without running code: descriptors written in C only."""

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any

from cubicweb_leakwatch.heap.typenames import HEAP_TYPE, flags, mro, namespace

Getter = Callable[[object], object]

# attributes of the interpreter's own types that are computed in C from a field, and worth a name in a chain
_COMPUTED: list[tuple[type, tuple[str, ...]]] = [
    (FunctionType, ("__code__", "__defaults__", "__kwdefaults__")),
    (BaseException, ("args", "__traceback__", "__context__", "__cause__")),
]


@dataclass(frozen=True)
class Members:
    """The getters of one class: fields in fixed places by name, the instance dictionary, the container it extends."""

    fields: tuple[tuple[str, Getter], ...]
    dictionary: Getter | None
    container: type | None


def members_of(tp: type) -> Members:
    """Find the getters for instances of ``tp``; what is no genuine C descriptor of a base is left alone."""
    fields: dict[str, Getter] = {}
    dictionary: Getter | None = None
    container: type | None = None
    for base in mro(tp):
        own = namespace(base)
        if dictionary is None:
            dictionary = _dictionary_getter(base, own)
        for name, value in list(own.items()):
            if type(name) is str and type(value) is MemberDescriptorType and value.__objclass__ is base:
                fields.setdefault(name, value.__get__)
        for known, names in _COMPUTED:
            if base is known:
                fields.update((name, own[name].__get__) for name in names)
        if container is None and any(base is known for known in (dict, list, tuple)):
            container = base
    return Members(tuple(fields.items()), dictionary, container)


def _dictionary_getter(base: type, own: Any) -> Getter | None:
    """Return the getter of ``__dict__`` that the interpreter gave a class written in Python."""
    found = own.get("__dict__")
    if flags(base) & HEAP_TYPE and type(found) is GetSetDescriptorType and found.__objclass__ is base:
        getter: Getter = found.__get__
        return getter
    return None
