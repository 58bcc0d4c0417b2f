"""What reading objects of one type gives: their references in an order that lets every one be named afterwards."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

PLAIN, MAPPING, SEQUENCE, BAG, FRAME = range(5)


class Layouts:
    """The tuples of names met so far, each with a number; number 0 has none."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, ...], int] = {(): 0}

    def number(self, names: tuple[str, ...]) -> int:
        """Return the number of a tuple of plain strings."""
        return self.numbers.setdefault(names, len(self.numbers))


@dataclass
class Read:
    """What a list of objects refers to: all references in a row, and for each object how many, items, layout.

    ``inline_bytes`` are the sizes of attribute values kept outside a dictionary, where there are such.
    """

    kind: int
    referents: list[Any]
    counts: "array[int]"
    items: "array[int] | None" = None
    layouts: "array[int] | None" = None
    inline_bytes: "array[int] | None" = None


Reader = Callable[[Sequence[Any]], Read]


def without(everything: list[Any], named: Sequence[Any]) -> list[Any]:
    """Return ``everything`` less one occurrence of each of ``named``, by identity."""
    left: dict[int, int] = {}
    for found in named:
        left[id(found)] = left.get(id(found), 0) + 1
    rest = []
    for found in everything:
        if left.get(id(found), 0):
            left[id(found)] -= 1
        else:
            rest.append(found)
    return rest
