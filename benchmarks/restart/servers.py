"""The servers of the benchmark, each with how it is started and how its workers come to be replaced."""

import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
Command = Callable[[str, int, Path], list[str]]


@dataclass(frozen=True)
class Server:
    """A set-up: ``command(python, port, folder)`` starts it.

    ``drive`` names how replacements are forced from outside while the load runs (see run.py); None: its own limits.
    ``leak_bytes`` is what each request leaks, where the limit is memory. ``program`` must be installed.
    """

    name: str
    command: Command
    drive: str | None = None
    leak_bytes: int = 0
    workers: int = 1
    unix: bool = False
    nginx: bool = False
    program: str = ""

    def available(self, python: str) -> bool:
        """Whether the program is installed beside the Python that runs the servers."""
        if self.nginx and shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
            return False
        return not self.program or (Path(python).parent / self.program).exists()


def ours(workers: int, *, unix: bool = False) -> Command:
    """Return the launcher's command."""

    def command(_python: str, port: int, folder: Path) -> list[str]:
        bind = f"unix:{folder}/site.sock" if unix else f"127.0.0.1:{port}"
        options = ["--bind", bind, "--workers", str(workers), "--threads", "8", "--runtime-dir", str(folder / "rt")]
        options += ["--ready-timeout", "15s"]
        return [sys.executable, "-m", "cubicweb_leakwatch.serve", *options, "--wsgi", "app:app"]

    return command


def gunicorn(workers: int, *options: str) -> Command:
    """Return gunicorn's command, with its threaded worker."""

    def command(python: str, port: int, _folder: Path) -> list[str]:
        program = str(Path(python).parent / "gunicorn")
        common = ["-b", f"127.0.0.1:{port}", "-w", str(workers), "-k", "gthread", "--threads", "8"]
        return [program, *common, "--no-control-socket", *options, "app:app"]

    return command


def uwsgi(workers: int, *options: str) -> Command:
    """Return uWSGI's command, each worker loading the application by itself."""

    def command(python: str, port: int, _folder: Path) -> list[str]:
        program = str(Path(python).parent / "uwsgi")
        common = ["--http-socket", f"127.0.0.1:{port}", "-p", str(workers), "--threads", "8", "--master"]
        return [program, *common, "--lazy-apps", "--need-app", "--add-header", "Connection: close", "--wsgi", "app:app",
                *options]  # fmt: skip

    return command


def granian(workers: int, *options: str) -> Command:
    """Return granian's command."""

    def command(python: str, port: int, _folder: Path) -> list[str]:
        program = str(Path(python).parent / "granian")
        common = ["--interface", "wsgi", "--port", str(port), "--workers", str(workers), "--blocking-threads", "8"]
        return [program, *common, *options, "app:app"]

    return command


def uvicorn(workers: int, *options: str) -> Command:
    """Return uvicorn's command."""

    def command(python: str, port: int, _folder: Path) -> list[str]:
        program = str(Path(python).parent / "uvicorn")
        return [program, "--port", str(port), "--workers", str(workers), *options, "app:asgi"]

    return command


LEAK = 200_000
OURS = [
    Server("leakwatch 1w", ours(1), "launcher"),
    Server("leakwatch 2w", ours(2), "launcher", workers=2),
    Server("leakwatch 1w unix", ours(1, unix=True), "launcher", unix=True),
    Server("leakwatch 2w unix", ours(2, unix=True), "launcher", workers=2, unix=True),
    Server("leakwatch 1w behind nginx", ours(1), "launcher", nginx=True),
    Server("leakwatch 2w behind nginx", ours(2), "launcher", workers=2, nginx=True),
    Server("leakwatch 1w unix behind nginx", ours(1, unix=True), "launcher", unix=True, nginx=True),
    Server("leakwatch 2w unix behind nginx", ours(2, unix=True), "launcher", workers=2, unix=True, nginx=True),
]
PEERS = [
    Server("gunicorn 1w max-requests 500", gunicorn(1, "--max-requests", "500"), program="gunicorn"),
    Server("gunicorn 2w max-requests 250", gunicorn(2, "--max-requests", "250"), workers=2, program="gunicorn"),
    Server("gunicorn 1w TTIN, 3.5 s, TTOU", gunicorn(1), "ttin-ttou", program="gunicorn"),
    Server("gunicorn 2w TTIN, 3.5 s, TTOU", gunicorn(2), "ttin-ttou", workers=2, program="gunicorn"),
    Server("uWSGI 1w reload-on-rss lazy", uwsgi(1, "--reload-on-rss", "90"), None, LEAK, program="uwsgi"),
    Server("uWSGI 2w reload-on-rss lazy", uwsgi(2, "--reload-on-rss", "60"), None, LEAK, 2, program="uwsgi"),
    Server(
        "granian 1w workers-max-rss",
        granian(1, "--workers-max-rss", "90", "--rss-sample-interval", "1", "--rss-samples", "1"),
        None,
        LEAK,
        program="granian",
    ),
    Server(
        "uvicorn 2w limit-max-requests 250", uvicorn(2, "--limit-max-requests", "250"), None, 0, 2, program="uvicorn"
    ),
    Server("uvicorn 2w SIGHUP every 8 s", uvicorn(2), "hup", 0, 2, program="uvicorn"),
]
STOP = signal.SIGTERM
