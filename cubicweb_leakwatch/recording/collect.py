"""The looping task: measure every process of the instance on this host, record it, conclude, thin what is old.

Everything is measured before the database is opened, and written in short transactions: on SQLite a write transaction
held for seconds locks the whole site out. While the database is away, what was measured waits here and in a file; a
collector that was away itself finds the last hour in the processes. A round has a thread of its own: heap copies and a
slow database must not hold up the site's other looping tasks, which all share one thread.
"""

import gc
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from cubicweb import ValidationError

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.host import this_host
from cubicweb_leakwatch.probe.runtime import runtime_dir
from cubicweb_leakwatch.recording import cost, keeping, kept_chart, records, requests, restarting, waiting
from cubicweb_leakwatch.recording.arranger import Arranger
from cubicweb_leakwatch.recording.elsewhere import Elsewhere
from cubicweb_leakwatch.recording.findings import Findings
from cubicweb_leakwatch.recording.measuring import Measurement, Meter
from cubicweb_leakwatch.recording.notify import notifier
from cubicweb_leakwatch.recording.restartlog import finished_restarts
from cubicweb_leakwatch.recording.shared import database_now, is_shared, whole
from cubicweb_leakwatch.settings import Settings

logger = logging.getLogger("leakwatch.collect")

MAX_WAITING = 1000
"""Measurements kept for a database that is away: two hours of eight processes, about 10 MiB."""

AT_ONCE = 8
"""Measurements in one transaction: on SQLite it locks the site's other writers out for about a tenth of a second."""

STOP_S = 10.0
UNSEEN_S = 86400.0
"""A process of another host of which nothing was recorded for so long has ended."""

THIN_EVERY_S = 3600.0
THIN_AT_ONCE_S = 5.0
CHART_EVERY_S = 900.0
"""How far the files of the chart may be behind: what is missing in them is read by each visitor."""

CONCLUDE_EVERY_S = 300.0
CONCLUDE_EVERY_ROUNDS = 5
"""Conclusions are drawn after so many rounds, or seconds if that is sooner."""

_YOUNG = 1
"""The oldest of the collector's generations that what one round made can be in."""


class Collector:
    """Collects for one instance; its repository may be a scheduler's, a command's or a web worker's."""

    def __init__(self, repo: Any, settings: Settings, *, host: str | None = None) -> None:
        self.repo = repo
        self.settings = settings
        self.host = host or this_host()
        self.directory = runtime_dir(repo.config.appdatahome)
        self.meter = Meter(
            self.directory, repo.config.appid, types=settings.types, interval_s=settings.interval_s or 60.0
        )
        self._last = Measurement((), frozenset(), ())
        self._waiting: deque[waiting.Waiting] = deque(waiting.read(self.directory), maxlen=MAX_WAITING)
        self._waits_in_file = bool(self._waiting)
        self.elsewhere = Elsewhere(self.host, self.directory, self.meter.interval_s)
        self._arranger: Arranger | None = None
        self._journal_lock = threading.Lock()
        self.findings = Findings(self.host, self.directory, notifier(repo.config, settings.notify))
        self._thin_at = self._conclude_at = self._chart_at = time.monotonic()
        self._thread: threading.Thread | None = None
        self._left_out = 0

    def arrange(self) -> None:
        """Have replacements take turns with those of other hosts, where there may be others, until the stop."""
        if is_shared(self.repo) and self._arranger is None:
            budget = self.settings.rules.budget
            self._arranger = Arranger(self.repo, self.directory, budget, self.record_restarts)
            self._arranger.start()

    def leakwatch_collect(self) -> None:
        """Start a round, unless the last one is still at work; the name is what the scheduler's log shows."""
        if self._thread is not None and self._thread.is_alive():
            self._left_out += 1
            return
        if self._left_out:
            logger.warning("the last round took so long that %s were left out", self._left_out)
            self._left_out = 0
        self._thread = threading.Thread(target=self.round, name="leakwatch-collect", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Wait for the round that is at work, so that the repository is not closed under it."""
        if self._arranger is not None:
            self._arranger.stop()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def round(self) -> None:
        """Do one round, and note what it cost. Nothing is raised: the next round tries again.

        CubicWeb's connections, requests and result sets are cycles: what a round made of them, still young, is
        collected at once. Left to grow old it would wait for a full collection, hours away in a quiet scheduler, and
        look like a leak meanwhile.
        """
        with cost.noted(self.directory):
            self._round()
            _collect_young()

    def _round(self) -> None:
        try:
            self.collect()
            if is_shared(self.repo):
                self._write(lambda cnx: requests.take_up(cnx, self.host, self.directory))
                self._write(self.elsewhere.update)
            self.conclude()
            self._thin_sometimes()
            self._prepare_charts()
        except LeakwatchError as error:
            logger.warning("collecting: %s", error.message)
        except Exception:
            logger.exception("collecting failed; what was measured is recorded in the next round")

    def collect(self, note: str | None = None) -> dict[str, Any]:
        """Measure and record now; return what was recorded: ``recorded`` (process names) and ``failures``.

        Raises what the database raises; nothing that was measured is lost by that.
        """
        measurement = self._last = self.meter.measure()
        for failure in measurement.failures:
            logger.warning("not measured: %s", failure.message)
        self._waiting.extend((measured, note) for measured in measurement.processes)
        self._write_or_keep()
        self.record_restarts()
        self._write(lambda cnx: records.record_ends(cnx, self.host, measurement.present))
        return {
            "recorded": [measured.identity.name for measured in measurement.processes],
            "failures": [failure.as_json() for failure in measurement.failures],
        }

    def conclude(self) -> None:
        """Conclude from what is recorded, when it is time to, and have a worker replaced where that is due."""
        now = time.monotonic()
        if now < self._conclude_at:
            return
        self._conclude_at = now + min(CONCLUDE_EVERY_S, CONCLUDE_EVERY_ROUNDS * self.meter.interval_s)
        processes = self._last.processes
        found = self.findings.update(self._write, {each.identity.name: each.limit for each in processes})
        past = self._write(lambda cnx: restarting.read_past(cnx, self.host, time.time()))
        restarting.replace_if_due(self.directory, self.settings.rules, processes, found, past)

    def _write_or_keep(self) -> None:
        """Record what waits; what the database does not take is kept in a file as well, in case we are replaced."""
        try:
            self._write_waiting()
        except Exception:
            waiting.keep(self.directory, self._waiting)
            self._waits_in_file = True
            raise
        if self._waits_in_file:
            waiting.forget(self.directory)
            self._waits_in_file = False

    def _write_waiting(self) -> None:
        """Record what waits, oldest first, a few in a transaction: most of what one takes is waiting for the disk.

        What fails for another reason than one of them leaves all of these waiting.
        """
        while self._waiting:
            few = tuple(itertools.islice(self._waiting, AT_ONCE))
            try:
                created = self._write(partial(_record_few, few=few))
            except ValidationError:
                self._write_first()
                continue
            records.forget(self.repo, created)
            for _ in few:
                self._waiting.popleft()

    def _write_first(self) -> None:
        """Record the oldest that waits by itself; what the instance refuses is left out, and said."""
        measured, note = self._waiting[0]
        record = partial(records.record_measured, measured=measured, note=note)
        try:
            records.forget(self.repo, self._write_again(record))
        except ValidationError:
            logger.exception("the instance refuses a measurement of %s", measured.identity.name)
        self._waiting.popleft()

    def _write_again(self, act: Callable[[Any], Any]) -> Any:
        """Write, and once more when another collector has just recorded the same process."""
        try:
            return self._write(act)
        except ValidationError:
            return self._write(act)

    def record_restarts(self) -> None:
        """Record the launcher's finished restarts; from any thread."""
        with self._journal_lock:
            self._write(lambda cnx: records.record_restarts(cnx, self.host, finished_restarts(self.directory)))

    def _thin_sometimes(self) -> None:
        """Thin once an hour; what takes longer than a few seconds goes on in the next rounds."""
        keep, now = self.settings.keep, time.monotonic()
        if keep is None or now < self._thin_at:
            return
        # the database's clock: a host whose own is a month ahead would throw the others' snapshots away
        today = self._write(database_now)
        self._write(lambda cnx: records.record_ends_elsewhere(cnx, self.host, today - UNSEEN_S))
        if keeping.thin_all(self._write, keep, today, time_s=THIN_AT_ONCE_S).finished:
            self._thin_at = now + THIN_EVERY_S

    def _prepare_charts(self) -> None:
        """Bring the files of the chart up to date from time to time; the first visitor then waits no longer."""
        if time.monotonic() >= self._chart_at:
            self._write(lambda cnx: kept_chart.refresh(cnx, self.directory))
            self._chart_at = time.monotonic() + CHART_EVERY_S

    def _write(self, act: Callable[[Any], Any]) -> Any:
        """Run ``act`` with a connection of its own and commit: all of it, or nothing."""
        _collect_young()  # so that no collection in the middle of it takes what is still in use for old
        with self.repo.internal_cnx() as cnx, whole(cnx):
            result = act(cnx)
            cnx.commit()
        return result


def _collect_young() -> None:
    """Collect what was made lately; where the program has switched collection off, all that there is would be young."""
    if gc.isenabled():
        gc.collect(_YOUNG)


def _record_few(cnx: Any, few: Iterable[waiting.Waiting]) -> list[int]:
    """Record some measurements; return the eids of what was created."""
    return [eid for measured, note in few for eid in records.record_measured(cnx, measured, note)]
