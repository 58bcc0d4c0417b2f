"""A local Mercurial repository served over HTTP by Mercurial's own ``hgweb``: what the demo's looping task polls.

``python -m cubicweb_leakdemo.repository FOLDER`` makes the repository in FOLDER when there is none, prints its
address as the first line of its output and serves until it is told to end.
"""

import signal
import sys
from pathlib import Path
from typing import NoReturn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from mercurial import hg
from mercurial.hgweb import hgweb

from cubicweb_leakdemo.polling import quiet_ui


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_args: object) -> None:
        """Say nothing of a request: there are twenty a second."""


def make_repository_server(folder: Path) -> WSGIServer:
    """Return a server, bound to a free port of 127.0.0.1, of the repository in ``folder``."""
    ui = quiet_ui()
    hg.repository(ui, str(folder).encode(), create=not (folder / ".hg").is_dir())
    application = hgweb(str(folder).encode(), baseui=ui)
    return make_server("127.0.0.1", 0, application, WSGIServer, _QuietHandler)


def _end(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def main(folder: str) -> None:
    """Serve the repository in ``folder`` until SIGTERM."""
    signal.signal(signal.SIGTERM, _end)
    server = make_repository_server(Path(folder))
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
