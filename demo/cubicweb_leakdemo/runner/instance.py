"""Makes a CubicWeb instance by itself: its configuration, database and logs in one folder."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
ADMIN = "admin"
PASSWORD = "admin"
ANONYMOUS = "anon"

SOURCES = """\
[admin]
login={admin}
password={password}

[system]
{database}
"""


class CommandFailed(Exception):
    """A command that must succeed did not; the text holds what it printed."""


@dataclass(frozen=True)
class Instance:
    """A CubicWeb instance whose files are all in ``home``; ``options`` are all-in-one.conf's, by their name.

    It is served on ``port`` of 127.0.0.1, and the links of its pages say so. ``database`` holds the lines of the system
    source; the default is a SQLite file in ``home``. ``programs`` is the folder of ``cubicweb-ctl``.
    """

    home: Path
    port: int
    name: str = "demo"
    cubes: tuple[str, ...] = ("leakdemo",)
    options: dict[str, str] = field(default_factory=dict)
    database: dict[str, str] = field(default_factory=dict)
    programs: Path = Path(sys.executable).parent

    @property
    def address(self) -> str:
        """The site's root URL, with the slash."""
        return f"http://{HOST}:{self.port}/"

    def variables(self) -> dict[str, str]:
        """Return the environment variables with which ``cubicweb-ctl`` finds the instance."""
        return {
            "CW_MODE": "user",
            "CW_INSTANCES_DIR": str(self.home / "etc"),
            "CW_INSTANCES_DATA_DIR": str(self.home / "data"),
            "CW_RUNTIME_DIR": str(self.home / "run"),
        }

    def environment(self) -> dict[str, str]:
        """Return a whole environment for a child: this one's without other CubicWeb settings, and ours."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CW_")}
        path = f"{self.programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**inherited, **self.variables(), "PATH": path}

    def shell_lines(self) -> str:
        """Return lines for a shell to read, after which ``cubicweb-ctl`` finds the instance."""
        lines = [f"export {name}='{value}'" for name, value in self.variables().items()]
        return "\n".join([*lines, f"export PATH='{self.programs}':\"$PATH\"", ""])

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of ``cubicweb-ctl NAME``."""
        return [str(self.programs / "cubicweb-ctl"), name, *arguments]

    def run(self, name: str, *arguments: str, timeout_s: float = 120.0) -> str:
        """Run ``cubicweb-ctl NAME`` to its end and return its output; raise CommandFailed with what it said."""
        done = subprocess.run(
            self.command(name, *arguments),
            env=self.environment(),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"cubicweb-ctl {name} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def create(self) -> None:
        """Make the instance and its database anew; what ``home`` held is removed."""
        self.configure()
        self.run("db-create", "--automatic", self.name, timeout_s=600.0)  # eight seconds, on a machine at rest

    def configure(self) -> None:
        """Make the instance anew, for a database that is there or comes from elsewhere."""
        shutil.rmtree(self.home, ignore_errors=True)
        for folder in ("etc", "data", "run"):
            (self.home / folder).mkdir(parents=True, mode=0o700)
        self.run("create", "--automatic", "--no-db-create", "--config-level", "0", ",".join(self.cubes), self.name)
        self._write_sources()
        self._write_options()

    def _write_sources(self) -> None:
        database = self.database or {"db-driver": "sqlite", "db-name": str(self.home / "database.sqlite")}
        lines = "\n".join(f"{key}={value}" for key, value in database.items())
        sources = SOURCES.format(admin=ADMIN, password=PASSWORD, database=lines)
        (self.home / "etc" / self.name / "sources").write_text(sources)

    def _write_options(self) -> None:
        path = self.home / "etc" / self.name / "all-in-one.conf"
        text = path.read_text()
        for key, value in (self._common_options() | self.options).items():
            text, found = re.subn(rf"(?m)^#?{re.escape(key)}=.*$", lambda _: f"{key}={value}", text)  # noqa: B023
            if not found:
                raise CommandFailed(f"{path} has no option {key}")
        path.write_text(text)

    def _common_options(self) -> dict[str, str]:
        return {
            "interface": HOST,
            "port": str(self.port),
            "base-url": self.address,
            "anonymous-user": ANONYMOUS,
            "anonymous-password": ANONYMOUS,
        }
