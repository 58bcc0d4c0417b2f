"""``leak-restart``: replace workers, a successor first."""

import getpass
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.instance import Instance
from cubicweb_leakwatch.commands.options import Option, named
from cubicweb_leakwatch.commands.repository import connection
from cubicweb_leakwatch.commands.table import Cell, Column, render, words
from cubicweb_leakwatch.commands.terminal import Screen, say
from cubicweb_leakwatch.errors import EXIT_DONE, EXIT_FAILED, ConfigurationError
from cubicweb_leakwatch.host import this_host
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.recording.elsewhere import read_elsewhere
from cubicweb_leakwatch.serve.control import LauncherError, ask_launcher
from cubicweb_leakwatch.watch.units import MIB

POLL_S = 0.2
POLL_ELSEWHERE_S = 1.0
COLUMNS = (
    words("PROCESS"),
    words("STAGE", rank=2),
    words("OUTCOME"),
    Column("OLD PID", rank=2),
    Column("NEW PID", rank=2),
    Column("IN FLIGHT", rank=5),
    Column("ANSWERED", rank=4),
    Column("ABANDONED", rank=1),
    Column("BEFORE MiB", rank=3),
    Column("AFTER MiB", rank=3),
    words("REASON", shrinks=True, rank=2),
)
FIELDS = (
    "reason",
    "requested_at",
    "ready_at",
    "drained_at",
    "exited_at",
    "in_flight_at_drain",
    "accepted",
    "answered",
    "client_left",
    "abandoned",
    "rss_before",
    "rss_after",
    "old_pid",
    "new_pid",
    "outcome",
)


class LeakRestart(Command):
    """Replace workers in a controlled way: a successor is ready before the old one drains and leaves."""

    name = "leak-restart"
    has_csv = True
    tells_patience = False
    own_options = (
        Option("--process", "the process to replace, by its slot (web-1, scheduler) or its pid", named, "P"),
        Option("--all", "replace every process, one after the other"),
        Option("--reason", "why, for the log of restarts", str, "TEXT", default="by hand"),
        Option("--wait", "come back when it is done, and exit with 1 unless all were replaced cleanly"),
        Option("--dry-run", "say what would be replaced, and replace nothing"),
    )
    examples = (
        ("cubicweb-ctl leak-restart mysite --process web-1 --wait", "replace one worker and see how it went"),
        ("cubicweb-ctl leak-restart mysite --process host2:web-1", "on another host, through the shared database"),
        ("cubicweb-ctl leak-restart mysite --all --reason deployment", "new code in every process, no request lost"),
    )

    def data(self, asked: Namespace) -> list[dict[str, Any]]:
        """Return one record a restart."""
        instance = self.instance(asked)
        directory = str(instance.runtime_dir)
        if is_elsewhere(asked.process):
            return self._elsewhere(instance, [asked.process], asked)
        others = [row["name"] for row in read_elsewhere(instance.runtime_dir)] if asked.all else []
        try:
            processes = ask_launcher(directory, "status")["processes"]
        except LauncherError as error:
            return asked_of_a_master(Path(directory), asked, error)
        names = chosen(processes, asked)
        if asked.dry_run:
            return [_planned(name, processes, asked.reason) for name in [*names, *others]]
        by = asker()
        ids: list[str] = []
        for name in [None] if asked.all else names:
            answer = ask_launcher(directory, "restart", process=name, reason=asked.reason, by=by)
            ids += [wish["id"] for wish in answer["requested"]]
        here = self._followed(directory, ids) if asked.wait else records(directory, ids)
        return [*here, *self._elsewhere(instance, others, asked)] if others else here

    def _elsewhere(self, instance: Instance, names: list[str], asked: Namespace) -> list[dict[str, Any]]:
        """Ask other hosts by way of the database; with ``--wait`` until they have recorded what became of it."""
        if asked.dry_run:
            return [_planned(name, [], asked.reason) for name in names]
        from cubicweb_leakwatch.recording import requests

        with connection(instance) as cnx:
            known = requests.living(cnx, this_host())
            wishes = [wish for name in names for wish in requests.ask(cnx, known, name, asked.reason, asker())]
            cnx.commit()
            while True:
                found = [requests.progress(cnx, wish["id"]) for wish in wishes]
                cnx.commit()  # or we would see nothing new
                if not asked.wait or all(record["stage"] == "done" for record in found):
                    return found
                time.sleep(POLL_ELSEWHERE_S)

    def _followed(self, directory: str, ids: list[str]) -> list[dict[str, Any]]:
        """Wait until all are over; what changes is told on a terminal's stderr."""
        told: dict[str, str] = {}
        while True:
            found = records(directory, ids)
            for record in found:
                if told.get(record["id"]) != record["stage"]:
                    told[record["id"]] = record["stage"]
                    if sys.stderr.isatty():
                        say(f"{clean(record['process'])}: {clean(record['stage'])}", sys.stderr)
            if all(record["outcome"] for record in found):
                return found
            time.sleep(POLL_S)

    def lines(self, data: list[dict[str, Any]], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return one row a restart."""
        if asked.dry_run:
            yield "would replace, one after the other:"
        yield from render(COLUMNS, [_row(record) for record in data], screen)

    def table(self, data: list[dict[str, Any]], asked: Namespace) -> Table:
        """Return the restarts."""
        return Table(("process", "stage", *FIELDS), data)

    def next_step(self, data: list[dict[str, Any]], asked: Namespace) -> str:
        """Say how to see it through."""
        if asked.dry_run:
            return ""
        if any(record["outcome"] == "successor-failed" for record in data):
            return "the old worker goes on; see the log of leak-serve for why its successor did not start"
        return f"cubicweb-ctl leak-status {asked.instance}"

    def exit_code(self, data: list[dict[str, Any]], asked: Namespace) -> int:
        """Return 1 when one that was waited for did not go cleanly."""
        failed = asked.wait and not asked.dry_run and any(record["outcome"] != "replaced" for record in data)
        return EXIT_FAILED if failed else EXIT_DONE


def asked_of_a_master(directory: Path, asked: Namespace, error: LauncherError) -> list[dict[str, Any]]:
    """Have gunicorn or uWSGI replace workers, one after the other, and wait for each; raises ``error`` where none is.

    Only what a master started can be replaced: the scheduler is left out.
    """
    from cubicweb_leakwatch.probe.client import find_probes
    from cubicweb_leakwatch.serve.masters import CANNOT, master_of
    from cubicweb_leakwatch.serve.othermaster import Errand, run
    from cubicweb_leakwatch.serve.spec import Policy

    masters = {probe: master_of(probe.pid) for probe in find_probes(directory)} if error.code == "no-launcher" else {}
    there = [{"name": probe.name, "pid": probe.pid} for probe, master in masters.items() if master is not None]
    if not there:
        raise error
    names = chosen(there, asked)
    if asked.dry_run:
        return [_planned(name, there, asked.reason) for name in names]
    found = []
    for probe, master in masters.items():
        if master is not None and probe.name in names:
            say(f"asking {master.kind}: {CANNOT[master.kind]}", sys.stderr)
            restart = run(directory, Errand(probe.name, probe.pid, asked.reason, asker(), Policy(), automatic=False))
            found += [restart.as_json()] if restart is not None else []
    return found


def asker() -> str:
    """Return who asks, for the log of restarts."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        user = f"uid {os.geteuid()}"
    return f"{user} by leak-restart"


def is_elsewhere(process: str | None) -> bool:
    """Say whether a process was named by another host's name."""
    host, colon, _name = (process or "").rpartition(":")
    return bool(colon) and host != this_host()


def chosen(processes: list[dict[str, Any]], asked: Namespace) -> list[str]:
    """Return the slots that were asked for.

    Raises ``ConfigurationError``, naming those that there are, when none was named or the one named is not there.
    """
    slots = list(dict.fromkeys(process["name"] for process in processes))
    there_are = f"there are: {', '.join(slots)}" if slots else "the launcher runs none at the moment"
    if asked.all == bool(asked.process):
        raise ConfigurationError("say which to replace: --process P, or --all", there_are, "usage")
    if asked.all:
        return slots
    wanted = asked.process.removeprefix(f"{this_host()}:")
    for process in processes:
        if wanted in (process["name"], str(process["pid"])):
            return [process["name"]]
    raise ConfigurationError(f"the launcher runs no process {asked.process}", there_are, "unknown-process")


def records(directory: str, ids: list[str]) -> list[dict[str, Any]]:
    """Return the launcher's records of the restarts with these ids, in their order."""
    found = {record["id"]: record for record in ask_launcher(directory, "restarts")["restarts"]}
    return [found[restart_id] for restart_id in ids if restart_id in found]


def _planned(name: str, processes: list[dict[str, Any]], reason: str) -> dict[str, Any]:
    pid = next((process["pid"] for process in processes if process["name"] == name), None)
    return {"process": name, **dict.fromkeys(FIELDS), "reason": reason, "old_pid": pid, "stage": "planned"}


def _row(record: dict[str, Any]) -> list[object]:
    outcome = record.get("outcome")
    bad = outcome is not None and outcome != "replaced"
    abandoned = record.get("abandoned")
    return [
        record["process"],
        record.get("stage"),
        Cell(outcome or "-", ("red",) if bad else ("green",) if outcome else ()),
        record.get("old_pid"),
        record.get("new_pid"),
        record.get("in_flight_at_drain"),
        record.get("answered"),
        Cell("n/a" if abandoned is None else str(abandoned), ("red",) if abandoned else ()),
        _mib(record.get("rss_before")),
        _mib(record.get("rss_after")),
        record.get("reason"),
    ]


def _mib(size: int | None) -> str | None:
    return None if size is None else f"{size / MIB:.1f}"
