"""``leak-status``: how each process is, in one look."""

import os
import sys
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cubicweb_leakwatch import live
from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.options import PROCESS, Option
from cubicweb_leakwatch.commands.running import explained
from cubicweb_leakwatch.commands.spark import sparkline
from cubicweb_leakwatch.commands.table import Cell, Column, render, words
from cubicweb_leakwatch.commands.terminal import Screen, say, wrapped
from cubicweb_leakwatch.commands.top import follow
from cubicweb_leakwatch.errors import EXIT_DONE, LeakwatchError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.probe.client import ProbeAddress
from cubicweb_leakwatch.watch.finding import Finding
from cubicweb_leakwatch.watch.units import MIB, format_duration

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
"""Exit codes of ``--check``, which are those of the Nagios family."""

NEAR_LIMIT = 0.9
"""Share of its memory limit from which a process deserves a warning."""

SOON_S = 3600.0
"""A limit that is predicted within this time is critical: nobody reacts in less."""

COLUMNS = (
    words("PROCESS"),
    Column("PID", rank=1),
    words("STATE", rank=5),
    Column("GEN", rank=6),
    Column("AGE", rank=3),
    Column("REQUESTS", rank=4),
    Column("IN FLIGHT", rank=7),
    Column("RSS MiB"),
    Column("USS MiB", rank=2),
    Column("LIMIT MiB", rank=1),
    Column("MiB/h"),
    Column("TO LIMIT", rank=1),
    Column("OBJECTS", rank=9),
    Column("GARBAGE", rank=1),
    Column("FDS", rank=10),
    Column("THREADS", rank=11),
    words("VERDICT", shrinks=True, whole=True),
)
CSV_COLUMNS = (
    "name", "pid", "host", "role", "state", "started_at", "age_s", "generation", "requests", "in_flight", "rss", "uss",
    "pss", "limit", "gc_objects", "garbage", "threads", "fds", "verdict", "leak", "rate_bytes_per_h",
    "seconds_to_limit",
)  # fmt: skip
LATELY = 20
"""Blocks of the line of memory that ``--watch`` shows: the last so many measurements."""


def _falling(name: str) -> Callable[[dict[str, Any]], tuple[float, str]]:
    """Return the order of a number, the highest first, the unknown last."""
    return lambda process: (-(process[name] if process.get(name) is not None else float("-inf")), process["name"])


def _limit_left(process: dict[str, Any]) -> tuple[float, str]:
    left = process.get("seconds_to_limit")
    return (float("inf") if left is None else left, process["name"])


ORDERS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "n": ("name", lambda process: process["name"]),
    "m": ("memory", _falling("rss")),
    "g": ("growth", _falling("rate_bytes_per_h")),
    "t": ("to limit", _limit_left),
    "r": ("requests", _falling("requests")),
    "a": ("age", _falling("age_s")),
}
"""By key: what the list is sorted by."""


class LeakStatus(Command):
    """Show each process of an instance: memory beside its limit, growth, verdict."""

    name = "leak-status"
    has_csv = True
    own_options = (
        PROCESS,
        Option("--check", "exit 0 (ok), 1 (warning), 2 (critical) or 3 (unknown), for a monitoring system"),
        Option(
            "--watch",
            "show again every SECONDS, as top does: a key sorts, q ends it",
            float,
            "SECONDS",
            bare=2.0,
            default_text="2 when bare",
        ),
    )
    examples = (
        ("cubicweb-ctl leak-status mysite", "how are the processes of mysite?"),
        ("cubicweb-ctl leak-status mysite --check", "one line and an exit code, for Nagios or a cron job"),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Return the verdict and a row a process."""
        instance = self.instance(asked)
        with explained(instance):
            data, look = live.status(instance.runtime_dir, asked.process, judge=_judge(instance.runtime_dir))
        self.warnings = [failure.message for failure in look.failures]
        return data

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return the verdict, then one row a process; with ``--check`` the verdict alone."""
        if asked.check:
            label = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[self.level(data)]
            return [f"{label} - {asked.instance}: {clean('; '.join([*self.warnings, summary(data)]))}"]
        return [
            *self.heading(data, asked, screen),
            "",
            *render(COLUMNS, [_row(process) for process in data["processes"]], screen),
        ]

    def level(self, data: dict[str, Any]) -> int:
        """Return the level of the instance; a process that does not answer deserves a warning."""
        return max(judge(data), WARNING if self.warnings else OK)

    def heading(self, data: dict[str, Any], asked: Namespace, screen: Screen, before: str = "") -> list[str]:
        """Return the verdict in as many lines of the terminal as it takes."""
        style = {OK: "green", WARNING: "yellow", CRITICAL: "red"}.get(self.level(data), "dim")
        text = wrapped(before, f"{clean(asked.instance)}: {clean(summary(data))}", screen)
        return [screen.style(line, "bold", style) for line in text]

    def table(self, data: dict[str, Any], asked: Namespace) -> Table:
        """Return the processes."""
        return Table(CSV_COLUMNS, data["processes"])

    def next_step(self, data: dict[str, Any], asked: Namespace) -> str:
        """Name the process to look into, when one leaks."""
        leaking = [process for process in data["processes"] if process.get("leak") or process.get("garbage")]
        if not leaking or asked.check:
            return ""
        worst = min(leaking, key=_limit_left)
        return f"cubicweb-ctl leak-gc {asked.instance} --process {worst['name']}"

    def exit_code(self, data: dict[str, Any], asked: Namespace) -> int:
        """Return the level with ``--check``, else 0."""
        return self.level(data) if asked.check else EXIT_DONE

    def failure_code(self, error: LeakwatchError, words: Sequence[str]) -> int:
        """Return 3 (unknown) with ``--check``: what cannot be asked is not known to be well."""
        return UNKNOWN if "--check" in words else error.exit_code

    def tell_failure(self, error: LeakwatchError, words: Sequence[str]) -> None:
        """With ``--check``, tell it where a monitoring system reads."""
        if "--check" in words and "--json" not in words:
            say(f"UNKNOWN - {clean(error.message)}")
        else:
            super().tell_failure(error, words)

    def run(self, asked: Namespace) -> int:
        """Show once, or again and again with ``--watch``."""
        if asked.watch is None:
            return super().run(asked)
        if not 0.1 <= asked.watch <= 86400:
            self._parser().error("--watch: between 0.1 and 86400 seconds")
        steerable = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        if steerable and not self.is_for_a_program(asked):
            watching = Watching(self, asked)
            follow(watching.lines, asked.watch, watching.press)
            return EXIT_DONE
        while True:
            self._show_again(asked)
            time.sleep(asked.watch)

    def _show_again(self, asked: Namespace) -> None:
        data = self.data(asked)
        self.show(data, asked)
        if not self.is_for_a_program(asked):
            say("")
        sys.stdout.flush()


class Watching:
    """What ``--watch`` shows on a terminal: the rows in the order of a column, with how memory went meanwhile."""

    def __init__(self, command: LeakStatus, asked: Namespace) -> None:
        self.command, self.asked = command, asked
        self.order = "n"
        self.seen: dict[tuple[str, int], deque[float]] = {}

    def press(self, key: str) -> bool:
        """Take a key; say whether it changed the order."""
        if key not in ORDERS:
            return False
        self.order = key
        return True

    def lines(self) -> list[str]:
        """Return the screen; a failure is shown until it has passed."""
        screen = Screen.of(sys.stdout)
        now = time.strftime("%H:%M:%S")
        try:
            data = self.command.data(self.asked)
        except LeakwatchError as error:
            told = wrapped(f"{now}  ", clean(error.message), screen)
            hint = wrapped("", clean(error.hint), screen)
            return [*(screen.style(line, "red") for line in told), *hint, "", *_keys(self.order, screen)]
        processes = sorted(data["processes"], key=ORDERS[self.order][1])
        self._note(processes)
        heading = self.command.heading(data, self.asked, screen, f"{now}  ")
        rows = [[*_row(process), sparkline(self._lately(process), LATELY)] for process in processes]
        table = render((*COLUMNS, words("RSS LATELY", rank=8)), rows, screen)
        failures = [wrapped("", clean(failure), screen) for failure in self.command.warnings]
        told = [screen.style(line, "yellow") for failure in failures for line in failure]
        step = self.command.next_step(data, self.asked)
        ends = wrapped("next: ", clean(step), screen) if step else []
        return [*heading, *told, "", *table, "", *ends, *_keys(self.order, screen)]

    def _note(self, processes: Sequence[dict[str, Any]]) -> None:
        """Remember the memory of those that are there, and forget the others."""
        kept = {}
        for process in processes:
            known = self.seen.get((process["name"], process["pid"]), deque(maxlen=LATELY))
            if process.get("rss") is not None:
                known.append(process["rss"])
            kept[process["name"], process["pid"]] = known
        self.seen = kept

    def _lately(self, process: dict[str, Any]) -> list[float]:
        return list(self.seen[process["name"], process["pid"]])


def _keys(order: str, screen: Screen) -> list[str]:
    named = "  ".join(f"[{key}] {name}" if key == order else f"{key} {name}" for key, (name, _key) in ORDERS.items())
    return wrapped("", f"sort by: {named}   space now   q quit", screen)


def _judge(directory: Path) -> live.Judge:
    """Return what the looping task concluded; where none runs, conclude here from what the processes keep."""
    recorded = live.recorded_judge(directory)

    def judge_it(address: ProbeAddress, limit: int | None) -> Finding:
        finding = recorded(address, limit)
        return live.judge_here(address, limit) if finding.kind == "not-enough-data" else finding

    return judge_it


def judge(data: dict[str, Any]) -> int:
    """Return the level of the whole instance: that of its worst process."""
    levels = [_level(process) for process in data["processes"]]
    return max(levels, default=UNKNOWN)


def _level(process: dict[str, Any]) -> int:
    limit, memory = process.get("limit"), process.get("uss") or process.get("rss")
    left = process.get("seconds_to_limit")
    if (limit and memory and memory >= limit) or (left is not None and left < SOON_S):
        return CRITICAL
    near = bool(limit and memory and memory >= NEAR_LIMIT * limit)
    return WARNING if near or process.get("leak") or process.get("garbage") else OK


def summary(data: dict[str, Any]) -> str:
    """Return the verdict, led by what is already past its limit or uncollectable."""
    told = []
    for process in live.one_a_slot(data["processes"]):
        limit, memory = process.get("limit"), process.get("uss") or process.get("rss")
        if limit and memory and memory >= NEAR_LIMIT * limit:
            told.append(f"{process['name']} uses {_mib(memory)} of {_mib(limit)} MiB")
        if process.get("garbage"):
            told.append(f"{process['name']} holds {process['garbage']} uncollectable objects")
    return "; ".join([*told, data["verdict"]])


def _row(process: dict[str, Any]) -> list[object]:
    rate, limit = process.get("rate_bytes_per_h"), process.get("limit")
    memory = process.get("uss") or process.get("rss")
    near = bool(limit and memory and memory >= NEAR_LIMIT * limit)
    garbage = process.get("garbage")
    return [
        process["name"],
        process["pid"],
        "silent" if process.get("silent") else process["state"],
        process["generation"],
        format_duration(process.get("age_s")),
        process.get("requests"),
        process.get("in_flight"),
        Cell(_mib(process.get("rss")), ("red",) if near else ()),
        _mib(process.get("uss")),
        _mib(limit) if limit else "none",
        "n/a" if rate is None else f"{rate / MIB:+.1f}",
        to_limit(process.get("seconds_to_limit")),
        process.get("gc_objects"),
        Cell("n/a" if garbage is None else str(garbage), ("red",) if garbage else ()),
        process.get("fds"),
        process.get("threads"),
        Cell(process.get("verdict") or "n/a", ("red",) if process.get("leak") else ()),
    ]


def to_limit(seconds: float | None) -> str:
    """Return the time to the limit; less than a minute is now: no sample is that fine."""
    return "now" if seconds is not None and seconds < 60 else format_duration(seconds)


def _mib(size: float | None) -> str:
    return "n/a" if size is None else f"{size / MIB:.1f}"
