"""Which C extensions a process has loaded: where memory grows that no Python object holds, one of them it is.

From ``/proc/PID/maps`` (proc(5)), which our own user may read: nothing runs in the process itself. A recording of
allocations (``leak-trace --native``) tells which of them it is; what it told is kept in the runtime directory.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from cubicweb_leakwatch.apart import write_private

_MODULE = re.compile(
    r"/(?:[^\n]*/(?:site|dist)-packages/(?P<path>[^\n]*?)|[^\n]*/(?P<name>[^/\n]*?))"
    r"(?:\.abi3|\.cpython-[^/\n]*|\.pypy[^/\n]*)\.so$"
)
_OF_PYTHON = "/lib-dynload/"
"""The interpreter's own modules are not suspected."""

_MOST_SHARE = 0.5
"""An extension is named when it allocated more than this share of what all of them did and is alive."""


def extensions_of(pid: int) -> tuple[str, ...]:
    """Return the C extensions a process has mapped, as ``package.module``, by name; none where it cannot be told."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return modules_in(maps.splitlines())


def modules_in(maps: Iterable[str]) -> tuple[str, ...]:
    """Return the modules among the lines of a ``maps`` file; libraries are none, their names have no Python's tag."""
    found = {
        match["path"] or match["name"] for line in maps if _OF_PYTHON not in line and (match := _MODULE.search(line))
    }
    return tuple(sorted(path.replace("/", ".") for path in found))


def keep_sources(directory: Path, process: str, pid: int, sources: Iterable[Mapping[str, Any]]) -> None:
    """Keep what a recording told of a process: ``file`` and ``bytes`` of each source of C, still alive at its end."""
    write_private(_kept(directory, process), json.dumps({"t": time.time(), "pid": pid, "sources": list(sources)}))


def traced_extension(directory: Path, process: str, pid: int, extensions: Iterable[str]) -> tuple[str, float] | None:
    """Return the extension that allocated most by the last recording of this very process, and its share (0..1)."""
    try:
        kept = json.loads(_kept(directory, process).read_text(encoding="utf-8"))
        if kept["pid"] != pid:
            return None
        names, found = tuple(extensions), Counter[str]()
        for source in kept["sources"]:
            found[extension_of(str(source["file"]), names) or ""] += int(source["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    del found[""]
    name, size = max(found.items(), key=lambda item: item[1], default=("", 0))
    share = size / max(found.total(), 1)
    return (name, share) if share > _MOST_SHARE else None


def extension_of(file: str, extensions: Iterable[str]) -> str | None:
    """Return the extension that a source of C belongs to: by its own name, else by its package, which may have several.

    >>> extension_of("src/lxml/etree.c", ["lxml.etree", "lxml.objectify"])
    'lxml.etree'
    """
    path = PurePath(file)
    members = [name for name in extensions if name.partition(".")[0] in path.parts[:-1]]
    exact = [name for name in members if name.rpartition(".")[2] == path.stem]
    if exact or len(members) == 1:
        return (exact or members)[0]
    return members[0].partition(".")[0] if members else None


def _kept(directory: Path, process: str) -> Path:
    return directory / f"traced-{process}.json"
