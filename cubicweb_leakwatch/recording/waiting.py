"""What was measured while the database was away, kept in a file: a collector that is itself replaced loses nothing.

What is already recorded is left alone when it is recorded again, so a file that was read twice doubles nothing.
Imports nothing of CubicWeb.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from cubicweb_leakwatch.apart import DAMAGED, write_private
from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.recording.measuring import Identity, Measured

FILE = "waiting.json"

Waiting = tuple[Measured, str | None]
"""What was measured of a process, and the note that goes with it."""


def keep(directory: Path, waiting: Iterable[Waiting]) -> None:
    """Write down what waits; raises ``OSError``."""
    rows = [{**dataclasses.asdict(measured), "samples": _samples(measured), "note": note} for measured, note in waiting]
    write_private(directory / FILE, json.dumps(rows))


def _samples(measured: Measured) -> list[dict[str, object]]:
    return [sample.as_json() for sample in measured.samples]


def read(directory: Path) -> list[Waiting]:
    """Return what waits; nothing where the file is missing, or makes no sense."""
    try:
        rows = json.loads((directory / FILE).read_text(encoding="utf-8"))
        return [_waiting(row) for row in rows]
    except DAMAGED:
        return []


def _waiting(row: dict[str, object]) -> Waiting:
    given = dict(row)
    note = given.pop("note")
    identity = Identity(**given.pop("identity"))  # type: ignore[arg-type]
    samples = tuple(Sample.from_json(sample) for sample in given.pop("samples"))  # type: ignore[attr-defined]
    return Measured(identity, samples, **given), note if isinstance(note, str) else None  # type: ignore[arg-type]


def forget(directory: Path) -> None:
    """Remove the file, once all is recorded."""
    (directory / FILE).unlink(missing_ok=True)
