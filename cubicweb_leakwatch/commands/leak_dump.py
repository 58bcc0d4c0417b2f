"""``leak-dump``: write a heap dump."""

import os
import shlex
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cubicweb_leakwatch import live
from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.options import Option, named
from cubicweb_leakwatch.commands.running import explained
from cubicweb_leakwatch.commands.terminal import Screen, say
from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.probe.client import ProbeAddress, choose
from cubicweb_leakwatch.watch.units import format_bytes


class LeakDump(Command):
    """Write a heap dump: every object of a process with its type, size and references, without its contents."""

    name = "leak-dump"
    own_options = (
        Option("--process", "the process to dump, by its slot (web-1, scheduler) or its pid", named, "P"),
        Option(
            "--output",
            "the file to write, readable by you alone",
            Path,
            "FILE",
            default_text="INSTANCE-PROCESS-TIME.dump in this directory",
            short="-o",
        ),
        Option("--force", "write over a file that is there"),
    )
    examples = (
        ("cubicweb-ctl leak-dump mysite --process web-1", "the heap of web-1, to look at later or elsewhere"),
        ("cubicweb-ctl leak-dump mysite --process scheduler -o /tmp/s.dump --force", "into a file of that name"),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Return where the dump lies and what it took."""
        instance = self.instance(asked)
        with explained(instance):
            address = the_one(choose(instance.runtime_dir, asked.process))
        path = asked.output or Path(f"{instance.name}-{address.name}-{time.strftime('%Y%m%dT%H%M%S')}.dump")
        check_writable(path, force=asked.force)
        if sys.stderr.isatty():
            say(f"dumping {address.name} (pid {address.pid})…", sys.stderr)
        with live.taken_dump(address) as dump:
            return {**dump, "path": str(moved(Path(dump["path"]), path))}

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Say where it is, how large, and how long the process was stopped."""
        yield f"{data['path']}: {format_bytes(data['bytes'])}, {data['objects']:,} objects"
        yield f"stopped for {data['pause_ms']:.1f} ms, written in {data['elapsed_ms'] / 1000:.1f} s"
        if data.get("partial"):
            yield screen.style(f"partial: {data['partial']}", "yellow")

    def next_step(self, data: dict[str, Any], asked: Namespace) -> str:
        """Lead to the analysis."""
        return f"cubicweb-ctl leak-analyze {shlex.quote(data['path'])}"


def the_one(addresses: list[ProbeAddress]) -> ProbeAddress:
    """Return the only process; raises ``ConfigurationError``, naming them, when there are several to choose from."""
    if len(addresses) == 1:
        return addresses[0]
    names = ", ".join(f"{address.name} (pid {address.pid})" for address in addresses)
    raise ConfigurationError("say which process: --process P", hint=f"there are: {names}", code="usage")


def moved(dump: Path, path: Path) -> Path:
    """Move the dump, which may cross file systems; it stays readable by its owner alone.

    What was there goes once all is written, so a full disk takes no earlier dump away; a device is written to as it is.
    """
    is_file = not path.exists() or path.is_file()
    written = path.with_name(f".{path.name[:200]}.{os.getpid()}") if is_file else path
    try:
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
            os.fchmod(target.fileno(), 0o600)
            with dump.open("rb") as source:
                shutil.copyfileobj(source, target, 1024 * 1024)
        if is_file:
            written.replace(path)
    except BaseException as error:
        if is_file:
            written.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise LeakwatchError(f"cannot write {path}: {error.strerror}", code="file") from error
        raise
    return path.absolute()


def check_writable(path: Path | None, *, force: bool) -> None:
    """Raise, before anything is taken, when the file could not be kept; ``None`` needs no file."""
    if path is None:
        return
    if path.is_dir():
        raise ConfigurationError(f"{path} is a directory", "name a file in it", code="file")
    if path.exists() and not force:
        raise ConfigurationError(f"{path} is there already", hint="name another file, or give --force", code="file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        there = "no such directory" if not path.parent.is_dir() else "permission denied"
        raise LeakwatchError(f"cannot write {path}: {there}", code="file")
