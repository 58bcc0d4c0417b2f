"""A PostgreSQL of the test's own: its files in a temporary folder, its socket there too, no port on the network."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PORT = 5432
"""Only names the socket's file: nothing listens on the network."""


@dataclass(frozen=True)
class Cluster:
    """A running server; the current user is its superuser, without password."""

    folder: Path
    programs: Path

    @property
    def user(self) -> str:
        """The database user that tests connect as."""
        return "tester"

    def database(self, name: str) -> dict[str, str]:
        """Return the lines of an instance's system source for a database of this cluster."""
        return {
            "db-driver": "postgres",
            "db-host": str(self.folder),
            "db-port": str(PORT),
            "db-user": self.user,
            "db-name": name,
            "db-create-lang": "",
        }

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; it can be started again."""
        _run(self.programs / "pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-k {self.folder} -p {PORT} -c listen_addresses='' -c fsync=off"
        data, log = str(self.folder / "data"), str(self.folder / "log")
        _run(self.programs / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")


@contextmanager
def cluster(initdb: str) -> Iterator[Cluster]:
    """Run a server until the end of the block; ``initdb`` is the path of that program."""
    folder = Path(tempfile.mkdtemp(prefix="leakwatch-pg-"))
    _give_to_server(folder)
    # the folder of the real programs: Debian's PATH has a wrapper of them
    server = Cluster(folder, Path(initdb).resolve().parent)
    try:
        _run(server.programs / "initdb", "-D", str(folder / "data"), "-A", "trust", "-U", server.user, "-E", "UTF8")
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(program: Path, *arguments: str) -> None:
    # output to files: a server that inherits our pipes would keep us waiting for its own end
    with tempfile.TemporaryFile() as said:
        done = subprocess.run([*_as_server(), str(program), *arguments], stdout=said, stderr=said, cwd="/", check=False)
        said.seek(0)
        assert done.returncode == 0, said.read().decode(errors="replace")


def _as_server() -> list[str]:
    """PostgreSQL refuses to run as root; Debian's package makes a user for it."""
    if os.geteuid():
        return []
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]


def _give_to_server(folder: Path) -> None:
    folder.chmod(0o711)
    if not os.geteuid():
        shutil.chown(folder, "postgres", "postgres")
