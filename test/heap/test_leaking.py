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


TEXTS = """
import functools

@functools.cache
def page(number):
    return chr(65 + number % 26) * 100_000

NAMES = {number: f"a name of {number}" for number in range(50_000)}
for number in range(100):
    page(number)
"""


def test_who_holds_most_text_is_told_long_and_short_apart(dump_of: Callable[..., str]) -> None:
    """Pages from malloc are a cache's, short names a dictionary's; each with about as many bytes as it holds."""
    report = leaking_report(dump_of(TEXTS), [])
    pages, names = report["long"][0], report["short"][0]
    assert pages["type"] == names["type"] == "builtins.str"
    assert "page" in pages["holder"] and names["holder"].startswith("__main__.NAMES")
    assert abs(pages["bytes"] - 100 * 100_049) < 0.1 * 10**7 and 80 < pages["objects"] < 120
    assert abs(names["bytes"] - 50_000 * 94) < 0.3 * 50_000 * 94, "each name, and its number"
