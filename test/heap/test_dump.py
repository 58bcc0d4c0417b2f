"""Dump files: complete or not there, private, checked when read."""

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.heap.dump import take_dump
from cubicweb_leakwatch.heap.dumpfile import GROUP, DumpUnreadable
from cubicweb_leakwatch.heap.forked import CopyFailed
from cubicweb_leakwatch.heap.graph import _Columns, read_graph


@pytest.fixture
def dump(dump_of: Callable[..., str]) -> Path:
    """A small dump."""
    return Path(dump_of("kept = ['a']\n"))


def test_a_dump_is_for_its_owner_only(dump: Path):
    """The file holds what the process held: nobody else reads it."""
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600


def test_a_dump_that_is_cut_short_is_refused(dump: Path):
    """Wherever it is cut, the sentence says so."""
    data = dump.read_bytes()
    for length in (20, len(data) // 2, len(data) - 1):
        dump.write_bytes(data[:length])
        with pytest.raises(DumpUnreadable, match="cut short"):
            read_graph(str(dump))


def test_a_damaged_dump_is_refused(dump: Path):
    """One wrong bit is found by the checksum, wherever it is and whatever it makes the file say."""
    data = dump.read_bytes()
    for place in range(len(data) // 64, len(data) - 64, len(data) // 64):
        for bit in (1, 0x80):
            damaged = bytearray(data)
            damaged[place] ^= bit
            dump.write_bytes(damaged)
            with pytest.raises(DumpUnreadable, match=r"damaged|cut short"):  # a record's length may lead past the end
                read_graph(str(dump))


def test_an_object_larger_than_memory_is_refused():
    """A dump whose checksum is right, but whose sizes nobody could add up, is refused as senseless."""
    columns = struct.pack("<QQqI", 4096, 1 << 63, 1, 0)
    with pytest.raises(ValueError, match="an object of 9223372036854775808 bytes"):
        _Columns().add(memoryview(GROUP.pack(4096, 0, 1, 0, 0) + columns))


@pytest.mark.parametrize("content", [b"", b"\x7fELF whatever", b"LEAKWATCH"])
def test_a_foreign_file_is_refused(dump: Path, content: bytes):
    """What is no dump is not read as one."""
    dump.write_bytes(content)
    with pytest.raises(DumpUnreadable, match=r"is not a leakwatch heap dump|is empty"):
        read_graph(str(dump))


def test_a_dump_of_a_later_version_is_refused_by_name(dump: Path):
    """The sentence names both versions."""
    data = bytearray(dump.read_bytes())
    data[14:16] = struct.pack("<H", 99)
    dump.write_bytes(data)
    with pytest.raises(DumpUnreadable, match="of version 99"):
        read_graph(str(dump))


def test_a_dump_that_is_not_finished_leaves_no_file(tmp_path: Path):
    """Neither the file nor its unfinished part remain when the copy is killed."""
    with pytest.raises(CopyFailed):
        take_dump(str(tmp_path / "x.dump"), header={}, time_limit_s=0.05)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_before_forking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One sentence that names the folder."""
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it forked"))
    with pytest.raises(LeakwatchError, match="cannot be written"):
        take_dump(str(tmp_path / "no" / "x.dump"), header={})


def test_texts_of_keys_are_kept_only_when_they_are_identifiers(dump_of: Callable[..., str]):
    """A password used as a key does not reach the file, unless contents are asked for."""
    source = "kept = {'plain_key': 1, 'secret pass-word': 2}\n"
    assert b"secret pass-word" not in Path(dump_of(source)).read_bytes()
    assert b"secret pass-word" in Path(dump_of(source, contents=True)).read_bytes()
