"""What a suspect says of itself, and what is known of it."""

from collections.abc import Callable
from typing import Any

from cubicweb_leakwatch.heap.analyze import analyze

ITEM = """
class Item:
    def __init__(self, number):
        self.number, self.text, self.rows = number, "item %d" % number * 3, [number, str(number)]
"""


def test_a_suspect_says_what_piles_up_and_how_much_it_retains(dump_of: Callable[..., str]):
    """The pile's retained size is that of its objects and what only they hold."""
    suspect = analyze(dump_of(ITEM + "KEPT = [Item(n) for n in range(1500)]\n"))["suspects"][0]
    piled = {row["type"]: row["count"] for row in suspect["accumulates"]}
    assert piled["__main__.Item"] == piled["builtins.list"] == 1500
    assert piled["builtins.str"] == 3000
    assert suspect["holder"] == "__main__.KEPT"
    assert suspect["retained"] == sum(row["bytes"] for row in suspect["accumulates"])


def test_the_fingerprint_is_the_same_in_another_process(dump_of: Callable[..., str]):
    """Other addresses, other counts, another thread's name: the same leak."""
    one = analyze(dump_of(ITEM + "KEPT = {'a': [Item(n) for n in range(900)]}\n"))["suspects"][0]
    two = analyze(dump_of("import json\n" + ITEM + "KEPT = {'b': [Item(n) for n in range(1500)]}\n"))["suspects"][0]
    other = analyze(dump_of(ITEM + "OTHER = {'a': [Item(n) for n in range(900)]}\n"))["suspects"][0]
    assert one["fingerprint"] == two["fingerprint"] != other["fingerprint"]


def test_growth_between_two_dumps_names_type_and_holder(dump_of: Callable[..., str]):
    """New objects are counted by type and by what holds them; a cache that did not grow is not named."""
    source = ITEM + "OLD = [Item(n) for n in range(300)]\nNEW = {n: Item(n) for n in range(COUNT)}\n"
    before, after = (dump_of(source.replace("COUNT", count)) for count in ("100", "450"))
    growth = {row["type"]: row for row in analyze(after, baseline=before)["growth"]}
    row: dict[str, Any] = growth["__main__.Item"]
    assert row["objects_delta"] == 350
    assert row["bytes_delta"] > 350 * 40
    assert row["holders"] == [{"text": "__main__.NEW[…]", "count": 350}]


def test_known_harmless_retention_is_labelled(dump_of: Callable[..., str]):
    """A cache that is understood says so, with its reference."""
    source = ITEM + "class Repository: pass\nREPO = Repository()\n"
    source += "REPO._type_cache = {n: Item(n) for n in range(900)}\n"
    known = analyze(dump_of(source))["suspects"][0]["known"]
    assert known["harmless"] is False
    assert "_type_cache" in known["reference"]
