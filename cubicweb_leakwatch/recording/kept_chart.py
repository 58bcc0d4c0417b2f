"""The slices of a chart that ends now, kept in a file: thirty days then cost what the last hour does.

Who shows a chart reads the file, and from the database only what has been recorded since. The looping task brings the
files of the usual times up to date, so that the first visitor of a fresh worker waits no longer than others. Nothing
stays in memory. A file that is not of this database, as one was restored, is made anew.
"""

import contextlib
import json
import time
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.apart import write_private
from cubicweb_leakwatch.recording.coarse import read_coarse_samples, read_slices, told
from cubicweb_leakwatch.recording.history import first_moment

Samples = dict[tuple[int, int], dict[str, Any]]
"""By the process's eid and the number of the slice."""

POINTS = 360
"""Samples of each process for a chart: one every four minutes of a day, or two pixels."""

WIDTHS_S = (120, 240, 480, 900, 1800, 3600, 7200, 14400, 28800, 86400)
"""Widths of slices that are kept; whole seconds of Unix time that each divides begin a slice."""

USUAL_S = (86400.0, 7 * 86400.0, 30 * 86400.0)
"""The times, until now, that the looping task keeps up to date."""

FORMAT = 1
"""To be raised with every change to what a file holds: one that another version wrote is made anew."""

OVERLAP = 1000
"""Entities so many numbers back are read once more: a transaction that began earlier may have ended later."""

FOR_EVER = 1e12
"""A moment after all; what a clock that is ahead has recorded is kept, too, and told when its time has come."""


def chart_samples(
    cnx: Any, directory: Path, since: float, until: float, points: int, process: str | None = None
) -> list[dict[str, Any]]:
    """Return about ``points`` samples of each process from ``since`` until ``until`` (Unix seconds), oldest first.

    They are those of ``read_coarse_samples``, without the other numbers; ``process`` names one.
    """
    begin = max(since, first_moment(cnx, since) or since)  # a young history is drawn in detail
    width_s = next((width for width in WIDTHS_S if width * points >= until - begin), WIDTHS_S[-1])
    if process is not None or width_s == WIDTHS_S[0] or until < time.time() - width_s:
        return read_coarse_samples(cnx, begin, until, points, process=process, others=())
    kept = _current(cnx, directory / f"chart-{width_s}.json", begin, width_s).values()
    return sorted((sample for sample in kept if begin <= sample["t"] <= until), key=itemgetter("t"))


def refresh(cnx: Any, directory: Path) -> None:
    """Bring the files of the usual times up to date."""
    now = time.time()
    for span_s in USUAL_S:
        chart_samples(cnx, directory, now - span_s, now, POINTS)


def _current(cnx: Any, path: Path, begin: float, width_s: int) -> Samples:
    """Return the samples from ``begin`` on; the file is written when it is behind."""
    first = int(begin // width_s)
    last = _newest(cnx)  # before the slices are read: the file must not claim more than it holds
    kept = _load(path)
    if last is None:
        return {}
    if kept is None or kept["first"] > first or not _is_of(cnx, kept["last"]):
        samples, behind = _read(cnx, first, width_s), True
    else:
        changed = int(_changed_from(cnx, kept["last"][0]) // width_s)
        samples = {key: sample for key, sample in kept["samples"].items() if first <= key[1] < changed}
        samples.update(_read(cnx, max(first, changed), width_s))
        behind = abs(last[1] - kept["last"][1]) >= width_s
    if behind:
        with contextlib.suppress(OSError):  # no runtime directory: then every visitor reads it all
            write_private(path, _dumped(samples, first, last))
    return samples


def _read(cnx: Any, first: int, width_s: int) -> Samples:
    found = read_slices(cnx, first * width_s, FOR_EVER, width_s)
    return {(process, first + number): told(row) for (process, number), row in found.items()}


def _newest(cnx: Any) -> tuple[int, float] | None:
    """Return eid and time of the snapshot that was recorded last; None where there is none."""
    newest = "SELECT MAX(cw_eid) FROM cw_memorysnapshot"
    row = cnx.system_sql(f"SELECT cw_eid, cw_t FROM cw_memorysnapshot WHERE cw_eid = ({newest})").fetchone()
    return (row[0], row[1]) if row else None


def _is_of(cnx: Any, last: list[Any]) -> bool:
    """Say whether the snapshot that a file ends with is in this database."""
    row = cnx.system_sql("SELECT cw_t FROM cw_memorysnapshot WHERE cw_eid = %(eid)s", {"eid": last[0]}).fetchone()
    return row is not None and row[0] == last[1]


def _changed_from(cnx: Any, eid: int) -> float:
    """Return the time of the earliest snapshot that a file may lack which ends with ``eid``."""
    earliest = "SELECT MIN(cw_t) FROM cw_memorysnapshot WHERE cw_eid > %(after)s"
    return float(cnx.system_sql(earliest, {"after": eid - OVERLAP}).fetchone()[0])


def _dumped(samples: Samples, first: int, last: tuple[int, float]) -> str:
    rows = [(*key, sample["t"], sample["rss"], *_merged(sample)) for key, sample in samples.items()]
    return json.dumps(
        {
            "format": FORMAT,
            "first": first,
            "last": last,
            "processes": {key[0]: [each["host"], each["process"], each["pid"]] for key, each in samples.items()},
            "notes": [[*key, sample["note"]] for key, sample in samples.items() if "note" in sample],
            "columns": [_packed(column) for column in zip(*rows, strict=True)],
        }
    )


def _merged(sample: dict[str, Any]) -> tuple[int, int, int]:
    """Return of how many snapshots a sample is the mean, their lowest and their highest."""
    low, high = sample["spread"]["rss"] if "spread" in sample else (sample["rss"], sample["rss"])
    return sample.get("merged", 1), low, high


def _packed(column: Iterable[float]) -> str:
    """Return a column as text: thousands of numbers are read five times as fast as they would be from JSON."""
    return b64encode(array("d", column).tobytes()).decode("ascii")


def _unpacked(column: str) -> "array[float]":
    return array("d", b64decode(column))


def _load(path: Path) -> dict[str, Any] | None:
    """Return what a file holds; None where there is none, or none that can be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            return None
        named = {int(eid): process for eid, process in document["processes"].items()}
        columns = [_unpacked(column) for column in document["columns"]]
        samples = {(int(row[0]), int(row[1])): _sample(named[int(row[0])], row) for row in zip(*columns, strict=True)}
        for process, number, note in document["notes"]:
            samples[process, number]["note"] = note
        return {**document, "samples": samples}
    except (OSError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _sample(process: list[Any], row: Sequence[float]) -> dict[str, Any]:
    """Return a row of the file as a sample."""
    _eid, _number, t, rss, merged, low, high = row
    sample = {"host": process[0], "process": process[1], "pid": process[2], "t": t, "rss": int(rss)}
    if merged > 1:
        sample["merged"] = int(merged)
        sample["spread"] = {"rss": [int(low), int(high)]}
    return sample
