"""From figures to the values of each metric: pure functions, and the same values for every format."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cubicweb_leakwatch.__pkginfo__ import version
from cubicweb_leakwatch.metrics import families as f
from cubicweb_leakwatch.metrics.families import FAMILIES, Family
from cubicweb_leakwatch.metrics.gather import Figures

HOUR_S = 3600.0
STATES = ("starting", "serving", "draining", "stopping")


@dataclass(frozen=True)
class Point:
    """One value of a metric: the values of the family's labels, in their order; ``created`` is a counter's start."""

    family: Family
    labels: tuple[str, ...]
    value: float
    created: float | None = None


def series(figures: Figures) -> list[tuple[Family, list[Point]]]:
    """Return each metric that has a value, with its points; what is unknown has none."""
    points = [*_instance(figures), *_launcher(figures)]
    for row in by_slot(figures.processes):
        points += _process(figures, row)
    return [
        (family, [point for point in points if point.family is family]) for family in FAMILIES if _has(points, family)
    ]


def _has(points: Iterable[Point], family: Family) -> bool:
    return any(point.family is family for point in points)


def by_slot(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return one row a slot: while a process is replaced the slot has two, and the one that serves speaks for it."""
    chosen: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        known = chosen.get(row["name"])
        if known is None or _rank(row) > _rank(known):
            chosen[row["name"]] = row
    return list(chosen.values())


def _rank(row: Mapping[str, Any]) -> tuple[bool, int, str]:
    return row["state"] == "serving", row["generation"] or 0, row["started_at"]


def _instance(figures: Figures) -> Iterator[Point]:
    yield Point(f.BUILD, (version,), 1)
    for role in sorted({row["role"] for row in figures.processes}):
        for state in STATES:
            number = sum(row["role"] == role and row["state"] == state for row in figures.processes)
            yield Point(f.PROCESSES, (figures.site, role, state), number)
    yield Point(f.SILENT, (figures.site,), figures.silent)
    for family, value in ((f.CONCLUDED, figures.concluded_at), (f.AVAILABLE, figures.available)):
        if value is not None:
            yield Point(family, (figures.site,), value)


def _process(figures: Figures, row: Mapping[str, Any]) -> Iterator[Point]:
    labels = (figures.site, row["name"], row["role"])
    started = unix(row["started_at"])
    yield Point(f.STARTED, labels, started)
    for key, family in {**f.FROM_STATUS, **f.FROM_SAMPLE}.items():
        if row.get(key) is not None:
            yield Point(family, labels, row[key], started if family.kind == "counter" else None)
    finding = (figures.findings or {}).get(row["name"])
    if finding is not None:
        yield from _concluded(labels, finding)


def _concluded(labels: tuple[str, ...], finding: Mapping[str, Any]) -> Iterator[Point]:
    yield Point(f.LEAKING, labels, int(bool(finding.get("leak"))))
    yield Point(f.VERDICT, (*labels, str(finding["kind"])), 1)
    if finding.get("rate_bytes_per_h") is not None:
        yield Point(f.GROWTH, labels, finding["rate_bytes_per_h"] / HOUR_S)
    if finding.get("seconds_to_limit") is not None:
        yield Point(f.TO_LIMIT, labels, finding["seconds_to_limit"])


def _launcher(figures: Figures) -> Iterator[Point]:
    site, launcher = (figures.site,), figures.launcher
    yield Point(f.LAUNCHER_UP, site, int(launcher is not None))
    if launcher is None:
        return
    started = unix(launcher["started_at"])
    yield Point(f.LAUNCHER_STARTED, site, started)
    yield Point(f.WORKERS, site, launcher["workers_wanted"])
    yield Point(f.COMPLAINTS, site, len(launcher["flags"]))
    if launcher.get("rss") is not None:
        yield Point(f.LAUNCHER_RSS, site, launcher["rss"])
    for process, outcomes in sorted((launcher.get("restarts") or {}).items()):
        for outcome, number in sorted(outcomes.items()):
            yield Point(f.RESTARTS, (*site, process, outcome), number, started)


def unix(text: str) -> float:
    """Return ISO 8601 text as Unix seconds."""
    return datetime.fromisoformat(text).timestamp()
