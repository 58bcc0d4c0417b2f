"""The chart: valid XML, readable by those who do not see it, honest about gaps and peaks."""

import dataclasses
import math
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest
from face_data import HOSTILE, sample

from cubicweb_leakwatch.recording.tracks import tracks_of_samples
from cubicweb_leakwatch.views import history
from cubicweb_leakwatch.views.axes import Scale, memory_ticks, time_ticks
from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import element
from cubicweb_leakwatch.views.memory_chart import HEIGHT, WIDTH, Forecast, Line, Mark, Words, memory_chart, pieces
from cubicweb_leakwatch.views.span import Span, asked_span

SVG = "{http://www.w3.org/2000/svg}"
MIB = 1024**2
NOW = 1_700_000_000.0
WORDS = Words("Memory", "It grows.", "MiB", "limit")


def drawn(*lines: Line, marks: Sequence[Mark] = ()) -> ET.Element:
    """Return the chart of the lines over an hour, parsed."""
    return ET.fromstring(memory_chart(lines, tuple(marks), WORDS, (NOW, NOW + 3600)))


def growing(name: str = "web-1", limit: int | None = None) -> Line:
    """Return a line of an hour that grows from 100 to 160 MiB."""
    return Line(name, tuple((NOW + 60 * i, (100 + i) * MIB) for i in range(61)), limit)


def test_the_chart_can_be_read_aloud() -> None:
    """role=img, a title and a description, both referred to."""
    tree = drawn(growing())
    labels = (tree.get("aria-labelledby") or "").split()
    assert tree.get("role") == "img"
    assert [tree.findtext(f"{SVG}*[@id='{label}']") for label in labels] == ["Memory", "It grows."]


def test_every_line_has_its_name_and_its_own_style() -> None:
    """Not colour alone: the dash pattern goes with the class."""
    samples = [sample(NOW + 60 * i, process=name) for i in range(3) for name in ("web-1", "web-2")]
    tree = drawn(*history.lines_of(tracks_of_samples(samples), {}))
    lines = [node.get("class") for node in tree.iter(f"{SVG}polyline")]
    texts = [node.text for node in tree.iter(f"{SVG}text")]
    assert lines == ["lw-line lw-style-1", "lw-line lw-style-2"]
    assert {"web-1", "web-2"} <= set(texts)


def test_everything_lies_inside_the_picture() -> None:
    """Points beyond the span or the scale are kept at its edge."""
    tree = drawn(Line("a", ((NOW - 9999, 1.0), (NOW + 99999, 1e15))))
    for node in tree.iter(f"{SVG}polyline"):
        for pair in (node.get("points") or "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


def test_the_limit_is_drawn_with_its_value() -> None:
    """The value beside its limit."""
    tree = drawn(growing(limit=400 * MIB))
    assert "limit 400" in [node.text for node in tree.iter(f"{SVG}text")]
    assert any(node.get("class") == "lw-limit" for node in tree.iter(f"{SVG}line"))


def test_a_limit_far_above_is_told_and_does_not_press_the_lines_flat() -> None:
    """Four gibibytes above a hundred mebibytes would leave one pixel for the growth."""
    texts = [node.text for node in drawn(growing(limit=4096 * MIB)).iter(f"{SVG}text")]
    assert "↑ limit 4096" in texts
    assert max(float(text or 0) for text in texts if (text or "").isdigit()) < 300


def test_a_long_line_is_drawn_to_its_end() -> None:
    """No text of a picture is cut as a long name would be."""
    points = tuple((NOW + i, 100.0 * MIB + i) for i in range(2000))
    (line,) = drawn(Line("web-1", points)).iter(f"{SVG}polyline")
    assert len((line.get("points") or "").split()) == 2000


def test_marks_have_letter_and_text() -> None:
    """A restart stands on the chart; one outside the span does not."""
    marks = (Mark(NOW + 60, "R", "web-1: memory limit"), Mark(NOW - 60, "R", "before"))
    titles = [node.text for node in drawn(growing(), marks=marks).iter(f"{SVG}title")]
    assert titles == ["Memory", "web-1: memory limit"]


def test_a_pause_breaks_the_line() -> None:
    """Where nobody measured, nothing is drawn."""
    points = [(0.0, 1.0), (60.0, 1.0), (120.0, 1.0), (1000.0, 1.0), (1060.0, 1.0)]
    assert [len(piece) for piece in pieces(points)] == [3, 2]
    assert pieces([]) == []


def test_a_restart_breaks_the_line() -> None:
    """Two processes of one slot are two lines: nothing fell from one to the other."""
    samples = [sample(NOW + i, pid=1 if i < 3 else 2) for i in range(6)]
    (line,) = history.lines_of(tracks_of_samples(samples), {})
    assert line.births == (NOW + 3,)
    assert [len(piece) for piece in pieces(line.points, line.births)] == [3, 3]


def test_a_single_point_is_a_dot() -> None:
    """The first snapshot is seen as well."""
    assert len(list(drawn(Line("a", ((NOW + 5, MIB),))).iter(f"{SVG}circle"))) == 1


def test_fifty_predictions_are_lines_without_their_cones() -> None:
    """One on the other they would hide all that lies there."""
    forecast = Forecast(rate=2 * MIB / 60, low=MIB / 60, high=3 * MIB / 60)
    leaking = [dataclasses.replace(growing(f"web-{index}"), forecast=forecast) for index in range(50)]
    for lines, cones in ((leaking[:2], 2), (leaking, 0)):
        paths = [node.get("class") or "" for node in drawn(*lines).iter(f"{SVG}path")]
        assert paths.count("lw-cone") == cones
        assert sum("lw-ahead" in path for path in paths) == len(lines)


def test_fifty_processes_fit() -> None:
    """Their names do not leave the picture, and those that find no room are counted."""
    tree = drawn(*(growing(f"web-{index}") for index in range(50)))
    assert all(float(node.get("y") or 0) <= HEIGHT for node in tree.iter(f"{SVG}text"))
    names = [node.text or "" for node in tree.iter(f"{SVG}text") if "lw-name" in (node.get("class") or "")]
    assert names[-1] == f"+{50 - len(names) + 1}"


def test_the_limit_is_read_above_the_lines() -> None:
    """What is drawn last lies on top: fifty lines must not hide where the limit is."""
    parts = [node.get("class") for node in drawn(growing(limit=140 * MIB)).iter()]
    assert parts.index("lw-limit") > parts.index("lw-series")


def test_many_processes_are_summed_up_behind_a_click() -> None:
    """A dozen rows stand open; fifty would push the findings out of sight."""
    for count, folded in ((12, 1), (13, 2)):
        samples = [sample(NOW + 1, process=f"web-{index}") for index in range(count)]
        shown = history.chart(tracks_of_samples(samples), [], {}, [], SPAN, FIGURES)
        assert shown.count("<details>") == folded


@pytest.mark.parametrize("highest", [0, 1, 5 * MIB, 123 * MIB, 999 * MIB, 64 * 1024 * MIB])
def test_memory_steps_are_round_and_reach_the_top(highest: float) -> None:
    """A handful of steps from 0."""
    ticks = memory_ticks(highest)
    assert ticks[0] == 0
    assert ticks[-1] >= highest
    assert 3 <= len(ticks) <= 8


@pytest.mark.parametrize("span", [10, 600, 3600, 86400, 7 * 86400, 30 * 86400, 700 * 86400])
def test_time_marks_are_few_and_inside(span: float) -> None:
    """Whatever the span."""
    ticks = [moment for moment, _label in time_ticks(NOW, NOW + span)]
    assert 1 <= len(ticks) <= 30
    assert all(NOW <= moment <= NOW + span for moment in ticks)


def test_days_begin_at_local_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark of a day stands where the day changes for the reader."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert all(time.localtime(moment)[3:5] == (0, 0) for moment, _label in time_ticks(NOW, NOW + 6 * 86400))
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_scale_of_one_moment_does_not_divide_by_zero() -> None:
    """Everything stands in the middle."""
    assert Scale(5, 5, 0, 10)(5) == 5


def test_thinning_keeps_every_peak() -> None:
    """Fewer points, the same extremes, still in order."""
    points = [(float(t), math.sin(t / 50) * 100) for t in range(10_000)]
    points[4321] = (4321.0, 5000.0)
    kept = history.thinned(*zip(*points, strict=True))
    assert len(kept) <= 420
    assert (4321.0, 5000.0) in kept
    assert kept == sorted(kept)


FIGURES = Figures(str)
SPAN = Span(NOW, NOW + 3600)


def page(*parts: object) -> ET.Element:
    """Return the parts as one parsed element."""
    return ET.fromstring(element("div", *parts))


def test_no_history_says_what_to_do() -> None:
    """An empty chart would look like a broken one."""
    shown = history.chart([], [], {}, [], SPAN, FIGURES)
    assert "svg" not in shown
    assert "leakwatch-interval" in shown


def test_the_numbers_stand_beside_the_chart() -> None:
    """First, last, lowest, highest, change of each process; the description says the same."""
    samples = [sample(NOW + i, (100 + i) * MIB) for i in range(11)]
    tree = page(history.chart(tracks_of_samples(samples), [], {}, [], SPAN, FIGURES))
    row = [cell.text for cell in tree.find(".//tbody/tr")]  # type: ignore[union-attr]
    assert row == ["web-1", "100.0", "110.0", "100.0", "110.0", "+10.0"]
    assert "from 100.0 to 110.0 MiB" in (tree.findtext(f".//{SVG}desc") or "")


def test_hosts_are_named_where_there_are_several() -> None:
    """web-1 of one host is not web-1 of the other."""
    one = [sample(NOW), sample(NOW + 1, process="web-2")]
    assert [line.name for line in history.lines_of(tracks_of_samples(one), {})] == ["web-1", "web-2"]
    two = [sample(NOW, host="a"), sample(NOW, host="b")]
    assert [line.name for line in history.lines_of(tracks_of_samples(two), {})] == ["a:web-1", "b:web-1"]


def test_a_process_keeps_its_name_and_style_whoever_is_shown_beside_it() -> None:
    """A narrower time may leave a process out, or a whole host."""
    names = ("scheduler", "web-1", "web-2")
    of_all = {(host, name): sample(NOW, host=host, process=name) for host in "ab" for name in names}
    lines = history.lines_of(tracks_of_samples(list(of_all.values())), {})
    alone = [history.lines_of(tracks_of_samples([one]), {}, hosts=["a", "b"])[0] for one in of_all.values()]
    assert [(line.name, line.style) for line in alone] == [(line.name, line.style) for line in lines]
    assert len({line.style for line in lines}) == len(lines)


def test_hostile_names_are_text_in_chart_and_tables() -> None:
    """Process names, notes and reasons come from outside."""
    samples = [sample(NOW + 1, process=HOSTILE, note=HOSTILE)]
    events = [{"t": NOW + 1, "kind": "restart", "process": HOSTILE, "text": HOSTILE}]
    finding = {
        "process": HOSTILE,
        "leak": True,
        "ceiling": 5e8,
        "rate_bytes_per_h": 1e6,
        "rate_low": 0,
        "rate_high": 2e6,
    }
    tree = page(
        history.chart(tracks_of_samples(samples), events, {}, [finding], SPAN, FIGURES),
        history.latest(samples, FIGURES),
    )
    assert not list(tree.iter("script"))
    assert not list(tree.iter(f"{SVG}script"))


def ahead(rate: float, low: float, high: float) -> ET.Element:
    """Draw a line that ends at 100 MiB with a forecast in MiB a second."""
    forecast = Forecast(rate * MIB, low * MIB, high * MIB)
    return drawn(dataclasses.replace(growing(), forecast=forecast))


def test_a_leak_is_continued_as_a_cone() -> None:
    """The time axis goes on past now, and the cone is as wide as the interval."""
    tree = ahead(0.1, 0.05, 0.2)
    assert float(tree.get("data-to") or 0) > NOW + 600
    (cone,) = [node for node in tree.iter(f"{SVG}path") if node.get("class") == "lw-cone"]
    assert cone.findtext(f"{SVG}title") == "web-1: predicted"
    ys = [float(y) for y in re.findall(r",([\d.]+)", cone.get("d") or "")]
    assert min(ys) < ys[0]


def test_a_steep_cone_leaves_at_the_top() -> None:
    """A leak of gigabytes a second does not make the rest of the chart flat, nor its cone bend."""
    tree = ahead(1000.0, 500.0, 2000.0)
    assert max(float(node.text) for node in tree.iter(f"{SVG}text") if (node.text or "").isdigit()) < 1000


def test_what_does_not_leak_is_not_continued() -> None:
    """A plateau has its ceiling instead."""
    finding = {"process": "web-1", "leak": False, "ceiling": 150 * MIB, "rate_bytes_per_h": 1.0, "rate_low": 0.0}
    (line,) = history.lines_of(tracks_of_samples([sample(NOW)]), {}, [finding])
    assert (line.forecast, line.ceiling) == (None, 150 * MIB)
    assert "web-1: ceiling 150" in [node.text for node in drawn(line).iter(f"{SVG}text")]


def test_a_storm_of_restarts_is_named_once_in_a_while() -> None:
    """Each has its mark and its tooltip; letters that would overlap are left out."""
    marks = [Mark(NOW + index, "R", f"restart {index}") for index in range(100)]
    tree = drawn(growing(), marks=marks)
    assert len([node for node in tree.iter(f"{SVG}g") if node.get("class") == "lw-event"]) == 100
    assert 1 <= [node.text for node in tree.iter(f"{SVG}text")].count("R") <= 20


def test_a_finding_stands_on_the_chart() -> None:
    """When leakwatch first said that it leaks; what is no leak is no event."""
    opened = {"opened_at": "2023-11-14T22:13:30Z", "process": "web-1", "kind": "native"}
    span = Span(1_700_000_000.0, 1_700_000_100.0)
    found = history.finding_events([{**opened, "leak": True}, {**opened, "leak": False}], span)
    assert [(event["kind"], event["t"]) for event in found] == [("finding", 1_700_000_010.0)]
    assert [mark.letter for mark in history.marks_of(found, FIGURES)] == ["F"]


def test_a_span_is_moved_and_zoomed() -> None:
    """By shares of its length, and it can be asked for in an address."""
    span = Span(100.0, 200.0)
    assert (span.shifted(-0.5), span.zoomed(0.5)) == (Span(50.0, 150.0), Span(125.0, 175.0))
    assert span.as_parameters() == {"from": "100", "to": "200"}
    assert asked_span({"span": "7d"}.get, NOW).as_parameters() == {"span": "7d"}


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        ({}, NOW - 86400, NOW),
        ({"span": "7d"}, NOW - 7 * 86400, NOW),
        ({"span": "' OR 1"}, NOW - 86400, NOW),
        ({"from": str(NOW - 100), "to": str(NOW - 50)}, NOW - 100, NOW - 50),
        ({"from": "2023-11-14T22:00:00Z"}, 1_699_999_200.0, NOW),
        ({"from": str(NOW), "to": str(NOW - 50)}, NOW - 86400, NOW),
        ({"from": "nan"}, NOW - 86400, NOW),
        ({"from": "-5", "to": "inf"}, NOW - 86400, NOW),
    ],
)
def test_the_span_is_what_was_asked_or_the_last_day(given: dict[str, str], start: float, end: float) -> None:
    """Whatever stands in the address."""
    span = asked_span(given.get, NOW)
    assert (span.start, span.end) == (start, end)
