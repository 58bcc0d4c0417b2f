"""Further looks into a heap, for the gc page: retained sizes, holders, a mark to compare with, growth.

Each takes a dump and analyses it in a process of its own, in turn with the gc reports; its result is kept beside them
for the next reader. Imports nothing of CubicWeb.
"""

import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from cubicweb_leakwatch import live
from cubicweb_leakwatch.apart import run_apart, write_private
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.client import ProbeAddress, choose
from cubicweb_leakwatch.reports import ANALYSIS_TIMEOUT_S, TURN_S, report_path, turn

RETAINED, HOLDERS, MARK, GROWTH = KINDS = ("retained", "holders", "mark", "growth")
TAKEN = ("taken_at", "bytes", "objects", "pause_ms", "elapsed_ms", "partial")
"""What is kept of a dump; a process that has not been replaced since an upgrade may leave some of it out."""

LIMIT = 20
DOT_LIMIT_S = 5.0
PICTURES = {"svg": "image/svg+xml", "dot": "text/vnd.graphviz"}


def take_look(
    directory: Path, process: str, kind: str, *, type_name: str = "", wait_s: float = TURN_S
) -> dict[str, Any]:
    """Look at a process, keep what was found and return it; ``kind`` is one of ``KINDS``, ``holders`` wants a type.

    Raises ``ConfigurationError`` when there is no such process, ``LeakwatchError`` for the rest: code ``busy`` when
    another look goes on for too long.
    """
    if kind not in KINDS:
        raise LeakwatchError("no such look", f"there are {', '.join(KINDS)}", "usage")
    if kind == HOLDERS and not type_name:
        raise LeakwatchError("say which type", "the types stand in the table of the gc page", "usage")
    address = choose(directory, process)[0]
    with turn(directory, wait_s), live.taken_dump(address) as dump:
        found = {"taken": {key: dump.get(key) for key in TAKEN}}
        report_path(directory, address.name, address.pid).parent.mkdir(mode=0o700, exist_ok=True)
        found |= _LOOKS[kind](directory, address, dump["path"], type_name)
        _keep(directory, address, kind, found)
    return found


def kept_looks(directory: Path, process: str) -> dict[str, dict[str, Any]]:
    """Return what the last look of each kind found; nobody is asked. ``ConfigurationError``: no such process."""
    address = choose(directory, process)[0]
    found = {}
    for kind in KINDS:
        with contextlib.suppress(OSError, ValueError):
            found[kind] = dict(json.loads(_file(directory, address, f"{kind}.json").read_text(encoding="utf-8")))
    return found


def kept_picture(directory: Path, process: str, form: str) -> bytes | None:
    """Return the last picture of holders, ``svg`` or ``dot``; None when there is none."""
    if form not in PICTURES:
        return None
    try:
        return _file(directory, choose(directory, process)[0], form).read_bytes()
    except OSError:
        return None


def dump_to_send(directory: Path, process: str) -> dict[str, Any]:
    """Take a dump in turn with the looks; return ``path``, ``name`` and ``bytes``. The caller removes the file."""
    address = choose(directory, process)[0]
    with turn(directory, TURN_S), live.taken_dump(address) as dump:
        path = Path(dump["path"])
        kept = path.with_suffix(".sent")
        path.rename(kept)
    return {"path": str(kept), "bytes": dump["bytes"], "name": f"{address.name}-{address.pid}.dump"}


def _retained(_directory: Path, _address: ProbeAddress, dump: str, _type: str) -> dict[str, Any]:
    return _analysed("analyze", "--limit", str(LIMIT), dump)


def _holders(directory: Path, address: ProbeAddress, dump: str, type_name: str) -> dict[str, Any]:
    text = _file(directory, address, "dot")
    found = _analysed("holders", "--limit", str(LIMIT), "--dot", str(text), "--", dump, type_name)
    text.chmod(0o600)
    return {**found, "picture": _draw(text, _file(directory, address, "svg"))}


def _mark(directory: Path, address: ProbeAddress, dump: str, _type: str) -> dict[str, Any]:
    Path(dump).rename(_file(directory, address, "dump"))
    return {}


def _growth(directory: Path, address: ProbeAddress, dump: str, _type: str) -> dict[str, Any]:
    before = _file(directory, address, "dump")
    if not before.exists():
        raise LeakwatchError("there is no earlier dump to compare with", "set a mark first", "no-mark")
    found = _analysed("analyze", "--limit", str(LIMIT), "--baseline", str(before), dump)
    marked = kept_looks(directory, str(address.pid)).get(MARK, {}).get("taken", {})
    return {"growth": found["growth"], "dump": found["dump"], "marked_at": marked.get("taken_at")}


_LOOKS = {RETAINED: _retained, HOLDERS: _holders, MARK: _mark, GROWTH: _growth}


def _analysed(*arguments: str) -> dict[str, Any]:
    what = "the analysis of the heap dump"
    found: dict[str, Any] = run_apart(
        "cubicweb_leakwatch.heap", *arguments, kind=dict, what=what, time_limit_s=ANALYSIS_TIMEOUT_S
    )
    return found


def _draw(text: Path, picture: Path) -> bool:
    """Have Graphviz draw it, where it is installed and takes no more than a few seconds; say whether it did."""
    picture.unlink(missing_ok=True)
    program = shutil.which("dot")
    if program is None:
        return False
    try:
        done = subprocess.run(
            [program, "-Tsvg", str(text)],
            capture_output=True,
            timeout=DOT_LIMIT_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    write_private(picture, done.stdout.decode("utf-8", "replace"))
    return True


def _file(directory: Path, address: ProbeAddress, suffix: str) -> Path:
    return report_path(directory, address.name, address.pid).with_suffix(f".{suffix}")


def _keep(directory: Path, address: ProbeAddress, kind: str, found: dict[str, Any]) -> None:
    write_private(_file(directory, address, f"{kind}.json"), json.dumps(found))
