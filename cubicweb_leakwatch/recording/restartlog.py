"""Reading the launcher's journal of finished restarts, which outlives the launcher. Imports nothing of CubicWeb."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.serve.journal import JOURNAL

NEEDED = ("id", "process", "requested_at")
MAX_SUMMARY = 100_000
MAX_BYTES = 4 * 1024 * 1024
"""The launcher keeps its journal well below this; a longer file is not its own."""


def finished_restarts(directory: Path) -> list[dict[str, Any]]:
    """Return the records of the journal, oldest first; half a line, left by a full disk or a power cut, is skipped."""
    try:
        with (directory / JOURNAL).open(encoding="utf-8", errors="replace") as journal:
            lines = journal.read(MAX_BYTES).splitlines()
    except OSError:
        return []
    return [record for record in map(_record, lines) if record is not None]


def autopsy_of(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the autopsy of the old worker showed, with the path of its ``dump``; None where there was none."""
    dump = record.get("autopsy")
    if not isinstance(dump, str) or not dump:
        return None
    try:
        with Path(dump).with_suffix(".json").open(encoding="utf-8") as summary:
            found = json.loads(summary.read(MAX_SUMMARY))
    except (OSError, ValueError):
        found = {}
    return {"dump": dump, **(found if isinstance(found, dict) else {})}


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and all(isinstance(record.get(key), str) for key in NEEDED)
    return record if whole else None
