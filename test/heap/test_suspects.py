"""Suspects and holders of leaks of many kinds: the program's type first, its holder in a developer's words."""

from collections.abc import Callable
from typing import Any

import pytest

from cubicweb_leakwatch.heap.analyze import analyze
from cubicweb_leakwatch.heap.holders import holders_report

ITEM = """
class Item:
    def __init__(self, number):
        self.number, self.text, self.rows = number, "item %d" % number * 3, [number, str(number)]
"""
NOBODY = "nothing in Python holds it: its reference count is too high (C code)"
LEAKS = {
    "class attribute": (
        "class Item(Item):\n    by_session = {}\nfor n in range(900): Item.by_session['s-%d' % n] = Item(n)",
        "__main__.Item",
        "__main__.Item.by_session[…]",
    ),
    "closure": (
        "def keep():\n    seen = []\n    def add(n): seen.append(Item(n))\n    return add\nadd = keep()\n"
        "for n in range(900): add(n)",
        "__main__.Item",
        "__main__.add (closure variable seen of keep.<locals>.add)[…]",
    ),
    "method cache": (
        "import functools\nclass View:\n    def __init__(self, n): self.item = Item(n)\n"
        "    @functools.lru_cache(maxsize=None)\n    def title(self, lang): return lang\n"
        "for n in range(900): View(n).title('en')",
        "__main__.View",
        "__main__.View.title (functools.lru_cache)[…]",
    ),
    "logger": (
        "import logging\nfor n in range(900): logging.getLogger('request.%d' % n)",
        "logging.Logger",
        "logging.Logger.manager.loggerDict[…]",
    ),
    "bound methods": (
        "class Bus: pass\nBUS = Bus(); BUS.listeners = []\nclass Listener:\n"
        "    def __init__(self, n):\n        self.item = Item(n)\n        BUS.listeners.append(self.heard)\n"
        "    def heard(self): pass\nfor n in range(900): Listener(n)",
        "__main__.Listener",
        "__main__.BUS.listeners[…].__self__",
    ),
    "default argument": (
        "def step(n, seen=[]): seen.append(Item(n))\nfor n in range(900): step(n)",
        "__main__.Item",
        "__main__.step.__defaults__[…][…]",
    ),
    "slots": (
        "import collections\nclass Slotted:\n    __slots__ = ('item', 'other')\nKEPT = collections.deque()\n"
        "for n in range(900):\n    s = Slotted(); s.item, s.other = Item(n), None; KEPT.append(s)\ndel s",
        "__main__.Slotted",
        "__main__.KEPT{…}",
    ),
    "thread local": (
        "import threading\nLOCAL, done = threading.local(), threading.Event()\ndef work():\n"
        "    LOCAL.queries = [Item(n) for n in range(900)]\n    done.set()\n    threading.Event().wait()\n"
        "threading.Thread(target=work, name='pool-1', daemon=True).start()\ndone.wait()",
        "__main__.Item",
        "__main__.LOCAL.queries[…] in thread pool-1",
    ),
    "frame": (
        "import threading\ndone = threading.Event()\ndef poll():\n    cnx = [Item(n) for n in range(900)]\n"
        "    done.set()\n    threading.Event().wait()\n"
        "threading.Thread(target=poll, name='Scheduler', daemon=True).start()\ndone.wait()",
        "__main__.Item",
        "local variable cnx[…] of poll() at <string>:",
    ),
    "generators": (
        "def rows(n):\n    item = Item(n)\n    yield item\nKEPT = [rows(n) for n in range(900)]\n"
        "for g in KEPT: next(g)\ndel g",
        "__main__.Item",
        "__main__.KEPT[…] variable item",
    ),
    "linked list": (
        "class Node:\n    def __init__(self, last): self.last, self.text = last, 'x' * 99 + str(id(self))\n"
        "HEAD = None\n"
        "for n in range(900): HEAD = Node(HEAD)",
        "__main__.Node",
        "__main__.HEAD.last × ",
    ),
    "reference count too high": (
        "import ctypes\nfor n in range(900): ctypes.pythonapi.Py_IncRef(ctypes.py_object(Item(n)))",
        "__main__.Item",
        NOBODY,
    ),
    "untracked": (
        "CACHE = {}\nfor n in range(900): CACHE['page-%d' % n] = b'%d' % n * 900",
        "builtins.bytes",
        "__main__.CACHE[…]",
    ),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_the_leaked_type_is_the_first_suspect_and_its_holder_the_first_group(kind: str, dump_of: Callable[..., str]):
    """What leaks is named by type, and what keeps it by the path a developer would write."""
    source, name, holder = LEAKS[kind]
    path = dump_of(ITEM + source + "\n")
    suspect = analyze(path)["suspects"][0]
    assert suspect["type"] == name
    assert 890 <= suspect["objects"] <= 910
    group = holders_report(path, name)["groups"][0]
    assert group["text"].startswith(holder)
    assert group["text"] == holder or kind in ("frame", "linked list")


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
