"""What this host is called, in one place: in records, in names of processes (``HOST:web-1``), between hosts."""

import os
import socket

VARIABLE = "LEAKWATCH_HOST"
"""Set it where the host's own name changes with each start, as a container's does."""


def this_host() -> str:
    """Return the name under which the processes of this host are recorded."""
    return os.environ.get(VARIABLE) or socket.gethostname()
