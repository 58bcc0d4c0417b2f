"""Read what memray recorded: which lines, and which C functions, allocated what is still alive. Never in a worker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError

_FRAMES = 60
_CALLING = {"ceval.c", "call.c", "methodobject.c", "descrobject.c", "pycore_call.h", "pycore_ceval.h", "abstract.h"}
"""Files of the interpreter that only pass a call on."""

_INTERPRETER = ("Objects/", "Python/", "Modules/", "Parser/", "Include/", "./")
"""Folders of the interpreter's own sources, and of the C library's."""

_HEADERS = "/include/python"
_NAMELESS = "<unknown>"
"""What memray calls a function of a binary without symbols, as a distribution's interpreter is."""

_Key = tuple[str, int, str]


def lines_alive(path: Path, *, native: bool) -> dict[str, list[dict[str, Any]]]:
    """Return ``lines`` and, with ``native``, C ``functions`` and the ``sources`` of extensions, most bytes first.

    Raises LeakwatchError when memray is not installed here, or the file is none of its files.
    """
    try:
        from memray import FileReader
    except ImportError as error:
        raise LeakwatchError(
            "memray is not installed here", "pip install cubicweb-leakwatch[trace]", "no-memray"
        ) from error
    lines: dict[_Key, list[int]] = {}
    functions: dict[_Key, list[int]] = {}
    sources: dict[_Key, list[int]] = {}
    try:
        with FileReader(path) as reader:
            for record in reader.get_leaked_allocation_records(merge_threads=True):
                _add(lines, _line(record), record)
                if native:
                    _add(functions, _function(record), record)
                    _add(sources, _source(record), record)
    except (OSError, RuntimeError, ValueError) as error:
        raise LeakwatchError(f"{path} cannot be read: {error}", "trace again", "trace-unreadable") from error
    if not native:
        return {"lines": list(_rows(lines))}
    by_source = [{"file": row["file"], "bytes": row["bytes"]} for row in _rows(sources) if row["file"]]
    return {"lines": list(_rows(lines)), "functions": list(_rows(functions)), "sources": by_source}


def _add(found: dict[_Key, list[int]], key: _Key, record: Any) -> None:
    entry = found.setdefault(key, [0, 0])
    entry[0] += record.size
    entry[1] += record.n_allocations


def _line(record: Any) -> _Key:
    """Return the line of Python that runs when the memory is allocated."""
    stack = record.stack_trace(max_stacks=1)
    return _key(*stack[0]) if stack else ("?", 0, "no Python code")


def _function(record: Any) -> _Key:
    """Return the outermost C function that the line called: in an extension, its own; the allocator's are inside it."""
    python = record.stack_trace(max_stacks=1)
    inner = []
    for frame in record.hybrid_stack_trace(max_stacks=_FRAMES):
        if python and frame == python[0]:
            break
        inner.append(frame)
    inner = [frame for frame in inner if frame[1].rpartition("/")[2] not in _CALLING]
    inner = [frame for frame in inner if frame[0] != _NAMELESS] or inner
    name, file, line = inner[-1] if inner else ("no C code", "?", 0)
    return _key(name, file, line)


def _source(record: Any) -> _Key:
    """Return the innermost source that is neither the interpreter's nor the C library's; an empty one where none is."""
    for _function, file, _line in record.hybrid_stack_trace(max_stacks=_FRAMES):
        if file.endswith(".py"):
            break
        if "/" in file and not file.startswith(_INTERPRETER) and _HEADERS not in file:
            return file, 0, ""
    return "", 0, ""


def _key(function: str, file: str, line: int) -> _Key:
    return file, line, function


def _rows(found: dict[_Key, list[int]]) -> Iterator[dict[str, Any]]:
    for (file, line, function), (size, count) in sorted(found.items(), key=lambda item: -item[1][0]):
        yield {"file": file, "line": line, "function": function, "bytes": size, "count": count}
