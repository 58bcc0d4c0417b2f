"""Small programs that leak, each in a way of its own, with what a right answer says of it."""
# ruff: noqa: E501

from dataclasses import dataclass


@dataclass(frozen=True)
class Leak:
    """A program that keeps some 600 objects: the type to name (several may be right), the holder's first words."""

    source: str
    type: str | tuple[str, ...]
    holder: str | tuple[str, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """Return the names that are right."""
        return (self.type,) if isinstance(self.type, str) else self.type

    @property
    def holders(self) -> tuple[str, ...]:
        """Return the words that a right answer may begin with."""
        return (self.holder,) if isinstance(self.holder, str) else self.holder


NOBODY = "nothing in Python holds it"

ITEM = """
class Item:
    def __init__(self, number):
        self.number, self.text, self.rows = number, "item %d" % number * 3, [number, str(number)]
"""

LEAKS = {
    "context variable": Leak(
        "import contextvars\nVAR = contextvars.ContextVar('history')\nVAR.set([Item(n) for n in range(600)])",
        "app.Item",
        ("MainThread (its own context)", "thread MainThread (its own context)"),
    ),
    "copied contexts": Leak(
        "import contextvars\nVAR, KEPT = contextvars.ContextVar('item'), []\n"
        "for n in range(600):\n    c = contextvars.copy_context(); c.run(VAR.set, Item(n)); KEPT.append(c)\ndel c",
        ("app.Item", "_contextvars.Context"),
        "app.KEPT[…]",
    ),
    "weak reference with a callback": Leak(
        "import weakref\nclass Watched: pass\nW = Watched()\nKEPT = []\n"
        "def callback(item): return lambda ref: item\n"
        "for n in range(600): KEPT.append(weakref.ref(W, callback(Item(n))))",
        "app.Item",
        "app.KEPT[…]",
    ),
    "weakref.finalize": Leak(
        "import weakref\nclass Owner: pass\nOWNER = Owner()\n"
        "for n in range(600): weakref.finalize(OWNER, print, Item(n))",
        ("app.Item", "weakref.finalize._Info"),
        "weakref.finalize._registry[…]",
    ),
    "suspended generators": Leak(
        "def rows(item):\n    yield item\n    yield 2\nKEPT = {}\n"
        "for n in range(600):\n    KEPT[n] = rows(Item(n)); next(KEPT[n])",
        "app.Item",
        "app.KEPT[…] variable item",
    ),
    "coroutines never awaited": Leak(
        "import asyncio\nasync def answer(item):\n    await asyncio.sleep(0)\n    return item\nKEPT = []\n"
        "for n in range(600):\n    c = answer(Item(n)); c.send(None); KEPT.append(c)\ndel c",
        "app.Item",
        "app.KEPT[…] variable item",
    ),
    "asyncio tasks": Leak(
        "import asyncio\nasync def wait(item):\n    await asyncio.get_running_loop().create_future()\n"
        "TASKS = set()\nLOOP = asyncio.new_event_loop()\nasync def main():\n"
        "    for n in range(600): TASKS.add(asyncio.create_task(wait(Item(n))))\n    await asyncio.sleep(0)\n"
        "LOOP.run_until_complete(main())",
        ("app.Item", "_asyncio.Task"),
        "app.TASKS{…}",
    ),
    "done futures": Leak(
        "import concurrent.futures\nFUTURES = []\nPOOL = concurrent.futures.ThreadPoolExecutor(1)\n"
        "for n in range(600): FUTURES.append(POOL.submit(Item, n))\nFUTURES[-1].result()",
        ("app.Item", "concurrent.futures._base.Future"),
        "app.FUTURES[…]",
    ),
    "bound methods of a signal": Leak(
        "class Signal:\n    def __init__(self): self.receivers = {}\n"
        "    def connect(self, key, receiver): self.receivers[key] = receiver\nSAVED = Signal()\n"
        "class View:\n    def __init__(self, n):\n        self.item = Item(n)\n        SAVED.connect(n, self.on_saved)\n"
        "    def on_saved(self): pass\nfor n in range(600): View(n)",
        "app.View",
        "app.SAVED.receivers[…].__self__",
    ),
    "partials": Leak(
        "import functools\nCALLBACKS = []\nfor n in range(600): CALLBACKS.append(functools.partial(print, Item(n)))",
        ("app.Item", "functools.partial"),
        "app.CALLBACKS[…]",
    ),
    "atexit": Leak(
        "import atexit\nfor n in range(600): atexit.register(print, Item(n))",
        "app.Item",
        "atexit callbacks",
    ),
    "thread-locals of ended threads": Leak(
        "import threading\nLOCAL, KEPT = threading.local(), []\ndef work():\n"
        "    LOCAL.items = [Item(n) for n in range(600)]\n    KEPT.append(LOCAL.items)\n"
        "t = threading.Thread(target=work); t.start(); t.join()",
        "app.Item",
        "app.KEPT[…]",
    ),
    "dynamic classes": Leak(
        "class Base: pass\nKEPT = []\nfor n in range(600): KEPT.append(type('Context', (Base,), {'n': n}))",
        "builtins.type",
        "app.KEPT[…]",
    ),
    "dynamic classes' instances": Leak(
        "class Base: pass\nKEPT = []\nfor n in range(600): KEPT.append(type('Context', (Base,), {})())",
        ("app.Context", "builtins.type"),
        "app.KEPT[…]",
    ),
    "weak values kept by a cycle": Leak(
        "import weakref\nREGISTRY = weakref.WeakValueDictionary()\nclass Peer:\n    kept = []\n"
        "    def __init__(self, n):\n        self.me = self\n        self.kept.append(self)\n        REGISTRY[n] = self\n"
        "for n in range(600): Peer(n)",
        "app.Peer",
        "app.Peer.kept[…]",
    ),
    "log handlers": Leak(
        "import logging\nLOG = logging.getLogger('app')\nfor n in range(600): LOG.addHandler(logging.NullHandler())",
        "logging.NullHandler",
        ("app.LOG.handlers", "logging."),
    ),
    "log filters": Leak(
        "import logging\nclass Filter(logging.Filter):\n    def __init__(self, n): self.item = Item(n)\n"
        "for n in range(600): logging.getLogger('app').addFilter(Filter(n))",
        "app.Filter",
        "logging.",
    ),
    "cached property on a class-level cache": Leak(
        "import functools\nclass Page:\n    def __init__(self, n): self.item = Item(n)\n"
        "    @functools.cache\n    def body(self): return 'body'\nfor n in range(600): Page(n).body()",
        "app.Page",
        "app.Page.body (functools.lru_cache)",
    ),
    "bounded lru_cache of a method": Leak(
        "import functools\nclass Page:\n    def __init__(self, n): self.item = Item(n)\n"
        "    @functools.lru_cache(maxsize=5000)\n    def body(self): return 'body'\nfor n in range(600): Page(n).body()",
        "app.Page",
        "app.Page.body (functools.lru_cache)",
    ),
    "nested closures": Leak(
        "def outer():\n    cache = {}\n    def middle():\n        def inner(n): cache[n] = Item(n)\n        return inner\n"
        "    return middle()\nremember = outer()\nfor n in range(600): remember(n)",
        "app.Item",
        "app.remember (closure variable cache of outer.<locals>.middle.<locals>.inner)[…]",
    ),
    "callbacks with closures": Leak(
        "CALLBACKS = []\ndef register(item):\n    CALLBACKS.append(lambda: item)\nfor n in range(600): register(Item(n))",
        "app.Item",
        "app.CALLBACKS[…] (closure variable item of register.<locals>.<lambda>)",
    ),
    "slots": Leak(
        "class Point:\n    __slots__ = ('x', 'y', 'item')\nKEPT = []\n"
        "for n in range(600):\n    p = Point(); p.x, p.y, p.item = n, n, Item(n); KEPT.append(p)\ndel p",
        "app.Point",
        "app.KEPT[…]",
    ),
    "deque": Leak(
        "import collections\nEVENTS = collections.deque()\nfor n in range(600): EVENTS.append(Item(n))",
        "app.Item",
        "app.EVENTS{…}",
    ),
    "ordered dictionary": Leak(
        "import collections\nCACHE = collections.OrderedDict()\nfor n in range(600): CACHE[n] = Item(n)",
        "app.Item",
        "app.CACHE[…]",
    ),
    "dictionary of lists": Leak(
        "import collections\nBY_USER = collections.defaultdict(list)\nfor n in range(600): BY_USER[n % 60].append(Item(n))",
        "app.Item",
        "app.BY_USER[…][…]",
    ),
    "chain map": Leak(
        "import collections\nSCOPE = collections.ChainMap()\n"
        "for n in range(60): SCOPE = SCOPE.new_child({k: Item(k) for k in range(10)})",
        "app.Item",
        "app.SCOPE.maps[…]",
    ),
    "tracebacks of kept exceptions": Leak(
        "ERRORS = []\ndef handle(item): raise ValueError('no')\n"
        "for n in range(600):\n    try: handle(Item(n))\n    except ValueError as e: ERRORS.append(e)",
        ("builtins.ValueError", "app.Item"),
        "app.ERRORS[…]",
    ),
    "program's own exceptions": Leak(
        "ERRORS = []\nclass Failed(Exception):\n    def __init__(self, item): super().__init__('no'); self.item = item\n"
        "def handle(n): raise Failed(Item(n))\n"
        "for n in range(600):\n    try: handle(n)\n    except Failed as e: ERRORS.append(e)",
        "app.Failed",
        "app.ERRORS[…]",
    ),
    "reference leak in C": Leak(
        "import ctypes\nfor n in range(600): ctypes.pythonapi.Py_IncRef(ctypes.py_object(Item(n)))",
        "app.Item",
        NOBODY,
    ),
    "reference leak of dictionaries in C": Leak(
        "import ctypes\nfor n in range(600): ctypes.pythonapi.Py_IncRef(ctypes.py_object({'n': [n], 'text': str(n)}))",
        "builtins.dict",
        NOBODY,
    ),
    "reference leak of lists in C": Leak(
        "import ctypes\nfor n in range(600): ctypes.pythonapi.Py_IncRef(ctypes.py_object([str(n), n]))",
        "builtins.list",
        NOBODY,
    ),
    "reference leak of tuples in C": Leak(
        "import ctypes\nfor n in range(600): ctypes.pythonapi.Py_IncRef(ctypes.py_object((str(n), [n])))",
        "builtins.tuple",
        NOBODY,
    ),
    "reference leak of functions in C": Leak(
        "import ctypes\ndef made(n):\n    def inner(): return n\n    return inner\n"
        "for n in range(600): ctypes.pythonapi.Py_IncRef(ctypes.py_object(made([n])))",
        "builtins.function",
        NOBODY,
    ),
    "reference leak of a cycle in C": Leak(
        "import ctypes\nclass Node:\n    def __init__(self, n): self.item, self.me = Item(n), self\n"
        "for n in range(600): ctypes.pythonapi.Py_IncRef(ctypes.py_object(Node(n)))",
        "app.Node",
        NOBODY,
    ),
    "data classes": Leak(
        "import dataclasses\n@dataclasses.dataclass\nclass Row:\n    a: int\n    b: str\n    c: list\nROWS = {}\n"
        "for n in range(600): ROWS[n] = Row(n, str(n), [n])",
        "app.Row",
        "app.ROWS[…]",
    ),
    "slotted data classes": Leak(
        "import dataclasses\n@dataclasses.dataclass(slots=True, frozen=True)\nclass Row:\n    a: int\n    b: str\n"
        "ROWS = []\nfor n in range(600): ROWS.append(Row(n, str(n)))",
        "app.Row",
        "app.ROWS[…]",
    ),
    "named tuples": Leak(
        "import collections\nRow = collections.namedtuple('Row', 'a b')\nROWS = []\n"
        "for n in range(600): ROWS.append(Row(n, [str(n)]))",
        "app.Row",
        "app.ROWS[…]",
    ),
    "strings in a list": Leak(
        "LINES = []\nfor n in range(600): LINES.append('line %d ' % n * 40)",
        "builtins.str",
        "app.LINES[…]",
    ),
    "bytes in a dictionary": Leak(
        "BODIES = {}\nfor n in range(600): BODIES[n] = b'%d' % n * 100",
        "builtins.bytes",
        "app.BODIES[…]",
    ),
    "byte arrays": Leak(
        "BUFFERS = []\nfor n in range(600): BUFFERS.append(bytearray(500))",
        "builtins.bytearray",
        "app.BUFFERS[…]",
    ),
    "set of tuples": Leak(
        "SEEN = set()\nfor n in range(600): SEEN.add(('user', n, 'path %d' % n))",
        "builtins.tuple",
        "app.SEEN{…}",
    ),
    "set of strings": Leak(
        "SEEN = set()\nfor n in range(900): SEEN.add('session-%d' % n * 4)",
        "builtins.str",
        "app.SEEN{…}",
    ),
    "keys of a dictionary": Leak(
        "class Key:\n    def __init__(self, n): self.item = Item(n)\nBY_KEY = {}\nfor n in range(600): BY_KEY[Key(n)] = n",
        "app.Key",
        "app.BY_KEY[…]",
    ),
    "identity map": Leak(
        "class State:\n    def __init__(self, obj): self.obj, self.committed = obj, {}\n"
        "class Entity:\n    def __init__(self, n):\n        self.item = Item(n)\n        self._state = State(self)\n"
        "class IdentityMap:\n    def __init__(self): self._dict = {}\n"
        "class Session:\n    def __init__(self): self.identity_map = IdentityMap()\nSESSION = Session()\n"
        "for n in range(600):\n    e = Entity(n); SESSION.identity_map._dict[('Entity', n)] = e._state\ndel e",
        ("app.State", "app.Entity"),
        "app.SESSION.identity_map._dict[…]",
    ),
    "parents and children": Leak(
        "class Node:\n    def __init__(self, parent, n):\n        self.parent, self.children, self.item = parent, [], Item(n)\n"
        "        if parent: parent.children.append(self)\nROOT = Node(None, 0)\nfor n in range(600): Node(ROOT, n)",
        "app.Node",
        "app.ROOT.children[…]",
    ),
    "mock calls": Leak(
        "import unittest.mock\nMOCK = unittest.mock.Mock()\nfor n in range(600): MOCK.send(Item(n))",
        ("app.Item", "unittest.mock._Call"),
        "app.MOCK",
    ),
    "regular expressions in a dictionary": Leak(
        "import re\nPATTERNS = {}\nfor n in range(600):\n    re.purge(); PATTERNS[n] = re.compile('page-%d/(.*)' % n)",
        "re.Pattern",
        "app.PATTERNS[…]",
    ),
    "enumerations made on the fly": Leak(
        "import enum\nKEPT = []\nfor n in range(300): KEPT.append(enum.Enum('Colour', ['A%d' % n, 'B']))",
        ("enum.EnumType", "app.Colour", "builtins.type"),
        "app.KEPT[…]",
    ),
    "thread never joined": Leak(
        "import threading\nSTOP = threading.Event()\ndef serve(item): STOP.wait()\n"
        "for n in range(30): threading.Thread(target=serve, args=([Item(k) for k in range(20)],), daemon=True).start()",
        "app.Item",
        ("local variable item", "threading._active"),
    ),
    "queue that nobody empties": Leak(
        "import queue\nQUEUE = queue.Queue()\nfor n in range(600): QUEUE.put(Item(n))",
        "app.Item",
        "app.QUEUE.queue{…}",
    ),
    "timers": Leak(
        "import sched\nLATER = sched.scheduler()\nfor n in range(600): LATER.enter(3600, 1, print, (Item(n),))",
        ("app.Item", "sched.Event"),
        "app.LATER._queue[…]",
    ),
    "attributes set on a function": Leak(
        "def view(): pass\nview.cache = {}\nfor n in range(600): view.cache[n] = Item(n)",
        "app.Item",
        "app.view.cache[…]",
    ),
    "attribute of a class, by a list of tuples": Leak(
        "class Audit:\n    log = []\nfor n in range(600): Audit.log.append((n, 'user', Item(n)))",
        "app.Item",
        "app.Audit.log[…][…]",
    ),
    "singleton behind a method": Leak(
        "class Repo:\n    _instance = None\n    @classmethod\n    def get(cls):\n"
        "        cls._instance = cls._instance or cls()\n        return cls._instance\n"
        "    def __init__(self): self.pending = []\nfor n in range(600): Repo.get().pending.append(Item(n))",
        "app.Item",
        "app.Repo._instance.pending[…]",
    ),
    "import hooks": Leak(
        "import sys\nclass Finder:\n    def __init__(self, n): self.item = Item(n)\n    def find_spec(self, *a): return None\n"
        "for n in range(60): sys.meta_path.append(Finder(n))",
        "app.Finder",
        "sys.meta_path[…]",
    ),
    "environment": Leak(
        "import os\nfor n in range(600): os.environ['SESSION_%d' % n] = 'value %d' % n * 10",
        ("builtins.bytes", "builtins.str"),
        ("os.environ._data", "posix.environ"),
    ),
    "dictionary subclass": Leak(
        "class Cache(dict): pass\nCACHE = Cache()\nfor n in range(600): CACHE[n] = Item(n)",
        "app.Item",
        "app.CACHE[…]",
    ),
    "list subclass in a list": Leak(
        "class Rows(list): pass\nKEPT = []\nfor n in range(600): KEPT.append(Rows([Item(n)]))",
        "app.Rows",
        "app.KEPT[…]",
    ),
    "held by a frame of a generator": Leak(
        "def serve():\n    seen = []\n    while True:\n        n = yield\n        seen.append(Item(n))\n"
        "SERVER = serve()\nnext(SERVER)\nfor n in range(600): SERVER.send(n)",
        "app.Item",
        "app.SERVER variable seen[…]",
    ),
    "iterators": Leak(
        "KEPT = []\nfor n in range(600): KEPT.append(iter([Item(n)]))",
        ("app.Item", "builtins.list_iterator"),
        "app.KEPT[…]",
    ),
    "files": Leak(
        "import io\nKEPT = []\nfor n in range(600): KEPT.append(io.BytesIO(b'x' * 300))",
        "_io.BytesIO",
        "app.KEPT[…]",
    ),
    "sqlite connections in tuples": Leak(
        "import sqlite3\nPOOL = []\nfor n in range(60): POOL.append((sqlite3.connect(':memory:'), n))",
        "sqlite3.Connection",
        "app.POOL[…]",
    ),
    "memory views": Leak(
        "KEPT = []\nfor n in range(600): KEPT.append(memoryview(bytearray(400)))",
        ("builtins.memoryview", "builtins.bytearray"),
        "app.KEPT[…]",
    ),
    "profiles of XML": Leak(
        "import xml.etree.ElementTree as ET\nKEPT = []\n"
        "for n in range(600): KEPT.append(ET.fromstring('<a n=\"%d\"><b>%d</b></a>' % (n, n)))",
        "xml.etree.ElementTree.Element",
        "app.KEPT[…]",
    ),
    "monkey-patched warnings registry": Leak(
        "import warnings\nwarnings.simplefilter('default')\nwarnings.showwarning = lambda *a: None\n"
        "for n in range(600): warnings.warn('request %d is slow' % n)",
        ("builtins.tuple", "builtins.str"),
        "app.__warningregistry__",
    ),
    "type hints made on the fly": Leak(
        "import typing\nKEPT = []\nfor n in range(600): KEPT.append(typing.Literal[str(n)])",
        "typing._LiteralGenericAlias",
        "app.KEPT[…]",
    ),
    "weak references never pruned": Leak(
        "import weakref\nclass Page: pass\nKEPT = []\nfor n in range(600): KEPT.append(weakref.ref(Page()))",
        "weakref.ReferenceType",
        "app.KEPT[…]",
    ),
    "numbers": Leak(
        "TIMES = []\nfor n in range(3000): TIMES.append(n * 1.7)",
        "builtins.float",
        "app.TIMES[…]",
    ),
    "default argument": Leak(
        "def step(n, seen=[]): seen.append(Item(n))\nfor n in range(600): step(n)",
        "app.Item",
        "app.step.__defaults__[…][…]",
    ),
    "local variable of a thread": Leak(
        "import threading\ndone = threading.Event()\ndef poll():\n    cnx = [Item(n) for n in range(600)]\n    done.set()\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=poll, name='Scheduler', daemon=True).start()\ndone.wait()",
        "app.Item",
        "local variable cnx[…] of poll() at app.py:",
    ),
    "thread-local of a living thread": Leak(
        "import threading\nLOCAL, done = threading.local(), threading.Event()\ndef work():\n"
        "    LOCAL.queries = [Item(n) for n in range(600)]\n    done.set()\n    threading.Event().wait()\n"
        "threading.Thread(target=work, name='pool-1', daemon=True).start()\ndone.wait()",
        "app.Item",
        "app.LOCAL.queries[…] in thread pool-1",
    ),
    "class attribute": Leak(
        "class Row(Item):\n    by_session = {}\nfor n in range(600): Row.by_session['s-%d' % n] = Row(n)",
        "app.Row",
        "app.Row.by_session[…]",
    ),
    "closure": Leak(
        "def keep():\n    seen = []\n    def add(n): seen.append(Item(n))\n    return add\nadd = keep()\nfor n in range(600): add(n)",
        "app.Item",
        "app.add (closure variable seen of keep.<locals>.add)[…]",
    ),
    "loggers": Leak(
        "import logging\nfor n in range(600): logging.getLogger('request.%d' % n)",
        "logging.Logger",
        "logging.Logger.manager.loggerDict[…]",
    ),
    "linked list": Leak(
        "class Node:\n    def __init__(self, last): self.last, self.text = last, 'x' * 99 + str(id(self))\nHEAD = None\n"
        "for n in range(600): HEAD = Node(HEAD)",
        "app.Node",
        "app.HEAD.last × ",
    ),
}
