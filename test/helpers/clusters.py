"""A PostgreSQL cluster for a test run: in a folder of its own, on a Unix socket, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PORT = "5432"
ENCODING = {"db-encoding": "utf8"}


@contextmanager
def postgresql(needs_program: Callable[[str, str], str]) -> Iterator[dict[str, str]]:
    """Start a cluster and give the lines of a CubicWeb system source that uses it, but for ``db-name``.

    PostgreSQL refuses to run as root: then it runs as the user ``postgres`` of its Debian package.
    """
    initdb, pg_ctl = needs_program("initdb", "postgresql"), needs_program("pg_ctl", "postgresql")
    # Not pytest's folder, which is for its user alone; and short, for a socket's path has 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="leakwatch-pg-"))
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    os.chown(folder, user.pw_uid, user.pw_gid)

    def run(*command: str) -> None:
        done = subprocess.run(
            command,
            user=user.pw_uid if os.geteuid() == 0 else None,
            group=user.pw_gid if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    data, log = str(folder / "data"), str(folder / "log")
    try:
        run(initdb, "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C", data)
        run(pg_ctl, "-D", data, "-l", log, "-w", "-o", f"-k {folder} -p {PORT} -h '' -F", "start")
        try:
            yield {"db-driver": "postgres", "db-host": str(folder), "db-port": PORT, "db-user": "postgres", **ENCODING}
        finally:
            run(pg_ctl, "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
