"""SIGUSR2: the launcher makes way for a new launcher in the same process, which keeps the sockets and the workers.

The new program is first tried in a child; only if it can be imported does exec take place. What has to be known on the
other side travels as JSON in an anonymous file, descriptors stay open.
"""

from __future__ import annotations

import os
import signal
import sys

from cubicweb_leakwatch.serve.records import Restart, Slot, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cubicweb_leakwatch.serve.fleet import Fleet

# Where the descriptor of the specification stands in ``sys.orig_argv`` (see run.launcher_command).
DESCRIPTOR_AT = 6
KEPT = (
    "advised", "deadline", "generation", "limit", "name", "pid", "quiet", "role", "rss_ready", "served", "since",
    "started_at", "state", "trimmed",
)  # fmt: skip
KEPT_OF_SLOTS = ("name", "role", "generation", "good_life_s", "good_served", "stopped_until")
KEPT_OF_WISHES = (
    "again", "automatic", "by", "for_pid", "held", "id", "not_before", "planned", "predicted", "process", "reason",
    "requested_at", "valid_until",
)  # fmt: skip
CHECK = "check"


def try_program() -> int:
    """Start a child that imports the launcher as it is on disk now, and ends with 0 if that works; return its pid."""
    return os.posix_spawn(sys.executable, [*_command(CHECK)], dict(os.environ))


def exec_program(text: str, keep_open: list[int], disturbed: Callable[[], bool]) -> None:
    """Replace this program; returns only if that is impossible, or ``disturbed`` says that a signal came meanwhile.

    Signals stay blocked across exec: until the new handlers are installed, SIGHUP would end the process.
    """
    descriptor = os.memfd_create("leakwatch", 0)
    os.write(descriptor, text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        for fd in keep_open:
            os.set_inheritable(fd, True)
        if not disturbed():
            os.execv(sys.executable, _command(str(descriptor)))
    except OSError:
        pass
    # Workers started from now on must hold neither the lock nor our sockets.
    for fd in keep_open:
        os.set_inheritable(fd, False)
    os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR1])


def dump_fleet(fleet: Fleet) -> dict[str, Any]:
    """Return what the next launcher must know of a fleet in which nothing is going on."""
    return {
        "workers_wanted": fleet.workers_wanted,
        "slots": [_fields(slot, KEPT_OF_SLOTS) for slot in fleet.slots.values()],
        "wishes": [_fields(wish, KEPT_OF_WISHES) for wish in fleet.replacements.queue],
        "begun": list(fleet.replacements.gate.begun),
        "workers": [_fields(worker, KEPT) for worker in fleet.workers.values()],
        "origin": fleet.replacements.origin,
        "count": fleet.replacements.count,
    }


def restore_fleet(fleet: Fleet, state: dict[str, Any]) -> None:
    """Fill a fresh fleet from that; a worker that ended meanwhile is noticed by the first reaping."""
    fleet.workers_wanted, fleet.ever_ready = state["workers_wanted"], True
    fleet.replacements.origin, fleet.replacements.count = state["origin"], state["count"]
    fleet.replacements.gate.begun.extend(state["begun"])
    for row in state["slots"]:
        slot = fleet.slots[row["name"]] = Slot(row["name"], row["role"])
        _fill(slot, row, KEPT_OF_SLOTS)
    for row in state["wishes"]:
        wish = Restart(row["id"], row["process"], row["reason"], row["by"], row["requested_at"])
        _fill(wish, row, KEPT_OF_WISHES)
        fleet.replacements.queue.append(wish)
    for row in state["workers"]:
        worker = Worker(row["name"], row["role"], row["generation"], row["pid"], row["started_at"])
        _fill(worker, row, KEPT)
        fleet.workers[worker.pid] = worker
        fleet.slots[worker.name].current = worker


def _fields(thing: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what the next launcher keeps; after an upgrade it may ask for more than this one has."""
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}


def _fill(thing: Any, row: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if name in row:
            setattr(thing, name, row[name])


def is_quiet(fleet: Fleet) -> bool:
    """Whether every slot has its serving worker and nothing is being replaced; what waits for its hour waits on."""
    serving = all(slot.current is not None and slot.current.state == "serving" for slot in fleet.slots.values())
    return serving and len(fleet.workers) == len(fleet.slots) and fleet.replacements.at_rest()


def _command(descriptor: str) -> list[str]:
    command = list(sys.orig_argv)
    command[DESCRIPTOR_AT] = descriptor
    return [sys.executable, *command[1:]]
