"""The heap dump file: records, a checksum over all of them, written beside and renamed.

Layout (all numbers little-endian): 16 bytes ``LEAKWATCH HEAP`` and the version; then records, each a tag of 4 bytes,
the payload's length (8 bytes), the payload; last the record ``DONE`` with the CRC-32 (4 bytes) of everything before it.

======  ========================================================================================================
tag     payload
======  ========================================================================================================
HEAD    JSON: what the caller says of the process (versions, memory, ...), and ``"byteorder"``, ``"pointer_bytes"``
GRUP    objects of one type: 5 numbers of 8 bytes (address of the type, kind, objects n, references m, which of the
        optional columns follow, as bits: 1 items, 2 layouts, 4 inline sizes), then the columns: addresses (8 bytes
        each), shallow sizes (8), reference counts (8), numbers of references (4), [items (4)], [layouts (4)],
        [inline sizes (4)], addresses referred to (8 each, m of them)
TYPE    JSON lines: ``[address, name, [names of the bases], has a finalizer, registry identifier or null]``
LAYO    JSON: list of lists of names; an object's layout number is an index into it
TEXT    JSON: ``{address of a mapping's key: its text}``
CODE    JSON lines: ``[address, qualified name, file, first line, [free variables]]``
FRAM    JSON lines: ``[address, address of the code, line]``
ROOT    JSON: modules, threads, thread-local dictionaries, garbage, singletons, references that looking itself added
DONE    CRC-32
======  ========================================================================================================
"""

import contextlib
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError

MAGIC = b"LEAKWATCH HEAP"
VERSION = 1
_OPENING = MAGIC + struct.pack("<H", VERSION)
_RECORD = struct.Struct("<4sQ")
GROUP = struct.Struct("<5Q")
HAS_ITEMS, HAS_LAYOUTS, HAS_INLINE = 1, 2, 4


class DumpUnreadable(LeakwatchError):
    """The file is no heap dump, is cut short, damaged, or of a later version; ``message`` says which."""

    code = "dump-unreadable"


class DumpWriter:
    """Writes records to a new file, 0600, that gets its name when it is complete."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._beside = f"{path}.{os.getpid()}.part"
        self._descriptor = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        self._sum = 0
        self.bytes = 0
        self._write(_OPENING)

    def record(self, tag: bytes, *parts: bytes | memoryview) -> None:
        """Write one record; ``parts`` make up the payload."""
        views = [memoryview(part).cast("B") for part in parts]
        self._write(_RECORD.pack(tag, sum(view.nbytes for view in views)))
        for view in views:
            self._write(view)

    def json(self, tag: bytes, value: object) -> None:
        """Write one record of JSON."""
        self.record(tag, json.dumps(value, separators=(",", ":")).encode())

    def json_lines(self, tag: bytes, rows: Iterable[object]) -> None:
        """Write records of JSON lines, a few thousand rows each."""
        lines: list[str] = []
        for row in rows:
            lines.append(json.dumps(row, separators=(",", ":")))
            if len(lines) == 5000:
                self.record(tag, "\n".join(lines).encode())
                lines.clear()
        if lines:
            self.record(tag, "\n".join(lines).encode())

    def finish(self) -> None:
        """Add the checksum, make sure the bytes are on the disk, give the file its name."""
        self.record(b"DONE", struct.pack("<I", self._sum_before_done()))
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        Path(self._beside).replace(self._path)

    def give_up(self) -> None:
        """Remove the unfinished file."""
        with contextlib.suppress(OSError):
            Path(self._beside).unlink()

    def _sum_before_done(self) -> int:
        return zlib.crc32(_RECORD.pack(b"DONE", 4), self._sum)

    def _write(self, data: bytes | memoryview) -> None:
        self._sum = zlib.crc32(data, self._sum)
        view = memoryview(data)
        self.bytes += view.nbytes
        while view.nbytes:
            view = view[os.write(self._descriptor, view) :]


def read_records(data: memoryview, name: str) -> Iterator[tuple[bytes, memoryview]]:
    """Yield tag and payload of every record of a dump; ``name`` is for the messages. Raises DumpUnreadable."""
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise DumpUnreadable(f"{name} is not a leakwatch heap dump", "heap dumps are written by leak-dump")
    (version,) = struct.unpack_from("<H", data, len(MAGIC)) if len(data) >= len(_OPENING) else (VERSION,)
    if version > VERSION:
        hint = "use the leakwatch that wrote it, or a later one"
        raise DumpUnreadable(f"{name} is a heap dump of version {version}; this leakwatch reads up to {VERSION}", hint)
    position = len(_OPENING)
    while position + _RECORD.size <= len(data):
        tag, length = _RECORD.unpack_from(data, position)
        position += _RECORD.size
        payload = data[position : position + length]
        if payload.nbytes < length:
            break
        if tag == b"DONE":
            _check_sum(data[:position], payload, name)
            return
        yield tag, payload
        position += length
    raise DumpUnreadable(f"{name} is cut short: it ends after {len(data):,} bytes", "take or copy the dump again")


def _check_sum(before: memoryview, payload: memoryview, name: str) -> None:
    if struct.pack("<I", zlib.crc32(before)) != bytes(payload):
        raise DumpUnreadable(f"{name} is damaged: its checksum does not match", "take or copy the dump again")


def decode(payload: memoryview) -> Any:
    """Return the value of a JSON record."""
    return json.loads(bytes(payload))


def decode_lines(payload: memoryview) -> Iterator[Any]:
    """Yield the values of a record of JSON lines."""
    return map(json.loads, bytes(payload).decode().splitlines())


def leftover_parts(path: str) -> list[Path]:
    """Return the unfinished files of dumps to ``path`` whose writer was killed."""
    target = Path(path)
    return sorted(target.parent.glob(target.name + ".*.part"))
