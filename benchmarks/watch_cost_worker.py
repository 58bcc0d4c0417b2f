"""Serves requests of an instance in its own process, as many as each line of its input says: for ``watch_cost``.

Imports nothing of leakwatch: what the cube brings into a process is what is measured.
"""

import json
import os
import resource
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

from cubicweb.cwconfig import CubicWebConfiguration
from cubicweb.pyramid import wsgi_application_from_cwconfig
from webtest import TestApp

# Not the lists of the schema: they are longer by the types of the cube, and that is no cost of watching.
PATHS = ("/", "/?vid=manage", "/cwgroup", "/cwuser", "/?rql=Any+X+WHERE+X+is+CWGroup&vid=table", "/cwetype/Bookmark")


def serve(name: str) -> None:
    """Serve, and answer each line with what its requests took."""
    # CubicWeb prints a line for each request: standard output is for the answers.
    answers = sys.stdout
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        app = TestApp(wsgi_application_from_cwconfig(CubicWebConfiguration.config_for(name)))
        for line in sys.stdin:
            before, started = processor_s(), time.perf_counter()
            for number in range(int(line)):
                app.get(PATHS[number % len(PATHS)])
            told = {"cpu_s": processor_s() - before, "wall_s": time.perf_counter() - started, "rss": rss()}
            print(json.dumps(told), file=answers, flush=True)


def processor_s() -> float:
    """Return the processor time of this process and of the copies that it forked."""
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def rss() -> int:
    """Return the resident memory, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    serve(sys.argv[1])
