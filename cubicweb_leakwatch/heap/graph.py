"""A heap dump as flat arrays: one row an object, its references one after another.

NumPy lives here and in the modules that build on this one, never in a process that is being looked at.
"""

import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cubicweb_leakwatch.heap.dumpfile import (
    GROUP,
    HAS_INLINE,
    HAS_ITEMS,
    HAS_LAYOUTS,
    DumpUnreadable,
    decode,
    decode_lines,
    read_records,
)

_RING = "functools._lru_list_elem"  # owned once by its cache's ring, which the collector is not shown

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TypeInfo:
    """One class of the inspected program: names of its bases, whether it finalizes, its registry identifier if any."""

    name: str
    bases: tuple[str, ...]
    finalizer: bool
    registered: str | None


@dataclass(frozen=True)
class CodeInfo:
    """One code object: where it is written and the names of its free variables."""

    name: str
    file: str
    line: int
    free: tuple[str | None, ...]


@dataclass
class HeapGraph:
    """Every object of the dump: arrays of one element an object, and a last row that stands for "not recorded".

    ``targets[offsets[i]:offsets[i + 1]]`` are the rows that object ``i`` refers to. Sizes are in bytes and include
    inline attribute values. ``excess`` is the reference count less what the graph explains.
    """

    header: dict[str, Any]
    roots: dict[str, Any]
    types: list[TypeInfo]
    layouts: list[list[str]]
    type_of: Ints
    kind: npt.NDArray[np.uint8]
    size: Longs
    items: Ints
    layout: Ints
    offsets: Longs
    targets: Ints
    excess: Longs
    addresses: npt.NDArray[np.uint64]
    order: Ints
    texts: dict[int, str] = field(default_factory=dict)
    codes: dict[int, CodeInfo] = field(default_factory=dict)
    frames: dict[int, tuple[int, int]] = field(default_factory=dict)
    sorted_places: dict[int, tuple[Ints, Longs]] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """Number of objects, without the last row."""
        return len(self.size) - 1

    def rows(self, addresses: Any) -> Ints:
        """Return the rows of the objects at these addresses; the last row for those that were not recorded."""
        return _rows(self.addresses, self.order, np.asarray(addresses, np.uint64))

    def references(self, row: int) -> Ints:
        """Return the rows that an object refers to, in the order of its references."""
        return self.targets[self.offsets[row] : self.offsets[row + 1]]

    def type_name(self, row: int) -> str:
        """Return the name of an object's type."""
        return self.types[int(self.type_of[row])].name

    def of_types(self, wanted: list[bool]) -> Bools:
        """Return which rows are of a type whose index is true in ``wanted``."""
        chosen: Bools = np.asarray(wanted, bool)[self.type_of]
        return chosen


def _rows(addresses: npt.NDArray[np.uint64], order: Ints, wanted: npt.NDArray[np.uint64]) -> Ints:
    """Look addresses up among sorted ones, in pieces that stay in the processor's cache."""
    found = np.empty(len(wanted), np.int32)
    for start in range(0, len(wanted), 1 << 20):
        piece = wanted[start : start + (1 << 20)]
        place = np.searchsorted(addresses, piece)
        place[place == len(addresses)] = 0
        rows = order[place]
        rows[addresses[place] != piece] = len(order)
        found[start : start + len(piece)] = rows
    return found


TOO_LARGE = 1 << 47
"""Bytes that no object has: as many as a process can address."""

_SENSELESS = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error,
)  # fmt: skip
"""What Python and NumPy raise for a file that is whole, and whose checksum is right, but that nobody wrote for us."""


class _Columns:
    """The columns of the groups of a dump, piece by piece."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[Any]] = {}
        self.type_addresses: list[tuple[int, int, int]] = []

    def add(self, payload: memoryview) -> None:
        """Take one record GRUP."""
        type_address, kind, count, references, present = GROUP.unpack_from(payload)
        self.type_addresses.append((type_address, kind, count))
        position = GROUP.size
        columns = (
            ("addresses", np.uint64, count, True),
            ("size", np.uint64, count, True),
            ("refcount", np.int64, count, True),
            ("counts", np.uint32, count, True),
            ("items", np.uint32, count, present & HAS_ITEMS),
            ("layout", np.uint32, count, present & HAS_LAYOUTS),
            ("inline", np.uint32, count, present & HAS_INLINE),
            ("targets", np.uint64, references, True),
        )
        told = sum(length * np.dtype(dtype).itemsize for _name, dtype, length, there in columns if there)
        if told != payload.nbytes - position:  # before memory is taken for what a damaged group says
            raise ValueError(f"a group of {count} objects has {payload.nbytes - position} bytes, not {told}")
        for name, dtype, length, there in columns:
            width = length * np.dtype(dtype).itemsize if there else 0
            column: Any = (
                np.frombuffer(payload[position : position + width], dtype) if there else np.zeros(length, dtype)
            )
            if name == "size" and count and int(column.max()) >= TOO_LARGE:  # what is added up must stay a number
                raise ValueError(f"an object of {int(column.max())} bytes")
            self.pieces.setdefault(name, []).append(column)
            position += width

    def whole(self, name: str) -> Any:
        """Return a column as one array, and let go of its pieces."""
        return np.concatenate(self.pieces.pop(name))

    def without_doubles(self) -> None:
        """Drop an object's second row: what runs while the copy looks (a frame of its own) may have been met twice."""
        addresses = np.concatenate(self.pieces["addresses"])
        _, first = np.unique(addresses, return_index=True)
        keep = np.zeros(len(addresses), bool)
        keep[first] = True
        edges = np.repeat(keep, np.concatenate(self.pieces["counts"]))
        numbers = np.repeat(np.arange(len(self.type_addresses)), [count for _, _, count in self.type_addresses])
        left = np.bincount(numbers[keep], minlength=len(self.type_addresses)).tolist()
        self.type_addresses = [(tp, kind, n) for (tp, kind, _), n in zip(self.type_addresses, left, strict=True)]
        for name in list(self.pieces):
            self.pieces[name] = [self.whole(name)[edges if name == "targets" else keep]]


def read_graph(path: str) -> HeapGraph:
    """Read a dump file whole. Raises DumpUnreadable when it is not one, or not complete."""
    data = _open(path)
    name = Path(path).name
    columns = _Columns()
    tables: dict[bytes, list[Any]] = {
        tag: [] for tag in (b"HEAD", b"TYPE", b"LAYO", b"TEXT", b"CODE", b"FRAM", b"ROOT")
    }
    try:
        for tag, payload in read_records(data, name):
            if tag == b"GRUP":
                columns.add(payload)
            elif tag in (b"TYPE", b"CODE", b"FRAM"):
                tables[tag] += decode_lines(payload)
            elif tag in tables:
                tables[tag].append(decode(payload))
        return _build(columns, tables)
    except _SENSELESS as error:
        for _record in read_records(data, name):
            pass  # to its end, where the checksum is: a damaged file is called that, whatever it seemed to say
        told = f"{type(error).__name__}: {error}"
        raise DumpUnreadable(f"{name} makes no sense: {told}", "take or copy the dump again") from None


def _open(path: str) -> memoryview:
    try:
        with Path(path).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError:
        raise DumpUnreadable(f"{Path(path).name} is empty", "take the dump again") from None
    except OSError as error:
        raise DumpUnreadable(f"{path} cannot be read: {error.strerror}", "", "unreadable") from None


def _build(columns: _Columns, tables: dict[bytes, list[Any]]) -> HeapGraph:
    addresses, order = _sorted_addresses(columns)
    counts = columns.whole("counts").astype(np.int64)
    if int(counts.sum()) != sum(map(len, columns.pieces["targets"])):
        raise ValueError("the objects have more references than are there, or fewer")
    offsets = np.concatenate([[0], np.cumsum(counts), [counts.sum()]])
    targets = np.concatenate([_rows(addresses, order, piece) for piece in columns.pieces.pop("targets")])
    types, type_of, kind = _types(columns, tables[b"TYPE"])
    size = columns.whole("size").astype(np.int64) + columns.whole("inline")
    graph = HeapGraph(
        header=tables[b"HEAD"][0],
        roots=tables[b"ROOT"][0],
        types=types,
        layouts=tables[b"LAYO"][0],
        type_of=type_of,
        kind=kind,
        size=np.append(size, 0),
        items=np.append(columns.whole("items").astype(np.int32), 0),
        layout=np.append(columns.whole("layout").astype(np.int32), 0),
        offsets=offsets,
        targets=targets,
        excess=np.append(columns.whole("refcount"), 0),
        addresses=addresses,
        order=order,
    )
    _explain_counts(graph)
    _name_things(graph, tables)
    return graph


def _sorted_addresses(columns: _Columns) -> tuple[npt.NDArray[np.uint64], Ints]:
    """Return the addresses in order and the row of each, after dropping second rows of an object if there are any."""
    addresses = np.concatenate(columns.pieces["addresses"])
    order = np.argsort(addresses, kind="stable").astype(np.int32)
    addresses = addresses[order]
    if (addresses[1:] == addresses[:-1]).any():
        columns.without_doubles()
        return _sorted_addresses(columns)
    return addresses, order


def _types(columns: _Columns, rows: list[Any]) -> tuple[list[TypeInfo], Ints, npt.NDArray[np.uint8]]:
    types = [TypeInfo(name, tuple(bases), finalizer, registered) for _, name, bases, finalizer, registered in rows]
    index = {row[0]: number for number, row in enumerate(rows)}
    types.append(TypeInfo("?", (), False, None))
    numbers = [index[address] for address, _, _ in columns.type_addresses]
    kinds = [kind for _, kind, _ in columns.type_addresses]
    lengths = [count for _, _, count in columns.type_addresses]
    type_of = np.append(np.repeat(np.array(numbers, np.int32), lengths), np.int32(len(types) - 1))
    return types, type_of, np.append(np.repeat(np.array(kinds, np.uint8), lengths), np.uint8(0))


def _explain_counts(graph: HeapGraph) -> None:
    """Turn reference counts into what nothing recorded explains."""
    graph.excess -= np.bincount(graph.targets, minlength=graph.count + 1)
    np.subtract.at(graph.excess, graph.rows(graph.roots["held"]), 1)
    graph.excess -= graph.of_types([info.name == _RING for info in graph.types])
    graph.excess[graph.count] = 0


def _name_things(graph: HeapGraph, tables: dict[bytes, list[Any]]) -> None:
    texts = tables[b"TEXT"][0]
    rows = graph.rows([int(address) for address in texts])
    graph.texts = dict(zip(rows.tolist(), texts.values(), strict=True))
    codes = tables[b"CODE"]
    rows = graph.rows([row[0] for row in codes])
    for row, (_, name, file, line, free) in zip(rows.tolist(), codes, strict=True):
        graph.codes[row] = CodeInfo(name or "?", file or "?", line, tuple(free))
    frames = tables[b"FRAM"]
    rows = graph.rows([row[0] for row in frames])
    code_rows = graph.rows([row[1] for row in frames])
    graph.frames = {
        row: (code, frame[2]) for row, code, frame in zip(rows.tolist(), code_rows.tolist(), frames, strict=True)
    }
