"""Process titles from the standard library alone: what ``ps`` shows of a worker or the launcher."""

import os
from pathlib import Path

COMM_LENGTH = 15
ARG_START, ARG_END = 48, 49


def set_title(text: str) -> None:
    """Show ``text`` in ``ps``, cut to the room that the command line left; does nothing where that is refused."""
    try:
        Path("/proc/self/comm").write_text(text[:COMM_LENGTH])
        start, end = _argument_area()
        room = end - start
        # The last byte must stay NUL: anything else makes the kernel read on into the environment.
        _write_memory(start, text.encode()[: room - 1].ljust(room, b"\0"))
    except (OSError, ValueError):
        return


def _argument_area() -> tuple[int, int]:
    """Return where the kernel reads the command line from (proc(5), fields 48 and 49 of ``stat``)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # ``fields`` begins with field 3.
    return int(fields[ARG_START - 3]), int(fields[ARG_END - 3])


def _write_memory(address: int, content: bytes) -> None:
    if address <= 0:
        raise ValueError("the kernel does not say where the command line is")
    memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(memory, content, address)
    finally:
        os.close(memory)
