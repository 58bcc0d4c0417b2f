"""Write the whole heap to a dump file, from inside the forked copy."""

import contextlib
import gc
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from types import CodeType, FrameType
from typing import Any

from cubicweb_leakwatch.heap.dumpfile import GROUP, HAS_INLINE, HAS_ITEMS, HAS_LAYOUTS, DumpWriter
from cubicweb_leakwatch.heap.pins import Pins
from cubicweb_leakwatch.heap.rawread import addresses
from cubicweb_leakwatch.heap.readers import reader_of
from cubicweb_leakwatch.heap.reading import MAPPING, Layouts, Read, Reader
from cubicweb_leakwatch.heap.roots import THREAD_LOCAL, describe_roots, thread_frames
from cubicweb_leakwatch.heap.sizes import shallow_sizes
from cubicweb_leakwatch.heap.typenames import (
    HEAP_TYPE,
    find_in_mro,
    flags,
    has_finalizer,
    mro,
    plain_text,
    type_name,
)
from cubicweb_leakwatch.heap.walk import BIAS, Untracked, own_objects, tracked_by_type

_CHUNK = 20_000
_LONGEST_KEY = 80
_MOST_NAMED_KEYS = 5_000  # the keys of larger mappings are data, not names


class Extraction:
    """One walk over the heap, written record by record as it goes."""

    def __init__(self, writer: DumpWriter, *, contents: bool) -> None:
        self._writer = writer
        self._contents = contents
        self._untracked = Untracked()
        self._layouts = Layouts()
        self._types: dict[int, tuple[type, Reader]] = {}
        self._keys: dict[int, object] = {}
        self._codes: dict[int, CodeType] = {}
        self._frames: list[tuple[int, int, int]] = []
        self._thread_locals: list[object] = []
        self.objects = 0

    def run(self, groups: dict[int, list[object]], pins: Pins) -> None:
        """Walk and write everything but the header and the trailer; ``groups`` is emptied on the way."""
        garbage = list(map(id, gc.garbage))
        frames = thread_frames(pins)
        known = set(map(id, groups.get(id(FrameType), ())))
        extra = [frame for _, stack, own in frames for frame in stack + own if id(frame) not in known]
        counted: list[tuple[list[Any], array[int]]] = [(group, _reference_counts(group)) for group in groups.values()]
        self._untracked.know(extra)
        if extra:
            counted.append((extra, array("q", bytes(8 * len(extra)))))
        groups.clear()
        while counted:
            self._write_group(*counted.pop())
        for group, counts in self._untracked.hand_out():
            self._write_group(group, counts)
        self._write_tables()
        self._writer.json(b"ROOT", {**describe_roots(pins, frames, self._thread_locals), "garbage": garbage})

    def _write_group(self, group: list[Any], counts: "array[int]") -> None:
        tp, reader = self._known_type(type(group[0]))
        if any(base is THREAD_LOCAL for base in mro(tp)):
            self._thread_locals += group
        for start in range(0, len(group), _CHUNK):
            part = group[start : start + _CHUNK]
            self._write_chunk(tp, reader, part, counts[start : start + _CHUNK])

    def _known_type(self, tp: type) -> tuple[type, Reader]:
        known = self._types.get(id(tp))
        if known is None:
            known = self._types[id(tp)] = (tp, reader_of(tp, self._layouts))
            self._untracked.take([tp])
        return known

    def _write_chunk(self, tp: type, reader: Reader, part: list[Any], counts: "array[int]") -> None:
        sizes = shallow_sizes(tp, part)
        read = reader(part)
        self._note(tp, part, read)
        targets = addresses(read.referents)
        self._untracked.take(read.referents)
        maybe = [(HAS_ITEMS, read.items), (HAS_LAYOUTS, read.layouts), (HAS_INLINE, read.inline_bytes)]
        present = [(bit, column) for bit, column in maybe if column]
        bits = sum(bit for bit, _ in present)
        head = GROUP.pack(id(tp), read.kind, len(part), len(targets) // 8, bits)
        optional = [memoryview(column) for _, column in present]
        columns = (memoryview(column) for column in (sizes, counts, read.counts))
        self._writer.record(b"GRUP", head, addresses(part), *columns, *optional, targets)
        self.objects += len(part)

    def _note(self, tp: type, part: Sequence[Any], read: Read) -> None:
        """Remember what the tables need: texts of keys, code, frames."""
        if read.kind == MAPPING:
            self._note_keys(part, read)
        elif tp is CodeType:
            self._codes.update((id(code), code) for code in part)
        elif tp is FrameType:
            self._frames += [(id(frame), id(frame.f_code), frame.f_lineno or 0) for frame in part]

    def _note_keys(self, part: Sequence[Any], read: Read) -> None:
        assert read.items is not None
        limit = sys.maxsize if self._contents else _MOST_NAMED_KEYS
        small = [found for found, size in zip(part, read.items, strict=True) if size <= limit]
        keys = list(chain.from_iterable(map(dict.keys, small)))
        self._keys.update(zip(map(id, keys), keys, strict=True))

    def _write_tables(self) -> None:
        writer = self._writer
        writer.json_lines(b"TYPE", (_describe_type(tp) for tp, _ in self._types.values()))
        writer.json(b"LAYO", [list(map(self._clean, names)) for names in self._layouts.numbers])
        writer.json(b"TEXT", dict(self._key_texts()))
        writer.json_lines(b"CODE", map(_describe_code, self._codes.values()))
        writer.json_lines(b"FRAM", self._frames)

    def _clean(self, name: str) -> str:
        text = self._key_text(name)
        return "…" if text is None else text

    def _key_texts(self) -> Iterator[tuple[int, str]]:
        for address, key in self._keys.items():
            text = self._key_text(key)
            if text is not None:
                yield address, text

    def _key_text(self, key: object) -> str | None:
        """Return a key's text: identifiers, and with ``contents`` any short string or number."""
        if type(key) is str:
            text = str(key)[:_LONGEST_KEY]
            return text if self._contents or text.replace(".", "_").isidentifier() else None
        return repr(key)[:_LONGEST_KEY] if self._contents and type(key) in (int, bytes) else None


def _reference_counts(group: list[object]) -> "array[int]":
    """Return the reference counts of a group, less the one of the list that is its only holder of ours."""
    return array("q", [count - BIAS for count in map(sys.getrefcount, group)])


def _describe_type(tp: type) -> list[object]:
    registered = find_in_mro(tp, "__regid__") if flags(tp) & HEAP_TYPE else None
    return [id(tp), type_name(tp), [type_name(base) for base in mro(tp)[1:]], has_finalizer(tp), plain_text(registered)]


def _describe_code(code: CodeType) -> list[object]:
    names = [plain_text(name) for name in code.co_freevars]
    return [id(code), plain_text(code.co_qualname), plain_text(code.co_filename), code.co_firstlineno, names]


def extract(path: str, header: dict[str, Any], pins: Pins, *, contents: bool) -> dict[str, int]:
    """Write the dump file of this process; return how many bytes and objects it has."""
    groups = tracked_by_type(own_objects(pins))  # first, so that nothing of what follows is in it
    writer = DumpWriter(path)
    try:
        writer.json(b"HEAD", {**header, "byteorder": sys.byteorder, "contents": contents})
        extraction = Extraction(writer, contents=contents)
        extraction.run(groups, pins)
        writer.finish()
    except BaseException:
        with contextlib.suppress(Exception):
            writer.give_up()
        raise
    return {"bytes": writer.bytes, "objects": extraction.objects}
