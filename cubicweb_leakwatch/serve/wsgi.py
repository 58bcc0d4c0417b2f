"""The worker of ``--wsgi MODULE:APP``: any WSGI callable under the launcher, with a probe when it can have one.

It also serves alone, under a service manager that holds the socket: past its limits it then drains and exits, and the
manager starts the next one while the socket's queue waits.
"""

import contextlib
import importlib
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.probe.server import start_probe
from cubicweb_leakwatch.serve.worker import refuse, serve


def load(name: str) -> Any:
    """Return the WSGI callable of ``MODULE:APP`` (``MODULE:FACTORY()`` calls it); raises ConfigurationError."""
    module_name, _colon, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"{name!r} is not MODULE:APP", "for example --wsgi trac.web.main:dispatch_request")
    sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.removesuffix("()").split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"cannot load {name}: {error}") from None
    return found() if attribute.endswith("()") else found


def first_request(app: Any, path: str = "/") -> None:
    """Make one GET of our own and raise LeakwatchError unless it is answered below status 500.

    It goes to the application, not through the socket: that one is shared, the old generation might answer.
    """
    seen: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        seen[:] = [status]
        return lambda data: None

    try:
        body: Iterable[bytes] = app(request_environment(path), start_response)
        for _chunk in body:
            pass
        close = getattr(body, "close", None)
        if close is not None:
            close()
    except Exception as error:
        raise LeakwatchError(f"the first request failed: GET {path}: {type(error).__name__}: {error}") from error
    if not seen or not seen[0][:3].isdigit() or int(seen[0][:3]) >= 500:
        raise LeakwatchError(f"the first request failed: GET {path}: {seen[0] if seen else 'no answer'}")


def request_environment(path: str) -> dict[str, Any]:
    """Return the WSGI environment of a plain GET from this machine."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "HTTP_USER_AGENT": "leakwatch-first-request",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def own_directory(name: str) -> Path:
    """Return the runtime directory that the launcher gave; alone, one of this user and this application."""
    given = os.environ.get("LEAKWATCH_RUNTIME_DIR") or default_runtime_dir(os.environ.get("LEAKWATCH_INSTANCE", name))
    try:
        Path(given).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"the runtime directory {given} cannot be made: {error.strerror}") from None
    return Path(given)


def default_runtime_dir(name: str) -> str:
    """Return the path of a directory of this user and this application."""
    base = os.environ.get("XDG_RUNTIME_DIR") or _own_base()
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    return f"{base}/leakwatch-{safe}"


def _own_base() -> str:
    """Return this user's directory below the temporary one, where anybody could have prepared one of that name."""
    base = f"{tempfile.gettempdir()}/leakwatch-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        Path(base).mkdir(mode=0o700)
    found = os.lstat(base)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigurationError(f"{base} is not a directory of this user alone", "name another by --runtime-dir")
    return base


def main(arguments: list[str]) -> int:
    """Run one worker: arguments MODULE:APP and the path of the first request."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    state = this_process()
    try:
        runtime_dir = own_directory(arguments[0])
        app = load(arguments[0])
        probe = start_probe(runtime_dir, os.environ.get("LEAKWATCH_INSTANCE", arguments[0]), state)
        try:
            threads = int(os.environ.get("LEAKWATCH_THREADS") or 4)
            serve(app, state=state, probe=probe, threads=threads, ready_check=lambda: first_request(app, arguments[1]))
        finally:
            probe.stop()
    except LeakwatchError as error:
        return refuse(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
