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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.apart import DAMAGED, write_private
from cubicweb_leakwatch.recording.coarse import NARROWEST_S, read_slices
from cubicweb_leakwatch.recording.history import first_moment
from cubicweb_leakwatch.recording.tracks import COLUMNS, Track, tracks_of

Tracks = dict[int, Track]
"""By the process's eid."""

Newest = tuple[int, float]
"""Eid and time of the snapshot that was recorded last."""

POINTS = 360
"""Samples of each process for a chart: one every four minutes of a day, or two pixels."""

WIDTHS_S = (120, 240, 480, 900, 1800, 3600, 7200, 14400, 28800, 86400)
"""Widths of slices that are kept; whole seconds of Unix time that each divides begin a slice."""

USUAL_S = (86400.0, 7 * 86400.0, 30 * 86400.0)
"""The times, until now, that the looping task keeps up to date."""

FORMAT = 2
"""To be raised with every change to what a file holds: one that another version wrote is made anew."""

OVERLAP = 1000
"""Entities so many numbers back are read once more: a transaction that began earlier may have ended later."""

EARLIEST_AFTER = "SELECT MIN(cw_t + 0) FROM cw_memorysnapshot WHERE cw_eid > %(after)s"
"""Plus 0: of the bare column a database goes through the times of a month in their order, to find the first new one."""

FOR_EVER = 1e12
"""A moment after all; what a clock that is ahead has recorded is kept, too, and told when its time has come."""


@dataclass(frozen=True)
class Kept:
    """What a file holds: the slices from the number ``first`` on, up to the snapshot that was the newest."""

    first: int
    last: Newest
    tracks: Tracks


def chart_tracks(
    cnx: Any, directory: Path, since: float, until: float, points: int, process: str | None = None
) -> list[Track]:
    """Return the memory of each process from ``since`` until ``until`` (Unix seconds) in about ``points`` samples.

    They are those of ``read_coarse_samples``, without the other numbers; ``process`` names one.
    """
    begin = max(since, first_moment(cnx, since) or since)  # a young history is drawn in detail
    width_s = next((width for width in WIDTHS_S if width * points >= until - begin), WIDTHS_S[-1])
    if process is not None or width_s == WIDTHS_S[0] or until < time.time() - width_s:
        exact_s = max((until - begin) / points, NARROWEST_S)
        return list(tracks_of(read_slices(cnx, begin, until, exact_s, process=process)).values())
    kept = _current(cnx, directory / f"chart-{width_s}.json", begin, width_s).values()
    return [track for track in (each.between(begin, until) for each in kept) if track.t]


def refresh(cnx: Any, directory: Path) -> None:
    """Bring the files of the usual times up to date."""
    now = time.time()
    for span_s in USUAL_S:
        chart_tracks(cnx, directory, now - span_s, now, POINTS)


def _current(cnx: Any, path: Path, begin: float, width_s: int) -> Tracks:
    """Return the slices from ``begin`` on; the file is written when it is behind."""
    first = int(begin // width_s)
    last = _newest(cnx)  # before the slices are read: the file must not claim more than it holds
    kept = _load(path)
    if last is None:
        return {}
    if kept is None or kept.first > first or not _is_of(cnx, kept.last):
        tracks, behind = _read(cnx, first, width_s), True
    elif kept.last == last:
        return kept.tracks
    else:
        changed = max(first, int(_changed_from(cnx, kept.last[0]) // width_s))
        tracks = _joined({eid: track.slices(first, changed) for eid, track in kept.tracks.items()},
                         _read(cnx, changed, width_s))  # fmt: skip
        behind = abs(last[1] - kept.last[1]) >= width_s
    if behind:
        with contextlib.suppress(OSError):  # no runtime directory: then every visitor reads it all
            write_private(path, _dumped(Kept(first, last, tracks)))
    return tracks


def _joined(before: Tracks, after: Tracks) -> Tracks:
    """Return the tracks with what came later; those with nothing left are left out."""
    joined = {eid: track.then(after[eid]) if eid in after else track for eid, track in before.items()}
    return {eid: track for eid, track in {**after, **joined}.items() if track.t}


def _read(cnx: Any, first: int, width_s: int) -> Tracks:
    found = read_slices(cnx, first * width_s, FOR_EVER, width_s)
    return tracks_of({(process, first + number): row for (process, number), row in found.items()})


def _newest(cnx: Any) -> Newest | None:
    """Return the snapshot that was recorded last; None where there is none."""
    newest = "SELECT MAX(cw_eid) FROM cw_memorysnapshot"
    row = cnx.system_sql(f"SELECT cw_eid, cw_t FROM cw_memorysnapshot WHERE cw_eid = ({newest})").fetchone()
    return (row[0], row[1]) if row else None


def _is_of(cnx: Any, last: Newest) -> bool:
    """Say whether the snapshot that a file ends with is in this database."""
    row = cnx.system_sql("SELECT cw_t FROM cw_memorysnapshot WHERE cw_eid = %(eid)s", {"eid": last[0]}).fetchone()
    return row is not None and row[0] == last[1]


def _changed_from(cnx: Any, eid: int) -> float:
    """Return the time of the earliest snapshot that a file may lack which ends with ``eid``."""
    return float(cnx.system_sql(EARLIEST_AFTER, {"after": eid - OVERLAP}).fetchone()[0])


def _dumped(kept: Kept) -> str:
    tracks = [
        {
            "eid": eid,
            "who": [track.host, track.process, track.pid],
            "columns": [b64encode(column.tobytes()).decode("ascii") for column in track.columns().values()],
            "notes": list(track.notes.items()),
        }
        for eid, track in kept.tracks.items()
    ]
    return json.dumps({"format": FORMAT, "first": kept.first, "last": kept.last, "tracks": tracks})


def _load(path: Path) -> Kept | None:
    """Return what a file holds; None where there is none, or none that can be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            return None
        eid, t = document["last"]
        return Kept(
            int(document["first"]),
            (int(eid), float(t)),
            {int(each["eid"]): _track(each) for each in document["tracks"]},
        )
    except DAMAGED:
        return None


def _track(data: dict[str, Any]) -> Track:
    """Return a track of the file: columns as text, which thousands of numbers are read from faster than from JSON."""
    columns = [array("d", b64decode(column)) for column in data["columns"]]
    if len({len(column) for column in columns}) != 1:
        raise ValueError("columns of different lengths")
    host, process, pid = data["who"]
    notes = {int(number): str(note) for number, note in data["notes"]}
    return Track(host, process, pid, **dict(zip(COLUMNS, columns, strict=True)), notes=notes)
