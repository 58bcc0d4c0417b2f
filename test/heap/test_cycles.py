"""Cycles that hold objects with finalizers, in the gc report."""

from collections.abc import Callable
from typing import Any

import pytest

from cubicweb_leakwatch.heap.report import gc_report

Report = Callable[..., dict[str, Any]]

HANDLERS = """
import urllib.request
class Handler(urllib.request.HTTPHandler):
    def __del__(self):
        pass
class Poller:
    def __init__(self):
        self.handlers = {}
    def poll(self, number):
        self.handlers[number] = urllib.request.build_opener(Handler())
POLLER = Poller()
for number in range(COUNT):
    POLLER.poll(number)
"""


@pytest.fixture
def report_of(dump_of: Callable[..., str]) -> Report:
    """Return ``report_of(source)``: the gc report of a fresh program."""
    return lambda source, **options: gc_report(dump_of(source, **options))


def with_finalizer(report: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the report's shapes in which this type finalizes."""
    return [shape for shape in report["cycles"] if name in shape["finalizers"]]


def test_kept_handlers_are_one_shape_with_the_right_count_and_holder(report_of: Report):
    """Each handler with its opener is a cycle of its own, kept by the poller's attribute."""
    report = report_of(HANDLERS.replace("COUNT", "200"))
    (shape,) = with_finalizer(report, "__main__.Handler")
    assert shape["count"] == 200
    assert shape["reachable"] is True
    assert shape["holder"] == "__main__.POLLER.handlers[…]"
    assert shape["path"] == [
        "__main__.Handler",
        ".parent",
        "urllib.request.OpenerDirector",
        ".handlers",
        "list",
        shape["path"][5],
        "__main__.Handler",
    ]
    assert {"type": "__main__.Handler", "count": 200} in shape["types"]


def test_a_registry_that_the_members_point_back_to_does_not_melt_the_cycles(report_of: Report):
    """With a reference back to the poller everything is one component; the poller is a hub, not a member."""
    source = HANDLERS.replace("COUNT", "150") + "for o in POLLER.handlers.values(): o.handlers[0].owner = POLLER\n"
    source += "for o in POLLER.handlers.values(): o.owner = POLLER\n"
    (shape,) = with_finalizer(report_of(source), "__main__.Handler")
    assert shape["count"] == 150
    assert shape["holder"] == "__main__.POLLER.handlers[…]"


def test_dead_cycles_are_reported_and_their_finalizers_have_not_run(report_of: Report, tmp_path):
    """What waits for the collector is found unreachable; looking does not finalize it, in the copy or the process."""
    mark = tmp_path / "ran"
    source = f"""
import gc, os
gc.disable()
class Dead:
    def __init__(self):
        self.me = self
        self.other = {{"back": [self]}}
    def __del__(self):
        os.close(os.open({str(mark)!r}, os.O_CREAT | os.O_WRONLY))
for _ in range(30):
    Dead()
"""
    (shape,) = with_finalizer(report_of(source, collect=False), "__main__.Dead")
    assert (shape["count"], shape["reachable"], shape["holder"]) == (30, False, None)
    assert shape["path"] == ["__main__.Dead", ".me", "__main__.Dead"]
    assert not mark.exists()


def test_an_object_that_hangs_off_a_dead_cycle_counts_as_its_finalizer(report_of: Report):
    """The cycle itself finalizes nothing, but what dies with it does."""
    source = """
import gc
gc.disable()
class Plain: pass
class Closing:
    def __del__(self): pass
for _ in range(7):
    a, b = Plain(), Plain()
    a.b, b.a, b.file = b, a, Closing()
del a, b
"""
    (shape,) = with_finalizer(report_of(source, collect=False), "__main__.Closing")
    assert (shape["count"], shape["reachable"]) == (7, False)


def test_a_cycle_kept_by_a_thread_local_is_reachable(report_of: Report):
    """Objects that only another thread's local data hold are not trash."""
    source = """
import threading
class Held:
    def __init__(self): self.me = self
    def __del__(self): pass
local, started = threading.local(), threading.Event()
def work():
    local.held = Held()
    started.set()
    threading.Event().wait()
threading.Thread(target=work, name="worker-7", daemon=True).start()
started.wait()
"""
    (shape,) = with_finalizer(report_of(source), "__main__.Held")
    assert (shape["count"], shape["reachable"]) == (1, True)
    assert shape["holder"] == "__main__.local.held in thread worker-7"


def test_what_a_running_frame_holds_is_reachable_and_named(report_of: Report):
    """A local variable of another thread's function is the holder."""
    source = """
import threading
class Held:
    def __init__(self): self.me = self
    def __del__(self): pass
started = threading.Event()
def work():
    kept = [Held()]
    started.set()
    threading.Event().wait()
threading.Thread(target=work, name="worker-8", daemon=True).start()
started.wait()
"""
    (shape,) = with_finalizer(report_of(source), "__main__.Held")
    assert shape["holder"].startswith("local variable kept[…] of work() at <string>:")
    assert shape["holder"].endswith(" in thread worker-8")


def test_a_reference_taken_by_c_code_keeps_an_object_alive(report_of: Report):
    """A reference count that nothing explains is a holder, so that the object is not called trash."""
    source = """
import ctypes
class Held:
    def __init__(self): self.me = self
    def __del__(self): pass
held = Held()
ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
del held
"""
    (shape,) = with_finalizer(report_of(source), "__main__.Held")
    assert shape["reachable"] is True
    assert "held by C code" in shape["holder"]


def test_a_clean_program_has_no_dead_cycles(report_of: Report):
    """After a collection nothing is called trash: every reference is explained or taken for a holder."""
    source = "import json, logging, urllib.request, decimal, threading, asyncio, sqlite3, xml.dom.minidom\n"
    assert [shape for shape in report_of(source)["cycles"] if not shape["reachable"]] == []


def test_uncollectable_objects_are_listed_as_garbage(report_of: Report):
    """An object whose type has a ``tp_del`` stays in ``gc.garbage`` for ever."""
    pytest.importorskip("_testcapi")
    source = """
import _testcapi, gc
@_testcapi.with_tp_del
class Stuck:
    def __tp_del__(self): pass
for _ in range(3):
    stuck = Stuck()
    stuck.me = stuck
del stuck
gc.collect()
"""
    report = report_of(source)
    assert report["garbage"]["count"] == 3
    assert [row["type"] for row in report["garbage"]["types"]] == ["__main__.Stuck"]
    assert report["garbage"]["bytes"] > 0
    assert with_finalizer(report, "__main__.Stuck")[0]["count"] == 3
