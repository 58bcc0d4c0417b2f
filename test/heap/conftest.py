"""Fixtures of the heap's tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from heap_programs import run_program

from cubicweb_leakwatch.heap.graph import HeapGraph, read_graph

_TAKE = """
import gc, json, sys
from cubicweb_leakwatch.heap.dump import take_dump
gc.collect()
taken = take_dump(sys.argv[1], header={"process": {"name": "web-1", "pid": 1, "role": "web"}}, contents=CONTENTS)
print(json.dumps(taken.__dict__))
import os
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture
def dump_of(tmp_path: Path) -> Callable[..., str]:
    """Return ``dump_of(source)``: the path of a dump of a fresh program after it ran ``source``."""

    def take(source: str, *, collect: bool = True, contents: bool = False) -> str:
        path = str(tmp_path / f"{len(list(tmp_path.iterdir()))}.dump")
        ending = _TAKE.replace("CONTENTS", str(contents))
        if not collect:
            ending = ending.replace("gc.collect()\n", "")
        run_program(source + ending, path)
        return path

    return take


@pytest.fixture
def graph_of(dump_of: Callable[..., str]) -> Callable[..., HeapGraph]:
    """Return ``graph_of(source)``: the heap graph of a fresh program after it ran ``source``."""

    def take(source: str, **options: Any) -> HeapGraph:
        return read_graph(dump_of(source, **options))

    return take
