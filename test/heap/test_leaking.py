"""The look at the types that grow: whether anything holds their objects, and what."""

from collections.abc import Callable

from cubicweb_leakwatch.heap.leaking import leaking_report

PROGRAM = """
import ctypes

class Kept:
    pass

class Lost:
    pass

class Waiting:
    pass

REGISTRY = {number: Kept() for number in range(200)}
for _ in range(100):
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(Lost()))
import gc
gc.collect()
gc.disable()
for _ in range(60):
    waiting = Waiting()
    waiting.itself = waiting
del waiting
"""


def test_held_lost_and_waiting_objects_are_told_apart(dump_of: Callable[..., str]) -> None:
    """A registry's are reached and named by it; those with a reference too many, and the collector's, by nothing."""
    path = dump_of(PROGRAM, collect=False)
    report = leaking_report(path, ["__main__.Kept", "__main__.NotThere", "__main__.Lost", "__main__.Waiting"])
    kept, lost, waiting = report["types"]
    assert (kept["instances"], kept["unreached"]) == (200, 0)
    assert kept["holder"].startswith("__main__.REGISTRY")
    assert (lost["instances"], lost["unreached"], lost["unreachable"]) == (100, 100, 0)
    assert (waiting["instances"], waiting["unreached"], waiting["unreachable"]) == (60, 60, 60)
    assert "__main__.Kept" in [pile["type"] for pile in report["piles"]]
