"""Which C extensions a process has loaded: where memory grows that no Python object holds, one of them it is.

From ``/proc/PID/maps`` (proc(5)), which our own user may read: nothing runs in the process itself.
"""

import re
from collections.abc import Iterable
from pathlib import Path

_MODULE = re.compile(r"/(?:site|dist)-packages/(?P<path>[^\n]*?)(?:\.abi3|\.cpython-[^/\n]*|\.pypy[^/\n]*)?\.so$")
"""The interpreter's own modules lie elsewhere; they are not suspected."""


def extensions_of(pid: int) -> tuple[str, ...]:
    """Return the C extensions a process has mapped, as ``package.module``, by name; none where it cannot be told."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return modules_in(maps.splitlines())


def modules_in(maps: Iterable[str]) -> tuple[str, ...]:
    """Return the modules among the lines of a ``maps`` file; libraries that a wheel brings along (``*.libs/``) not."""
    found = {match["path"] for line in maps if (match := _MODULE.search(line))}
    return tuple(sorted(path.replace("/", ".") for path in found if ".libs/" not in path))
