"""A finding as lines for a terminal."""

from collections.abc import Iterator
from typing import Any

from cubicweb_leakwatch.commands.terminal import Screen, wrapped
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.watch.units import format_bytes, format_duration, format_rate

FINDING_CSV = (
    "process", "host", "kind", "leak", "since", "rate_bytes_per_h", "rate_low", "rate_high", "bytes_per_request",
    "confidence", "holder", "ceiling", "seconds_to_limit", "culprits", "views", "advice", "opened_at", "closed_at",
)  # fmt: skip
"""Columns of findings under ``--csv``."""


def by_urgency(finding: dict[str, Any]) -> tuple[bool, float]:
    """Sort leaks first, the one that reaches its limit first before the others."""
    left = finding.get("seconds_to_limit") if finding.get("leak") else None
    return not finding.get("leak"), float("inf") if left is None else left


def finding_lines(finding: dict[str, Any], screen: Screen) -> Iterator[str]:
    """Return the sentence, then what it rests on; ``finding`` is in the documented shape."""
    style = ("bold", "red") if finding.get("leak") else ("bold",)
    for line in wrapped("", f"{clean(finding['process'])}: {clean(finding.get('advice') or finding['kind'])}", screen):
        yield screen.style(line, *style)
    for label, value in _facts(finding):
        yield from wrapped(f"  {label:<12}", clean(value), screen)


def _facts(finding: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "kind", finding["kind"]
    if finding.get("rate_bytes_per_h") is not None:
        low, high = format_rate(finding.get("rate_low")), format_rate(finding.get("rate_high"))
        yield "rate", f"{format_rate(finding['rate_bytes_per_h'])} (95 %: {low} to {high})"
    if finding.get("bytes_per_request") is not None:
        yield "a request", format_bytes(finding["bytes_per_request"])
    for key in ("since", "opened_at", "closed_at", "holder"):
        if finding.get(key):
            yield key.replace("_at", ""), str(finding[key])
    if finding.get("ceiling") is not None:
        yield "ceiling", format_bytes(finding["ceiling"])
    if finding.get("seconds_to_limit") is not None:
        left = finding["seconds_to_limit"]
        yield "to limit", "now" if left < 60 else format_duration(left)
    for culprit in finding.get("culprits") or ():
        yield "type", f"{culprit['type']}: {culprit['objects_per_h']:+,.0f} objects/h"
    for view in finding.get("views") or ():
        name = view["view"].removeprefix("task ")
        yield "view" if name == view["view"] else "task", f"{name}: {view['share']:.0%} of the growth"
    yield from _evidence(finding)


def _evidence(finding: dict[str, Any]) -> Iterator[tuple[str, str]]:
    evidence = finding.get("evidence") or {}
    yield "confidence", f"{finding.get('confidence') or 0.0:.0%}: {evidence.get('why', 'n/a')}"
    for note in evidence.get("notes") or ():
        yield "note", str(note)
    for what, count in (evidence.get("ignored") or {}).items():
        yield "left out", f"{what} ({count} times)"
