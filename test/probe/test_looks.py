"""Further looks into a real process: retained sizes, holders with their picture, a mark, what grew since; in turn."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cubicweb_leakwatch import looks, reports
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.heap.analyze import analyze
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.probe.client import find_probes

ROOT = Path(__file__).parents[2]
HOSTILE = '<script>"\\x1b\\u202e\\n'
PROGRAM = f"""
import sys, time
from pathlib import Path
from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.server import start_probe
Entry = type('{HOSTILE}', (), {{"__module__": "app"}})
CACHE = []
def keep(n):
    entry = Entry()
    entry.text = "%d" % n * 100
    CACHE.append(entry)
for n in range(4000):
    keep(n)
start_probe(Path(sys.argv[1]), "demo", ProcessState(name="web-1", role="web"))
while True:
    keep(0)
    time.sleep(0.05)
"""
NAME = 'app.<script>"\x1b\u202e\n'


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The runtime directory of a process that keeps objects of a type with a hostile name."""
    folder = tmp_path_factory.mktemp("run")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        deadline = time.monotonic() + 30
        while not find_probes(folder) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        yield folder
    finally:
        process.kill()
        process.wait()


def test_retained_sizes_are_kept_for_the_next_reader(directory: Path):
    """Suspects, the largest objects, modules; asked again they cost nothing."""
    found = looks.take_look(directory, "web-1", looks.RETAINED)
    assert found["suspects"][0]["type"] == NAME
    assert found["suspects"][0]["holder"] == "__main__.CACHE"
    assert {"type", "retained", "share", "holder"} <= found["largest"][0].keys()
    assert "__main__" in {row["module"] for row in found["modules"][:3]}
    assert looks.kept_looks(directory, "web-1")[looks.RETAINED] == found
    assert list((directory / "dumps").iterdir()) == []


def test_holders_have_a_picture_that_a_hostile_name_cannot_break(directory: Path):
    """Dot text without a control character, and Graphviz's drawing of it where that is installed."""
    found = looks.take_look(directory, "web-1", looks.HOLDERS, type_name=NAME)
    assert found["groups"][0]["text"] == "__main__.CACHE[…]"
    dot = (looks.kept_picture(directory, "web-1", "dot") or b"").decode()
    assert "\x1b" not in dot and "\u202e" not in dot
    assert '<script>\\"\\\\x1b\\\\u202e\\\\n' in dot
    assert found["picture"] == (shutil.which("dot") is not None)
    if found["picture"]:
        svg = looks.kept_picture(directory, "web-1", "svg") or b""
        assert b"<script>" not in svg and b"&lt;script&gt;" in svg
    assert looks.kept_picture(directory, "web-1", "../x") is None
    as_shown = looks.take_look(directory, "web-1", looks.HOLDERS, type_name=clean(NAME))
    assert as_shown["instances"] >= found["instances"]


def test_growth_wants_a_mark(directory: Path):
    """Then it tells what is new and what holds it; nothing else is kept but the mark's dump."""
    with pytest.raises(LeakwatchError, match="no earlier dump"):
        looks.take_look(directory, "web-1", looks.GROWTH)
    looks.take_look(directory, "web-1", looks.MARK)
    assert (directory / "reports").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (directory / "reports").iterdir()} == {0o600}
    assert looks.take_look(directory, "web-1", looks.GROWTH).keys() == {"taken", "growth", "dump", "marked_at"}
    (kept,) = (directory / "reports").glob("*.dump")
    assert analyze(str(kept))["suspects"][0]["type"] == NAME


def test_one_look_at_a_time(directory: Path):
    """While a gc report is made, a further look waits its turn, and says so in the end."""
    with reports.turn(directory, 1), pytest.raises(LeakwatchError) as caught:
        looks.take_look(directory, "web-1", looks.RETAINED, wait_s=0.2)
    assert caught.value.code == "busy"


def test_a_dump_to_send_is_whole(directory: Path):
    """It has a name of its own, so that the probe's own cleaning does not meet it."""
    taken = looks.dump_to_send(directory, "web-1")
    path = Path(taken["path"])
    assert path.stat().st_size == taken["bytes"]
    path.unlink()
