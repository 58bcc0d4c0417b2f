"""The identity of a leak over restarts and hosts, and retention that is known already."""

import hashlib
import re
from dataclasses import dataclass

_ADDRESS = re.compile(r"0x[0-9a-f]+")
_INDEX = re.compile(r"\[[^\]]*\]")
_LINE = re.compile(r":\d+\b")
_REPEATED = re.compile(r" × \d+")
_THREAD = re.compile(r" in thread .*$")
_ = str
"""Marks a sentence for the catalogues: nothing here knows a language."""


@dataclass(frozen=True)
class Known:
    """Retention that is understood: whether it is harmless (it has an end), why, and where that is written."""

    pattern: str
    harmless: bool
    sentence: str
    reference: str

    def as_json(self) -> dict[str, object]:
        """Return what a report says of it."""
        return {"harmless": self.harmless, "sentence": self.sentence, "reference": self.reference}


_KNOWN = [
    Known(
        r"_view_lookup_cache",
        False,
        _("Pyramid 1.10 keeps an entry for every context class; classes made per request are kept for ever"),
        "https://github.com/Pylons/pyramid/issues/688",
    ),
    Known(
        r"\._NamespaceManager__(cache|s?trie)",
        False,
        _("rdflib's NamespaceManager remembers every name that it split, without a limit"),
        "rdflib.namespace.NamespaceManager.compute_qname",
    ),
    Known(
        r"\._type_cache",
        False,
        _("CubicWeb remembers the type of every entity that was asked for; about 70 MiB a million, never dropped"),
        "cubicweb.server.repository.Repository._type_cache",
    ),
    Known(
        r"^ast\.\w+ held by C code",
        False,
        _(
            "Python 3.11 before 3.11.8 and 3.12 before 3.12.2 lose the whole tree when threads parse source at once;"
            " CubicWeb has the source of a controller parsed at every request"
        ),
        "https://github.com/python/cpython/issues/106905",
    ),
    Known(
        r"cached_build_user|_build_user\b",
        True,
        _("CubicWeb keeps the last 10 users with the request that loaded each"),
        "cubicweb.pyramid.tools.cached_build_user",
    ),
    Known(
        r"rql_?cache|_ck_cache|\.querier\.\S*cache",
        True,
        _("CubicWeb keeps parsed queries up to option rql-cache-size; the growth ends when the cache is full"),
        "option rql-cache-size",
    ),
    Known(
        r"^re\._cache|^linecache\.cache|^functools\.\S*_lru|^sre_\S*cache|^typing\._cleanups",
        True,
        _("a cache of the standard library with a limit of its own"),
        "https://docs.python.org/3/library/",
    ),
    Known(
        r"^the interpreter's lists of subclasses",
        True,
        _("the interpreter knows the subclasses of each class by weak references"),
        "https://docs.python.org/3/reference/datamodel.html#type.__subclasses__",
    ),
    Known(
        r"^sys\.path_importer_cache|^pkgutil\.\S*cache|^_frozen_importlib",
        True,
        _("the import system remembers the listings of the directories on the path"),
        "https://docs.python.org/3/library/sys.html#sys.path_importer_cache",
    ),
]


def known_retention(holder: str) -> Known | None:
    """Return what is known of objects held this way, or None."""
    for known in _KNOWN:
        if re.search(known.pattern, holder):
            return known
    return None


def without_indices(holder: str) -> str:
    """Return the words for a holder with every index and key left open."""
    return _INDEX.sub("[…]", holder)


def fingerprint(type_name: str, holder: str) -> str:
    """Return 12 hexadecimal digits that are the same for the same leak on any host, at any time.

    Indices, keys, addresses, line numbers, repetitions and thread names are left out.
    """
    for noise in (_THREAD, _ADDRESS, _INDEX, _LINE, _REPEATED):
        holder = noise.sub("", holder)
    return hashlib.sha256(f"{type_name}\n{holder}".encode()).hexdigest()[:12]
