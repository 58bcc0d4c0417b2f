"""Frozen records for the launcher, without :mod:`dataclasses`.

``dataclasses`` imports ``inspect``, which would add 1.6 MB to a process whose whole point is to stay small.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, dataclass_transform
else:

    def dataclass_transform(**options):
        """Stand in for the typing decorator, which only type checkers need."""
        return lambda cls: cls


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Values:
    """A record whose fields are the annotated names of its class; defaults are the class attributes."""

    def __init__(self, **given: Any) -> None:
        for name in type(self).__annotations__:
            if name in given:
                self.__dict__[name] = given.pop(name)
            elif not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name}")
        if given:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(given))}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fields()!r})"

    def fields(self) -> dict[str, Any]:
        """Return the fields by name, as JSON takes them."""
        return {name: _plain(getattr(self, name)) for name in type(self).__annotations__}


def _plain(value: object) -> object:
    return value.fields() if isinstance(value, Values) else value
