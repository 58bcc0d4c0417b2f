"""The services: the one place that pages, routes and commands go through; for managers alone.

Each checks the group itself as well: a caller who builds a service by hand never meets its selector. All return plain
data in the documented shapes and raise ``LeakwatchError`` with a sentence for the operator.
"""

import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cubicweb import Unauthorized
from cubicweb.predicates import match_user_groups
from cubicweb.server import Service

from cubicweb_leakwatch import audit, live, looks, reports
from cubicweb_leakwatch.host import this_host
from cubicweb_leakwatch.probe.runtime import runtime_path
from cubicweb_leakwatch.recording import cost, growth, history, kept_chart
from cubicweb_leakwatch.recording.conclusions import overdue_since, read_findings
from cubicweb_leakwatch.settings import options_in_force, read_settings

DAY_S = 86400.0
MAX_NOTE = 1000
MAX_LIVES = 50
"""Processes to choose from; a leak that restarts often has had hundreds."""

SNAPSHOT_BYTES = 4500
"""About what one snapshot takes in the database, with its fifty type counts and the rows that CubicWeb adds."""


class ManagersService(Service):
    """A service for managers; what it does is in ``act``."""

    __abstract__ = True
    __select__ = match_user_groups("managers")

    act: Callable[..., Any]
    """Does what the service is for, with the parameters of the call."""

    def call(self, **kwargs: Any) -> Any:
        """Check the group, then act. Raises ``Unauthorized``."""
        if not self._cw.user.is_in_group("managers"):
            raise Unauthorized(self._cw._("leakwatch is for managers"))
        return self.act(**kwargs)

    def admit(self, process: str | None) -> None:
        """Note that this user looks into a process; raises ``LeakwatchError`` when too many looks were taken."""
        audit.admit_look(self.directory, login=self._cw.user.login, process=process)

    @property
    def directory(self) -> Path:
        """The instance's runtime directory, which may not exist."""
        return runtime_path(self._cw.repo.config.appdatahome)


class Processes(ManagersService):
    """The processes of the instance on this host, as ``leak-status`` shows them."""

    __regid__ = "leakwatch_processes"

    def act(self, process: str | None = None) -> dict[str, Any]:
        """Return the data of ``leak-status``, and ``failures``: a sentence for each process that did not answer.

        ``overdue_since`` is when the last conclusion was drawn (Unix seconds) where the next one does not come.
        """
        directory = self.directory
        data, look = live.status(directory, process)
        overdue = overdue_since(directory, read_settings(self._cw.repo.config).interval_s)
        return {**data, "failures": [failure.as_json() for failure in look.failures], "overdue_since": overdue}


class GcReports(ManagersService):
    """What processes keep alive, as ``leak-gc`` shows it."""

    __regid__ = "leakwatch_gc"

    def act(
        self, process: str | None = None, limit: int = 20, max_age_s: float = reports.FRESH_S, look: bool = True
    ) -> list[dict[str, Any]]:
        """Return one report a process.

        A report at most ``max_age_s`` old is given again; with ``look`` false nothing new is looked at, whatever the
        age of what is kept.
        """
        kept = reports.last_reports(self.directory, process)
        if not look or (process is not None and kept and reports.age_s(kept[0]) <= max_age_s):
            return kept
        self.admit(process)
        directory = self.directory
        return reports.while_serving(lambda: reports.new_reports(directory, process, limit=limit)).items


class Conclusions(ManagersService):
    """What leakwatch concluded last; no database is needed."""

    __regid__ = "leakwatch_conclusions"

    def act(self) -> list[dict[str, Any]]:
        """Return a finding (as documented) for each process, at most an hour old."""
        return read_findings(self.directory)


class HeapLook(ManagersService):
    """A further look into one process's heap."""

    __regid__ = "leakwatch_look"

    def act(self, process: str, kind: str, type_name: str = "") -> dict[str, Any]:
        """Take it and return what it found: ``kind`` is one of ``looks.KINDS``."""
        self.admit(process)
        directory = self.directory
        return reports.while_serving(lambda: looks.take_look(directory, process, kind, type_name=type_name))


class HeapLooks(ManagersService):
    """What the last further looks into a process found."""

    __regid__ = "leakwatch_looks"

    def act(self, process: str) -> dict[str, dict[str, Any]]:
        """Return it by kind; nobody is asked."""
        return looks.kept_looks(self.directory, process)


class HoldersPicture(ManagersService):
    """The picture of the holders that were looked for last."""

    __regid__ = "leakwatch_picture"

    def act(self, process: str, form: str) -> bytes | None:
        """Return it as ``svg`` or ``dot``; None when there is none."""
        return looks.kept_picture(self.directory, process, form)


class HeapDump(ManagersService):
    """A heap dump to take away."""

    __regid__ = "leakwatch_dump"

    def act(self, process: str) -> dict[str, Any]:
        """Return ``path``, ``name`` and ``bytes`` of a dump; who asked removes the file."""
        self.admit(process)
        directory = self.directory
        return reports.while_serving(lambda: looks.dump_to_send(directory, process))


class TypeCounts(ManagersService):
    """The counts of objects by type, the cheap part of a gc report."""

    __regid__ = "leakwatch_types"

    def act(self, process: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Return one item a process, as ``leak-gc --types-only``."""
        self.admit(process)
        return live.gc_counts(self.directory, process, limit=limit).items


class History(ManagersService):
    """What was recorded, for charts and ``leak-history``."""

    __regid__ = "leakwatch_history"

    def act(
        self,
        since: float | None = None,
        until: float | None = None,
        process: str | None = None,
        types: bool = False,
        points: int | None = None,
    ) -> dict[str, Any]:
        """Return ``samples``, ``restarts``, ``processes`` and ``events`` from ``since`` until ``until``.

        Both in Unix seconds; by default the last day. ``types`` adds the type counts to the samples. ``points`` gives
        ``tracks`` instead of ``samples``, about so many means of RSS a process, as a chart draws them: a month
        then costs little more than a day. ``points`` 0 leaves both out.
        """
        last = until if until is not None else time.time()
        first = since if since is not None else last - DAY_S
        processes = history.read_processes(self._cw, first, last, process=process)
        restarts = history.read_restarts(self._cw, first, last, process=process)
        recorded: dict[str, Any] = {}
        if points is None:
            recorded["samples"] = history.read_samples(self._cw, first, last, process=process, types=types)
        elif points:
            recorded["tracks"] = kept_chart.chart_tracks(self._cw, self.directory, first, last, points, process)
        return {
            "since": first,
            "until": last,
            **recorded,
            "restarts": restarts,
            "processes": processes,
            "events": [event for event in history.events(processes, restarts) if event["t"] >= first],
        }


class LatestSnapshots(ManagersService):
    """The last snapshots, each with all its numbers."""

    __regid__ = "leakwatch_latest"

    def act(self, since: float, until: float, most: int = 20) -> list[dict[str, Any]]:
        """Return at most so many samples of that time (Unix seconds), oldest first."""
        return history.read_samples(self._cw, since, until, latest=most)


class RecordedFindings(ManagersService):
    """What leakwatch concludes from the recorded history."""

    __regid__ = "leakwatch_findings"

    def act(self, process: str | None = None, closed: bool = False) -> list[dict[str, Any]]:
        """Return the open findings, as documented; with ``closed`` those that have closed as well."""
        return history.read_findings(self._cw, 0.0, time.time(), process=process, closed=closed)


class Restart(ManagersService):
    """Replace a worker, or all, through the launcher."""

    __regid__ = "leakwatch_restart"

    def act(self, process: str | None = None, reason: str = "") -> list[dict[str, Any]]:
        """Ask for it; return what was asked for, ``id`` and ``process`` each. ``process`` ``None`` means all here.

        The wish for ``HOST:SLOT`` of another host travels through the database, and is taken up there.
        """
        from cubicweb_leakwatch.recording import requests
        from cubicweb_leakwatch.serve.control import ask_launcher

        why, by = (reason or "by hand")[:MAX_NOTE], self._cw.user.login
        audit.note(self.directory, "restart", login=by, process=process, reason=why)
        host, colon, name = (process or "").rpartition(":")
        if process is not None and colon and host != this_host():
            with self._cw.repo.internal_cnx() as cnx:
                asked = requests.ask(cnx, requests.living(cnx, this_host()), process, why, by)
                cnx.commit()
            return asked
        answer = ask_launcher(str(self.directory), "restart", process=name or None, reason=why, by=by)
        return list(answer["requested"])


class Replacements(ManagersService):
    """The restarts that the launcher remembers, and those under way."""

    __regid__ = "leakwatch_replacements"

    def act(self, most: int = 20) -> list[dict[str, Any]]:
        """Return the last ones in the shape of ``leak-restart``, with ``stage``, oldest first; those under way last.

        Raises ``LauncherError`` where no launcher runs.
        """
        from cubicweb_leakwatch.serve.control import ask_launcher

        return list(ask_launcher(str(self.directory), "restarts")["restarts"][-most:])


class Growth(ManagersService):
    """What grows in one process between two snapshots."""

    __regid__ = "leakwatch_growth"

    def act(
        self,
        since: float,
        until: float,
        process: str | None = None,
        first: float | None = None,
        last: float | None = None,
    ) -> dict[str, Any]:
        """Return ``processes`` that lived in that time, the chosen ``process``, and what :func:`growth` tells of it.

        ``process`` is a slot, a pid or ``HOST:SLOT``; by default, or when there is none of that name, the one that
        started last.
        """
        lives = [
            {"process": life["name"], **{name: life[name] for name in ("host", "pid", "started_at", "ended_at")}}
            for life in history.read_processes(self._cw, since, until)
        ][::-1]
        named = [life for life in lives if process in (life["process"], str(life["pid"]))]
        chosen = next(iter(named or lives), None)
        if chosen is None:
            return {"processes": [], "process": None, **growth.growth([])}
        begin, end = max(since, _unix(chosen["started_at"])), min(until, _unix(chosen["ended_at"] or "9999-01-01"))
        counted = growth.read_counts(self._cw, chosen["host"], chosen["pid"], begin, end)
        return {"processes": lives[:MAX_LIVES], "process": chosen, **growth.growth(counted, first, last)}


def _unix(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


class SettingsInForce(ManagersService):
    """The options of the instance as they are, and what watching it costs."""

    __regid__ = "leakwatch_settings"

    def act(self) -> dict[str, Any]:
        """Return ``options`` (name, value, default, origin: default, file, environment) and ``cost``."""
        return {"options": options_in_force(self._cw.repo.config), "cost": self._cost()}

    def _cost(self) -> dict[str, Any]:
        """Return rows and bytes in the database, how long the last copy stopped its process, what a round takes."""
        kept = max(reports.last_reports(self.directory), key=reports.taken_at, default={})
        rows = self._cw.system_sql("SELECT COUNT(*) FROM cw_memorysnapshot").fetchone()[0]
        return {
            "snapshots": rows,
            "database_bytes": rows * SNAPSHOT_BYTES,
            "pause_ms": kept.get("pause_ms"),
            "elapsed_ms": kept.get("elapsed_ms"),
            **cost.read(self.directory),
        }


class LauncherStatus(ManagersService):
    """What the launcher says: its processes, and what is wrong with them."""

    __regid__ = "leakwatch_launcher"

    def act(self) -> dict[str, Any]:
        """Return the launcher's own status; raises ``LauncherError`` where none runs."""
        from cubicweb_leakwatch.serve.control import ask_launcher

        return dict(ask_launcher(str(self.directory), "status"))


class Snapshot(ManagersService):
    """Take and record a snapshot of every process now."""

    __regid__ = "leakwatch_snapshot"

    def act(self, note: str = "") -> dict[str, Any]:
        """Return ``recorded``, the names of the processes, and ``failures``."""
        from cubicweb_leakwatch.recording.collect import Collector

        repo = self._cw.repo
        return Collector(repo, read_settings(repo.config)).collect(note[:MAX_NOTE])
