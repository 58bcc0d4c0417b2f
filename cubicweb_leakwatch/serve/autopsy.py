"""The autopsy: the heap of a worker that has drained, before it exits; it disturbs nobody any more.

The dump is kept, and beside it, as ``.json``, what it shows: top growth, cycles with finalizers, holders. Only a worker
that asked for its successor itself is examined, unless LEAKWATCH_AUTOPSY is ``always`` or ``never``.
"""

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.apart import run_apart, write_private
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.server import Probe
from cubicweb_leakwatch.room import read_room

LOG = logging.getLogger("leakwatch.serve")

FOLDER = "autopsies"
KEPT = 5
TIME_LIMIT_S = 25.0
READ_LIMIT_S = 30.0
TOP = 5
"""Types, cycles and suspects of a summary."""

READER_BYTES, READER_SHARE = 200 * 1024**2, 6
"""Memory that reading a dump takes: NumPy and its friends, and so many times the dump's size."""

ALWAYS, NEVER = "always", "never"


def is_wanted(setting: str, asked_itself: bool) -> bool:
    """Whether a drained worker is examined."""
    return setting == ALWAYS or (asked_itself and setting != NEVER)


def take(probe: Probe) -> str | None:
    """Write the dump, keep it among the last few, and return its path; None, and a line in the log, when it failed."""
    folder = probe.path.parent / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        taken = Path(probe.answers.dump({"time_limit_s": TIME_LIMIT_S})["path"])
        kept = taken.rename(folder / taken.name)
    except (LeakwatchError, OSError) as error:
        LOG.warning("event=autopsy-failed why=%r", str(error))
        return None
    _write_summary(kept)
    _keep_newest(folder)
    return str(kept)


def _write_summary(dump: Path) -> None:
    """Have the dump read in a process of its own; without the room or the time for that the dump itself remains."""
    room = read_room().available
    if room is not None and room < READER_BYTES + READER_SHARE * dump.stat().st_size:
        LOG.warning("event=autopsy-not-read why='%d MiB are left' dump=%s", room // 1024**2, dump)
        return
    try:
        seen = run_apart(
            "cubicweb_leakwatch.heap",
            "gc",
            str(dump),
            "--limit",
            str(TOP),
            kind=dict,
            what="the autopsy",
            time_limit_s=READ_LIMIT_S,
        )
        found = run_apart(
            "cubicweb_leakwatch.heap",
            "analyze",
            str(dump),
            "--limit",
            str(TOP),
            kind=dict,
            what="the autopsy",
            time_limit_s=READ_LIMIT_S,
        )
        write_private(summary_path(dump), json.dumps(summary(seen, found)))
    except (LeakwatchError, OSError) as error:
        LOG.warning("event=autopsy-not-read why=%r dump=%s", str(error), dump)


def summary_path(dump: Path) -> Path:
    """Return where the summary of a dump lies."""
    return dump.with_suffix(".json")


def summary(seen: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the best of the two reports: ``growth`` (types since the first look), ``cycles``, ``suspects``."""
    grown = [_only(row, "type", "count", "bytes", "delta") for row in seen["types"] if (row.get("delta") or 0) > 0]
    return {
        "objects": found["objects"],
        "bytes": found["bytes"],
        "garbage": {name: seen["garbage"][name] for name in ("count", "bytes")},
        "growth_since": seen.get("growth_since"),
        "most": [_only(row, "type", "count", "bytes") for row in seen["types"][:TOP]],
        "growth": sorted(grown, key=lambda row: -row["delta"])[:TOP],
        "cycles": [_only(row, "count", "objects", "bytes", "finalizers", "holder") for row in seen["cycles"][:TOP]],
        "suspects": [_only(row, "type", "retained", "share", "holder") for row in found["suspects"][:TOP]],
    }


def _only(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: row.get(name) for name in names}


def _keep_newest(folder: Path) -> None:
    dumps = sorted(folder.glob("*.dump"), key=lambda dump: dump.stat().st_mtime, reverse=True)
    for old in dumps[KEPT:]:
        with contextlib.suppress(OSError):
            old.unlink()
            summary_path(old).unlink()
