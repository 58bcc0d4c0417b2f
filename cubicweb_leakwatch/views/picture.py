"""The chart of recorded memory as a file of its own, with its styles inside."""

from importlib.resources import files
from typing import Any

from cubicweb_leakwatch.recording.tracks import tracks_of_samples
from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.history import lines_of, marks_of
from cubicweb_leakwatch.views.markup import Html, element
from cubicweb_leakwatch.views.memory_chart import Words, memory_chart


def picture(recorded: dict[str, Any]) -> str:
    """Return an SVG document of what the service ``leakwatch_history`` gave."""
    marks = marks_of(recorded["events"], Figures(str))
    lines = lines_of(tracks_of_samples(recorded["samples"]), {})
    words = Words("Recorded memory of the processes", "Resident memory (RSS) by process.", "MiB", "limit")
    begin = min((line.points[0][0] for line in lines), default=recorded["since"])
    return memory_chart(lines, marks, words, (begin, recorded["until"]), _styles())


def _styles() -> Html:
    """Return those rules of the pages' style sheet that are about the chart."""
    sheet = (files("cubicweb_leakwatch") / "data" / "cubes.leakwatch.css").read_text(encoding="utf-8")
    rules = [line.removeprefix(".lw-chart ") for line in sheet.splitlines() if line.startswith(".lw-chart ")]
    return element("style", Html("\n".join(rules)))
