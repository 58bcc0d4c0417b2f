"""Count the objects of a dump by type."""

from typing import Any

import numpy as np

from cubicweb_leakwatch.heap.graph import Bools, HeapGraph, Longs


def type_rows(graph: HeapGraph, keep: Bools | None = None) -> list[dict[str, Any]]:
    """Return ``{"type", "count", "bytes"}`` a type name, most bytes first; of the rows in ``keep`` only, if given."""
    chosen = slice(None) if keep is None else keep
    numbers = graph.type_of[chosen]
    counts = np.bincount(numbers, minlength=len(graph.types))
    sizes = np.bincount(numbers, weights=graph.size[chosen], minlength=len(graph.types))
    counts[-1] -= keep is None  # the row that stands for what was not recorded
    merged = merge_names(graph, counts, sizes.astype(np.int64))
    rows = [{"type": name, "count": count, "bytes": size} for name, (count, size) in merged.items() if count > 0]
    return sorted(rows, key=lambda row: (-row["bytes"], row["type"]))


def merge_names(graph: HeapGraph, counts: Longs, sizes: Longs) -> dict[str, tuple[int, int]]:
    """Add up the figures of types that bear the same name."""
    merged: dict[str, tuple[int, int]] = {}
    for info, count, size in zip(graph.types, counts.tolist(), sizes.tolist(), strict=True):
        before = merged.get(info.name, (0, 0))
        merged[info.name] = (before[0] + count, before[1] + size)
    return merged


def with_growth(graph: HeapGraph, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add ``delta``, the growth since the process's baseline, to each row (None without a baseline)."""
    baseline = graph.header.get("baseline") or {}
    everything, tracked = baseline.get("everything"), baseline.get("tracked")
    return [{**row, "delta": _delta(row, everything, tracked)} for row in rows]


def _delta(row: dict[str, Any], everything: dict[str, int] | None, tracked: dict[str, int] | None) -> int | None:
    """Compare with the full counts; with those of tracked objects alone, only where the type was among them."""
    if everything:
        return int(row["count"]) - everything.get(row["type"], 0)
    if tracked and row["type"] in tracked:
        return int(row["count"]) - tracked[row["type"]]
    return None
