"""The memory of processes over time, a column a number, as a chart draws it.

A chart of a month has thousands of samples; as an object each they would cost more than all the rest of the page.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

COLUMNS = ("number", "t", "rss", "merged", "low", "high")
Column = array


@dataclass(frozen=True)
class Track:
    """One process: the elements at one place of all columns belong together, in time order.

    ``number`` is that of the slice of time, ``t`` Unix seconds, ``rss`` bytes, the mean of ``merged`` snapshots, with
    their ``low`` and ``high``. ``notes`` are by number.
    """

    host: str
    process: str
    pid: int
    number: "Column[float]" = field(default_factory=lambda: array("d"))
    t: "Column[float]" = field(default_factory=lambda: array("d"))
    rss: "Column[float]" = field(default_factory=lambda: array("d"))
    merged: "Column[float]" = field(default_factory=lambda: array("d"))
    low: "Column[float]" = field(default_factory=lambda: array("d"))
    high: "Column[float]" = field(default_factory=lambda: array("d"))
    notes: dict[int, str] = field(default_factory=dict)

    def columns(self) -> "dict[str, Column[float]]":
        """Return the columns by name."""
        return {name: getattr(self, name) for name in COLUMNS}

    def part(self, begin: int, end: int) -> "Track":
        """Return the places from ``begin`` to before ``end``."""
        if begin <= 0 and end >= len(self.t):
            return self
        columns: dict[str, Any] = {name: column[begin:end] for name, column in self.columns().items()}
        return replace(self, **columns)

    def between(self, since: float, until: float) -> "Track":
        """Return what was measured from ``since`` until ``until`` (Unix seconds)."""
        return self.part(bisect_left(self.t, since), bisect_right(self.t, until))

    def slices(self, first: int, end: float) -> "Track":
        """Return the slices from the number ``first`` to before ``end``."""
        return self.part(bisect_left(self.number, first), bisect_left(self.number, end))

    def then(self, later: "Track") -> "Track":
        """Return the track that goes on with a later one."""
        columns: dict[str, Any] = {name: column + getattr(later, name) for name, column in self.columns().items()}
        return replace(self, **columns, notes={**self.notes, **later.notes})

    def samples(self) -> list[dict[str, Any]]:
        """Return the samples as documented."""
        who = {"host": self.host, "process": self.process, "pid": self.pid}
        return [{**who, **self._sample(*row)} for row in zip(*self.columns().values(), strict=True)]

    def _sample(self, number: float, t: float, rss: float, merged: float, low: float, high: float) -> dict[str, Any]:
        sample: dict[str, Any] = {"t": t, "rss": int(rss)}
        if merged > 1:
            sample.update(merged=int(merged), spread={"rss": [int(low), int(high)]})
        note = self.notes.get(int(number))
        return sample if note is None else {**sample, "note": note}


def tracks_of(slices: Mapping[tuple[Any, int], dict[str, Any]]) -> dict[Any, Track]:
    """Return the track of each process from its slices, by process and number, as ``read_slices`` gives them."""
    found: dict[Any, Track] = {}
    for (process, number), row in sorted(slices.items()):
        track = found.get(process)
        if track is None:
            track = found[process] = Track(row["host"], row["process"], row["pid"])
        low, high = row["spread"]["rss"]
        for name, value in zip(COLUMNS, (number, row["t"], row["rss"], row["merged"], low, high), strict=True):
            getattr(track, name).append(value)
        if row["note"] is not None:
            track.notes[number] = row["note"]
    return found


def tracks_of_samples(samples: Iterable[Mapping[str, Any]]) -> list[Track]:
    """Return a track a process from samples as documented, in time order."""
    slices: dict[tuple[Any, int], dict[str, Any]] = {}
    for number, sample in enumerate(samples):
        low, high = (sample.get("spread") or {}).get("rss") or (sample["rss"], sample["rss"])
        who = (sample.get("host", ""), sample["process"], sample.get("pid", 0))
        slices[who, number] = {
            "host": who[0], "process": who[1], "pid": who[2], "t": sample["t"], "rss": sample["rss"],
            "merged": sample.get("merged", 1), "spread": {"rss": [low, high]}, "note": sample.get("note"),
        }  # fmt: skip
    return list(tracks_of(slices).values())


def samples_of(tracks: Iterable[Track]) -> list[dict[str, Any]]:
    """Return the samples of all tracks as documented, oldest first."""
    return sorted((sample for track in tracks for sample in track.samples()), key=itemgetter("t"))
