"""``leak-trace``: record allocations for a while."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.apart import write_private
from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.leak_dump import check_writable, moved, the_one
from cubicweb_leakwatch.commands.options import LIMIT, Option, lasting, named, size
from cubicweb_leakwatch.commands.running import explained
from cubicweb_leakwatch.commands.table import Column, render, words
from cubicweb_leakwatch.commands.terminal import Screen, say
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.probe.client import ProbeAddress, ask, choose
from cubicweb_leakwatch.recording.extensions import keep_sources
from cubicweb_leakwatch.watch.units import format_bytes, format_duration

POLL_S = 1.0
STOP_TIMEOUT_S = 120.0
LINES = (words("LINE", shrinks=True), words("FUNCTION", shrinks=True), Column("COUNT"), Column("KiB"))
CSV_COLUMNS = ("file", "line", "function", "count", "bytes")
WHY = {
    "time": "its time was over",
    "size": "what it recorded reached its bound",
    "asked": "it was told to",
}


class LeakTrace(Command):
    """Record allocations in a process for a while, then say which lines allocated what is still alive."""

    name = "leak-trace"
    has_csv = True
    tells_patience = False
    own_options = (
        Option("--process", "the process to trace, by its slot (web-1, scheduler) or its pid", named, "P"),
        Option("--seconds", "how long: 30s, 5min", lasting, "N", default=30.0, default_text="30s"),
        Option("--native", "tell C functions too (memray alone)"),
        Option("--max-size", "stop when this much is recorded", size, "SIZE", default=256 << 20, default_text="256MiB"),
        Option("--output", "keep what was recorded: memray's file, or the lines as JSON", Path, "FILE", short="-o"),
        Option("--force", "in a terminal, do not ask before starting; write over a file that is there"),
        LIMIT,
    )
    examples = (
        ("cubicweb-ctl leak-trace mysite --process web-1 --seconds 1min", "a minute of web-1's requests"),
        (
            "cubicweb-ctl leak-trace mysite --process scheduler --native -o s.bin",
            "with C functions; for memray flamegraph s.bin",
        ),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Return what was allocated while it lasted and is still alive; the cost is told before."""
        instance = self.instance(asked)
        with explained(instance):
            address = the_one(choose(instance.runtime_dir, asked.process))
        check_writable(asked.output, force=asked.force)
        plan = ask(address, "trace", action="plan", native=asked.native, max_bytes=asked.max_size)
        _tell(address, plan, asked)
        result = record(address, asked.seconds, native=asked.native, max_bytes=asked.max_size)
        alive = _alive(result, asked)
        if "sources" in alive:
            keep_sources(instance.runtime_dir, address.name, address.pid, alive["sources"])
        return {
            "process": {"name": address.name, "pid": address.pid},
            **{key: plan[key] for key in ("engine", "cost", "max_bytes")},
            **{key: result[key] for key in ("seconds", "bytes", "stopped")},
            **alive,
        }

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return the lines, and the C functions, with what is still alive of what they allocated."""
        who = clean(data["process"]["name"])
        yield screen.style(f"{who}, traced with {data['engine']} for {format_duration(data['seconds'])}", "bold")
        if data["stopped"] != "time":
            yield screen.style(f"stopped early: {WHY[data['stopped']]}", "yellow")
        yield f"recorded {format_bytes(data['bytes'])}" + (f", kept in {clean(data['file'])}" if data["file"] else "")
        yield from _table("allocated meanwhile and still alive, by line", data["lines"][: asked.limit], screen)
        if "functions" in data:
            yield from _table("by C function", data["functions"][: asked.limit], screen)

    def table(self, data: dict[str, Any], asked: Namespace) -> Table:
        """Return the lines."""
        return Table(CSV_COLUMNS, data["lines"][: asked.limit])

    def next_step(self, data: dict[str, Any], asked: Namespace) -> str:
        """Lead from the line to what keeps its objects."""
        return (
            f"cubicweb-ctl leak-holders {asked.instance} TYPE --process {data['process']['name']}   (what keeps them)"
        )


def record(address: ProbeAddress, seconds: float, *, native: bool, max_bytes: int) -> dict[str, Any]:
    """Trace a process for so long, or until it stops by itself; return what it hands over.

    The probe stops by itself when nobody asks after the recording any more, so an asker that is killed leaves nothing.
    """
    ask(address, "trace", action="start", native=native, seconds=seconds, max_bytes=max_bytes, timeout_s=STOP_TIMEOUT_S)
    deadline = time.monotonic() + seconds + 2 * POLL_S
    try:
        while (
            time.monotonic() < deadline and ask(address, "trace", action="state", timeout_s=STOP_TIMEOUT_S)["running"]
        ):
            time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
    except BaseException:
        _forget(address)
        raise
    return dict(ask(address, "trace", action="stop", timeout_s=STOP_TIMEOUT_S))


def _forget(address: ProbeAddress) -> None:
    """Stop it and remove what it recorded; the process may be gone."""
    try:
        result = ask(address, "trace", action="stop", timeout_s=STOP_TIMEOUT_S)
    except LeakwatchError:
        return
    if "path" in result:
        Path(result["path"]).unlink(missing_ok=True)


def _tell(address: ProbeAddress, plan: dict[str, Any], asked: Namespace) -> None:
    """Say what it will cost; in a terminal, ask."""
    what = f"tracing {address.name} (pid {address.pid}) with {plan['engine']} for {format_duration(asked.seconds)}"
    say(f"{what}: {plan['cost']}", sys.stderr)
    if sys.stdin.isatty() and sys.stderr.isatty() and not asked.force:
        say("go on? [y/N]", sys.stderr)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise LeakwatchError("nothing was traced", "--force does not ask", "declined")


def _alive(result: dict[str, Any], asked: Namespace) -> dict[str, Any]:
    """Read what was recorded, here, and keep or remove the file."""
    if "path" not in result:
        if asked.output:
            write_private(asked.output, json.dumps(result["lines"]))
        return {"file": str(asked.output.absolute()) if asked.output else None, "lines": result["lines"]}
    from cubicweb_leakwatch.capture import lines_alive

    path = Path(result["path"])
    try:
        found = lines_alive(path, native=asked.native)
        return {"file": str(moved(path, asked.output)) if asked.output else None, **found}
    finally:
        path.unlink(missing_ok=True)


def _table(title: str, rows: list[dict[str, Any]], screen: Screen) -> Iterator[str]:
    yield ""
    yield screen.style(title, "bold")
    shown = [
        [
            f"{clean(row['file'])}:{row['line']}",
            clean(row.get("function", "")),
            f"{row['count']:,}",
            f"{row['bytes'] / 1024:,.1f}",
        ]
        for row in rows
    ]
    yield from render(LINES, shown, screen) if shown else ("nothing",)
