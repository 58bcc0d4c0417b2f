"""Take a heap dump of this process."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.heap.dumpfile import leftover_parts
from cubicweb_leakwatch.heap.extract import extract
from cubicweb_leakwatch.heap.forked import run_with_pins


@dataclass(frozen=True)
class DumpTaken:
    """A dump that was written: where, its size, how many objects it has, and what it cost (milliseconds).

    ``partial`` says what is missing from it, or is None.
    """

    path: str
    bytes: int
    objects: int
    pause_ms: float
    elapsed_ms: float
    partial: str | None


def take_dump(
    path: str,
    *,
    header: dict[str, Any],
    baseline: dict[str, Any] | None = None,
    contents: bool = False,
    time_limit_s: float = 120.0,
) -> DumpTaken:
    """Write the heap of this process to ``path``, from a forked copy: the process is stopped for the fork alone.

    ``header`` is what the dump says of the process, ``baseline`` its earlier type counts (both of JSON's types); with
    ``contents`` the texts of keys that are no identifiers are kept too. The file (mode 0600) appears when complete.
    Raises CopyRefused, CopyFailed, or LeakwatchError when the folder cannot be written.
    """
    folder = Path(path).absolute().parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LeakwatchError(f"the folder {folder} cannot be written", "name another file with -o", "unwritable")
    whole = {**header, "baseline": baseline}
    try:
        result = run_with_pins(lambda pins: extract(path, whole, pins, contents=contents), time_limit_s=time_limit_s)
    except LeakwatchError:
        for part in leftover_parts(path):
            with contextlib.suppress(OSError):
                part.unlink()
        raise
    written = result.value
    return DumpTaken(path, written["bytes"], written["objects"], result.pause_ms, result.elapsed_ms, None)
