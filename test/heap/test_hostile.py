"""Nothing of the inspected program runs because it is looked at."""

from collections.abc import Callable
from pathlib import Path

from heap_programs import run_program

from cubicweb_leakwatch.heap.graph import HeapGraph
from cubicweb_leakwatch.heap.report import gc_report

HOSTILE = """
import os
CALLS = os.open(MARK, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
def called(name):
    def method(*args, **kwargs):
        with open(MARK, "a") as file:
            file.write(name + "\\n")
        raise RuntimeError(name)
    return method
NAMES = ("__repr__", "__str__", "__eq__", "__hash__", "__len__", "__iter__", "__bool__", "__getattr__", "__del__",
         "__getattribute__", "__sizeof__", "__reduce_ex__", "__dir__", "__instancecheck__", "__contains__", "__index__",
         "__getitem__", "__call__", "keys", "values", "items")
BODY = {name: called(name) for name in NAMES}
PROPERTIES = {"__class__": property(called("__class__")), "__dict__": property(called("__dict__"))}
class Meta(type):
    __getattribute__ = called("metaclass __getattribute__")
    __hash__ = called("metaclass __hash__")
    __eq__ = called("metaclass __eq__")
    __repr__ = called("metaclass __repr__")
    __sizeof__ = called("metaclass __sizeof__")
    __instancecheck__ = called("metaclass __instancecheck__")
    __subclasscheck__ = called("metaclass __subclasscheck__")
    __len__ = called("metaclass __len__")
kept = []
for base in (object, dict, list, tuple, set, str, int, Exception):
    made = type.__call__(Meta, "Hostile", (base,), {**BODY, **PROPERTIES})
    plain = type("Plain", (base,), BODY)
    slotted = type("Slotted", (base,), {**BODY, "__slots__": () if base in (tuple, str, int) else ("slot",)})
    for tp in (made, plain, slotted):
        found = base.__new__(tp)
        kept.append(found)
        kept.append({1: found})
    object.__setattr__(kept[-4], "attribute", kept[-6])
import weakref
def generator():
    local = kept[0]
    yield local
running = generator()
next(running)
closing = lambda: kept
import threading
HOSTILE_THREAD = {"__dict__": property(called("thread __dict__")), "name": property(called("thread name"))}
type("HostileThread", (threading.Thread,), HOSTILE_THREAD)(target=threading.Event().wait, daemon=True).start()
"""


def test_no_hostile_method_is_called_by_counting_or_dumping(tmp_path: Path, dump_of: Callable[..., str]):
    """Objects and classes whose every special method would be noticed: none is."""
    mark = tmp_path / "calls"
    path = dump_of(
        HOSTILE.replace("MARK", repr(str(mark)))
        + "from cubicweb_leakwatch.heap.counts import take_counts\ntake_counts(untracked=True)\n"
    )
    assert mark.read_text() == ""
    report = gc_report(path, limit=500)
    counted = {row["type"]: row["count"] for row in report["types"]}
    assert counted["__main__.Plain"] == counted["__main__.Slotted"] == counted["__main__.Hostile"] == 8


def test_looking_leaves_the_process_as_it_was():
    """No dictionary is made for an instance, nothing is tracked more, no flag is left, no collection runs."""
    before, after = run_program(
        """
        import gc, json, sys, tempfile
        from cubicweb_leakwatch.heap.counts import take_counts
        from cubicweb_leakwatch.heap.dump import take_dump
        class Plain:
            def __init__(self): self.a = []
        kept = [Plain() for _ in range(100)]
        collections = []
        path = tempfile.mktemp()
        def look():
            take_counts(untracked=True)
            take_dump(path, header={})
        def figures():
            inline = sum(len(gc.get_referents(found)) for found in kept)
            return [len(gc.get_objects()), inline, gc.get_debug(), gc.get_threshold(), gc.isenabled(),
                    len(collections), gc.get_freeze_count()]
        figures()
        look()
        gc.collect()
        gc.callbacks.append(lambda phase, info: collections.append(phase))
        before = figures()
        for _ in range(5):
            look()
        after = figures()
        print(json.dumps([before, after]))
        """
    )
    assert after[0] - before[0] <= 2  # the test's own lists
    assert before[1:] == after[1:]


def test_a_tracer_of_the_program_does_not_follow_into_the_copy(tmp_path: Path):
    """A trace function, a profiler and tracemalloc are the program's; the copy runs without."""
    assert run_program(
        f"""
        import json, os, sys, tracemalloc
        from cubicweb_leakwatch.heap.counts import take_counts
        parent = os.getpid()
        def trace(*args):
            if os.getpid() != parent:
                open({str(tmp_path / "traced")!r}, "w").close()
            return trace
        tracemalloc.start()
        sys.settrace(trace)
        counts = take_counts()
        assert sys.gettrace() is trace
        sys.settrace(None)
        print(json.dumps(counts.gc_objects > 100))
        """
    )
    assert not (tmp_path / "traced").exists()


def test_classes_with_hostile_metaclasses_still_have_names(graph_of: Callable[..., HeapGraph]):
    """They are in the report under their real names."""
    graph = graph_of(HOSTILE.replace("MARK", "'/dev/null'"))
    assert "__main__.Hostile" in {info.name for info in graph.types}
