"""A PostgreSQL cluster for a test run: in a folder of its own, on a Unix socket, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PORT = "5432"
ENCODING = {"db-encoding": "utf8"}


@dataclass(frozen=True)
class Cluster:
    """A cluster in ``folder``, of a system user; it can be stopped and started again.

    ``address`` is where it listens by TCP instead of by a Unix socket in the folder.
    """

    folder: Path
    user: pwd.struct_passwd
    pg_ctl: str
    address: str = ""

    @property
    def source(self) -> dict[str, str]:
        """The lines of a CubicWeb system source that uses it, but for ``db-name``."""
        where = {
            "db-driver": "postgres",
            "db-host": self.address or str(self.folder),
            "db-port": PORT,
            "db-user": "postgres",
        }
        return {**where, **ENCODING}

    def run(self, *command: str) -> None:
        """Run a command as the cluster's user: PostgreSQL refuses to run as root."""
        as_root = os.geteuid() == 0
        done = subprocess.run(
            command,
            user=self.user.pw_uid if as_root else None,
            group=self.user.pw_gid if as_root else None,
            extra_groups=[] if as_root else None,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-k {self.folder} -p {PORT} -h '{self.address}' -F"
        self.run(self.pg_ctl, "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once: whoever is connected is cut off."""
        self.run(self.pg_ctl, "-D", f"{self.folder}/data", "-m", "immediate", "stop")

    def restart(self) -> None:
        """Stop it at once and start it again."""
        self.stop()
        self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have it say nothing for a block, as a host without power: it takes connections, and what is sent to it."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        found = [psutil.Process(pid), *psutil.Process(pid).children()]
        for process in found:
            with suppress(psutil.NoSuchProcess):  # a helper of the server's that was just ending
                process.suspend()
        try:
            yield
        finally:
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    @contextmanager
    def dropped(self, iptables: str) -> Iterator[None]:
        """Have the kernel drop every packet to and from it for a block; for a network namespace of one's own."""
        rules = [("INPUT", "-p", "tcp", side, PORT, "-j", "DROP") for side in ("--dport", "--sport")]
        for rule in rules:
            subprocess.run([iptables, "-A", *rule], check=True, timeout=30)
        try:
            yield
        finally:
            for rule in rules:
                subprocess.run([iptables, "-D", *rule], check=True, timeout=30)


@contextmanager
def cluster(needs_program: Callable[[str, str], str], address: str = "") -> Iterator[Cluster]:
    """Start a cluster, as root as the user ``postgres`` of its Debian package."""
    initdb, pg_ctl = needs_program("initdb", "postgresql"), needs_program("pg_ctl", "postgresql")
    # Not pytest's folder, which is for its user alone; and short, for a socket's path has 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="leakwatch-pg-"))
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    os.chown(folder, user.pw_uid, user.pw_gid)
    made = Cluster(folder, user, pg_ctl, address)
    try:
        data = f"{folder}/data"
        made.run(initdb, "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C", data)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgresql(needs_program: Callable[[str, str], str]) -> Iterator[dict[str, str]]:
    """Start a cluster and give the lines of a CubicWeb system source that uses it, but for ``db-name``."""
    with cluster(needs_program) as running:
        yield running.source


def program(name: str, debian_package: str) -> str:
    """Return a program's path, as ``needs_program`` does, for what is no test; ends the process where there is none."""
    folders = [str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin")]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise SystemExit(f"{name} is not installed (Debian package {debian_package})")
    return found
