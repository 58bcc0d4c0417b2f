"""What ``leak-doctor`` knows of an instance, and what it thinks of it: each check is a function of plain facts."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cubicweb_leakwatch.watch.finding import iso_utc
from cubicweb_leakwatch.watch.units import format_bytes

Process = dict[str, Any]
RECORDED_AFTER_S = 900.0
"""A scheduler that has run for so long, and for two intervals, has drawn conclusions, if it records at all."""


@dataclass(frozen=True)
class Facts:
    """What was found out; ``None`` for what could not be. Memory in bytes, ``overdue_since`` in Unix seconds."""

    name: str
    processes: tuple[Process, ...] = ()
    silent: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    launcher: dict[str, Any] | None = None
    findings: int = 0
    overdue_since: float | None = None
    directory: str = ""
    directory_mode: int | None = None
    directory_is_ours: bool = True
    bad_option: str | None = None
    interval_s: float | None = None
    memory_total: int | None = None
    python: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Problem:
    """Something to look after: its number stays the same for ever."""

    code: str
    message: str
    hint: str


Check = Callable[[Facts], Iterator[Problem]]


def problems(facts: Facts) -> list[Problem]:
    """Return what is wrong, by number."""
    return sorted((found for check in CHECKS for found in check(facts)), key=lambda problem: problem.code)


def nobody(facts: Facts) -> Iterator[Problem]:
    """Nothing can be known without a process that answers."""
    if not facts.processes and not facts.silent:
        yield Problem("W001", "no process answers", f"start it: cubicweb-ctl leak-serve {facts.name}")


def silence(facts: Facts) -> Iterator[Problem]:
    """A process that does not answer is stopped, or too busy."""
    for told in facts.silent:
        yield Problem("W002", told, "see what it does: it may be stopped, or hold the interpreter for long")


def recording(facts: Facts) -> Iterator[Problem]:
    """Only the looping task records."""
    if not facts.processes:
        return
    schedulers = [process for process in facts.processes if process["role"] == "scheduler"]
    if facts.interval_s is None and facts.bad_option is None:
        yield Problem("W004", "nothing is recorded: leakwatch-interval is 0", "set it to 1min in all-in-one.conf")
    elif not schedulers:
        yield Problem(
            "W003", "no scheduler runs: nothing is recorded", f"run cubicweb-ctl leak-collect {facts.name} beside it"
        )
    elif _should_have_concluded(schedulers, facts) and (facts.overdue_since is not None or not facts.findings):
        since = "" if facts.overdue_since is None else f": none since {iso_utc(facts.overdue_since)}"
        yield Problem("W005", f"the scheduler draws no conclusions{since}", "see its log for leakwatch.collect")


def _should_have_concluded(schedulers: list[Process], facts: Facts) -> bool:
    age_s: float = max(process["age_s"] for process in schedulers)
    return age_s > max(RECORDED_AFTER_S, 2 * (facts.interval_s or 0.0))


def limits(facts: Facts) -> Iterator[Problem]:
    """A worker without a limit takes the host down with it; limits that do not fit are none."""
    workers = [process for process in facts.processes if process["role"] == "web"]
    for process in workers:
        if not process.get("limit"):
            yield Problem("W006", f"{process['name']} has no memory limit", "set leakwatch-memory-limit")
    total = sum(process.get("limit") or 0 for process in workers)
    if facts.memory_total and total > facts.memory_total:
        yield Problem(
            "W007",
            f"the workers' limits are {format_bytes(total)} together, of {format_bytes(facts.memory_total)} there are",
            "lower leakwatch-memory-limit, or run fewer workers",
        )


def launching(facts: Facts) -> Iterator[Problem]:
    """Without the launcher nobody can replace a worker; with it, its own complaints count."""
    if not facts.processes:
        return
    if facts.launcher is None:
        yield Problem(
            "W008", "no launcher runs: a worker over its limit is not replaced", "serve the instance by leak-serve"
        )
    else:
        for flag in facts.launcher.get("flags", ()):
            yield Problem("W009", f"the launcher says: {flag}", "see the log of leak-serve")


def directory(facts: Facts) -> Iterator[Problem]:
    """The sockets are for the instance's user alone."""
    if not facts.directory_is_ours:
        yield Problem("W010", "the runtime directory belongs to another user", "run this as the instance's user")
    if facts.directory_mode is not None and facts.directory_mode & 0o077:
        yield Problem(
            "W011",
            f"the runtime directory is open to others ({facts.directory_mode:o})",
            f"chmod 700 {shlex.quote(facts.directory)}",
        )
    for name in facts.strangers:
        yield Problem(
            "W012", f"{name} is a process of another instance", "give each instance a CW_RUNTIME_DIR of its own"
        )


def options(facts: Facts) -> Iterator[Problem]:
    """An option that means nothing leaves the instance unwatched."""
    if facts.bad_option:
        yield Problem("W013", facts.bad_option, "correct it in all-in-one.conf or in the environment")


def interpreter(facts: Facts) -> Iterator[Problem]:
    """A Python that cannot parse in two threads at a time leaks and fails requests; a single thread is safe."""
    if facts.python is None or not loses_syntax_trees(facts.python) or (facts.launcher or {}).get("threads") == 1:
        return
    yield Problem(
        "W014",
        f"Python {'.'.join(map(str, facts.python))} loses memory and fails requests when threads parse source at once",
        "upgrade Python, or serve by leak-serve --threads 1 with more --workers",
    )


def loses_syntax_trees(python: tuple[int, ...]) -> bool:
    """Is this Python 3.11 before 3.11.8, or 3.12 before 3.12.2? https://github.com/python/cpython/issues/106905."""
    return (3, 11) <= python < (3, 11, 8) or (3, 12) <= python < (3, 12, 2)


CHECKS: tuple[Check, ...] = (nobody, silence, recording, limits, launching, directory, options, interpreter)

HINTS: dict[str, tuple[str, str]] = {
    "W001": (
        "no process answers",
        "Nothing of the instance runs, or it runs without the cube. Start it by leak-serve, or add the cube and restart"
        " it.",
    ),
    "W002": (
        "a process does not answer",
        "Its probe is there and silent: the process is stopped (SIGSTOP, a debugger), or a C extension holds the"
        " interpreter. A second try tells a moment from a state.",
    ),
    "W003": (
        "no scheduler runs",
        "Looping tasks run in cubicweb-ctl scheduler or under leak-serve alone, never in a web worker. Without one,"
        " leak-collect records.",
    ),
    "W004": (
        "nothing is recorded",
        "The option leakwatch-interval is 0. One minute is what the conclusions are made for.",
    ),
    "W005": (
        "the scheduler draws no conclusions",
        "It has run for a quarter of an hour and left no finding, or its last one is more than five minutes and three"
        " intervals old: its log names the reason under leakwatch.collect.",
    ),
    "W006": (
        "a worker has no memory limit",
        "Nothing keeps it from filling the host. Set leakwatch-memory-limit, about half as much again as a worker takes"
        " after a day without a leak.",
    ),
    "W007": (
        "the limits do not fit into the memory there is",
        "All workers at their limits would take more than host or control group have: the kernel would end one first.",
    ),
    "W008": (
        "no launcher runs",
        "A worker over its limit is found, not replaced. Serve the instance by leak-serve to have it replaced.",
    ),
    "W009": (
        "the launcher complains",
        "A successor that did not start, a lack of memory for one, workers that die: the log of leak-serve has the"
        " story.",
    ),
    "W010": (
        "the runtime directory is another user's",
        "Probes answer the user whom the instance runs as, and root. Run the command as that user.",
    ),
    "W011": ("the runtime directory is open to others", "It holds sockets and dumps: chmod 700 it."),
    "W012": (
        "a process of another instance answers here",
        "Two instances share one runtime directory. Give each a CW_RUNTIME_DIR, or none.",
    ),
    "W013": (
        "an option means nothing",
        "A value that cannot be read leaves the instance unwatched: correct it where it was set.",
    ),
    "W014": (
        "this Python loses memory when threads parse source at once",
        "Python 3.11 before 3.11.8 and 3.12 before 3.12.2 lose the whole tree, and a request fails with SystemError:"
        " AST constructor recursion depth mismatch. CubicWeb has the source of a controller parsed at every request."
        " Upgrade Python, or serve with one thread a worker and more workers. See"
        " https://github.com/python/cpython/issues/106905. Told of the Python that runs leak-doctor.",
    ),
}
"""What each number is about, and what to do: the manual and the man page are made of it."""
