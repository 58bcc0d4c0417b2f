"""The gc report as markup: everything of it, hostile names as text."""

import xml.etree.ElementTree as ET

from face_data import HANDLER, HOSTILE, cycle, process, report

from cubicweb_leakwatch.views import gc_report
from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import element
from cubicweb_leakwatch.views.processes import overview

FIGURES = Figures(str)


def shown(**values: object) -> ET.Element:
    """Return a report as parsed markup."""
    return ET.fromstring(element("div", gc_report.report(report(**values), FIGURES)))


def words(tree: ET.Element) -> str:
    """Return the text that one reads."""
    return " ".join(" ".join(tree.itertext()).split())


def test_the_report_says_which_process_when_and_at_what_cost() -> None:
    """Name, pid, time, pause."""
    told = words(shown())
    assert "scheduler (pid 77)" in told
    assert "stopped for 3.2 ms, looked at for 1.5 s" in told


def test_a_cycle_is_told_whole() -> None:
    """Finalizers, count, members, way round, what holds it."""
    told = words(shown())
    assert f"{HANDLER} × 2,000, urllib.request.OpenerDirector × 2,000" in told
    assert f"{HANDLER}.parent → urllib.request.OpenerDirector['http'] → {HANDLER}" in told
    assert "Held by cubicweb_leakdemo.polling.POLLER.handlers[…]" in told


def test_trash_is_held_by_nothing() -> None:
    """And a holder that was not found is unknown, which is something else."""
    assert "Held by nothing" in words(shown(cycles=[cycle(reachable=False, holder=None)]))
    assert "Held by n/a" in words(shown(cycles=[cycle(holder=None)]))


def test_types_have_count_size_and_growth() -> None:
    """Growth with its sign, n/a where there is no baseline."""
    rows = [
        [cell.text for cell in row]
        for row in shown(cycles=[]).findall(".//table[caption='Most frequent types']/tbody/tr")
    ]
    assert rows == [["builtins.dict", "40,000", "3,906.2", "+1,500"], [HANDLER, "2,000", "n/a", "n/a"]]


def test_empty_parts_are_said_to_be_empty() -> None:
    """No empty tables."""
    told = words(shown(garbage={"count": 0, "bytes": 0, "types": []}, cycles=[], growth_since=None, roles=None))
    assert "gc.garbage is empty." in told
    assert "No object with __del__ is in a reference cycle." in told
    assert "growth is unknown" in told
    assert "CubicWeb objects" not in told


def test_a_partial_answer_says_so() -> None:
    """A copy that was refused for want of room must not look like a clean process."""
    assert "Partial answer: no room" in words(shown(partial="no room"))


def test_hostile_names_are_text() -> None:
    """A type's name is an attack on whoever looks for the leak."""
    tree = shown(
        process={"name": HOSTILE, "pid": 1, "role": "web"},
        partial=HOSTILE,
        garbage={"count": 1, "bytes": 1, "types": [{"type": HOSTILE, "count": 1, "bytes": 1}]},
        types=[{"type": HOSTILE, "count": 1, "bytes": 1, "delta": 1}],
        cycles=[cycle(finalizers=[HOSTILE], types=[{"type": HOSTILE, "count": 1}], path=[HOSTILE], holder=HOSTILE)],
        roles={"entity": {HOSTILE: 1}, HOSTILE: 1},
    )
    assert not list(tree.iter("script"))
    assert "\x1b" not in words(tree)


def test_the_overview_names_each_process() -> None:
    """Memory beside its limit, garbage marked, a verdict for each."""
    tree = ET.fromstring(overview([process(), process("web-2", garbage=7, leak=True, verdict="native")], FIGURES))
    rows = tree.findall(".//tbody/tr")
    assert [row[0].text for row in rows] == ["web-1", "web-2"]
    assert [cell.text for cell in rows[1] if "lw-alarm" in (cell.get("class") or "")] == ["7", "native"]
