"""The text formats of Prometheus: its own (version 0.0.4) and OpenMetrics 1.0.

Sources: https://prometheus.io/docs/instrumenting/exposition_formats and the OpenMetrics 1.0 specification. They differ
in how counters are named, in the unit, in when a counter began, and in the end of the text.
"""

from collections.abc import Iterator

from cubicweb_leakwatch.metrics.families import Family
from cubicweb_leakwatch.metrics.gather import Figures
from cubicweb_leakwatch.metrics.series import Point, series

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_SUFFIX = {"gauge": "", "counter": "_total", "info": "_info"}
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_ESCAPED_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


def prometheus(figures: Figures) -> str:
    """Return the figures in Prometheus' text format."""
    return "".join(f"{line}\n" for family, points in series(figures) for line in _prometheus(family, points))


def openmetrics(figures: Figures) -> str:
    """Return the figures in OpenMetrics' text format."""
    lines = [line for family, points in series(figures) for line in _openmetrics(family, points)]
    return "".join(f"{line}\n" for line in (*lines, "# EOF"))


def _prometheus(family: Family, points: list[Point]) -> Iterator[str]:
    name = family.name + _SUFFIX[family.kind]
    yield f"# HELP {name} {family.help.translate(_ESCAPED_HELP)}"
    yield f"# TYPE {name} {'counter' if family.kind == 'counter' else 'gauge'}"
    for point in points:
        yield f"{name}{_labels(point)} {number(point.value)}"


def _openmetrics(family: Family, points: list[Point]) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help.translate(_ESCAPED)}"
    yield f"# TYPE {family.name} {family.kind}"
    if family.unit:
        yield f"# UNIT {family.name} {family.unit}"
    for point in points:
        yield f"{family.name}{_SUFFIX[family.kind]}{_labels(point)} {number(point.value)}"
        if point.created is not None:
            yield f"{family.name}_created{_labels(point)} {number(point.created)}"


def _labels(point: Point) -> str:
    pairs = zip(point.family.labels, point.labels, strict=True)
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in pairs) + "}"


def number(value: float) -> str:
    """Return a value as both formats take it: whole ones without a fraction, so that no byte is rounded away."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
