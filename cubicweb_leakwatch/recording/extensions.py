"""Which C extensions a process has loaded: where memory grows that no Python object holds, one of them it is.

From ``/proc/PID/maps`` (proc(5)), which our own user may read: nothing runs in the process itself.
"""

import re
from collections.abc import Iterable
from pathlib import Path

_MODULE = re.compile(
    r"/(?:[^\n]*/(?:site|dist)-packages/(?P<path>[^\n]*?)|[^\n]*/(?P<name>[^/\n]*?))"
    r"(?:\.abi3|\.cpython-[^/\n]*|\.pypy[^/\n]*)\.so$"
)
_OF_PYTHON = "/lib-dynload/"
"""The interpreter's own modules are not suspected."""


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
