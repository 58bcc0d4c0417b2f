"""Arranging that hosts replace workers in turn: the launcher's wishes wait until this host has its turn.

One thread beside the looping task asks the launcher each second, over its socket; the database is spoken to only while
something is to be replaced. Whatever fails here opens the way: a worker past its limit is replaced with or without a
database, and a launcher that hears nothing for a few seconds arranges itself.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.recording.records import AUTOMATIC, budget_spent_s
from cubicweb_leakwatch.recording.shared import Turn
from cubicweb_leakwatch.serve.control import ask_launcher
from cubicweb_leakwatch.watch.policy import Budget

logger = logging.getLogger("leakwatch.arranger")

POLL_S = 1.0
HOLD_S = 10.0
"""For so long a launcher waits for us; then it goes on alone."""

OPEN_S = 30.0
"""For so long launchers are left alone after the database failed."""

STOP_S = 5.0

__all__ = ["AUTOMATIC", "Arranger"]


class Arranger:
    """Takes turns for the launcher of one runtime directory.

    ``record`` writes the launcher's finished restarts to the database: before the turn is given back, so that the next
    host counts them against the instance's ``budget``.
    """

    def __init__(self, repo: Any, directory: Path, budget: Budget | None, record: Callable[[], None]) -> None:
        self._repo, self._directory, self._budget, self._record = repo, str(directory), budget, record
        self._turn: Turn | None = None
        self._wish: str | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leakwatch-arranger", daemon=True)

    def start(self) -> None:
        """Begin to arrange."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the launcher to itself, and give the turn back."""
        self._stopped.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopped.wait(wait_s):
            wait_s = self._step_logged()
        with contextlib.suppress(Exception):
            self._leave_alone()

    def _step_logged(self) -> float:
        """Do a step; return after how many seconds the next one is due."""
        try:
            self.step()
        except LeakwatchError as error:
            self._drop_turn()
            if error.code != "no-launcher":
                logger.warning("not arranged: %s", error.message)
        except Exception as error:  # whatever the database's driver raises
            logger.warning("not arranged, the launcher goes on alone: %s", " ".join(str(error).split()))
            with contextlib.suppress(LeakwatchError):
                self._leave_alone()
            return OPEN_S
        return POLL_S

    def step(self) -> None:
        """Look once: take a turn for what waits, give it back for what is over."""
        told = self._tell()
        known = [*told["going_on"], *(wish["id"] for wish in told["waiting"])]
        if self._turn is not None and self._wish not in known:
            self._give_back()
            told = self._tell()
        if self._turn is None:
            self._take_for(told)

    def _take_for(self, told: dict[str, Any]) -> None:
        """Take a turn for what goes on without one already, else for the first wish that the budget allows."""
        if not told["going_on"] and not told["waiting"]:
            return
        turn = Turn(self._repo)
        if not turn.take():
            self._tell_if_spent(told)
            return
        self._turn = turn
        spent = self._tell_if_spent(told)
        allowed = [wish["id"] for wish in told["waiting"] if not (wish["automatic"] and spent)]
        self._wish = (told["going_on"] or allowed or [None])[0]
        if self._wish is None:
            self._give_back()
        else:
            self._tell()

    def _tell_if_spent(self, told: dict[str, Any]) -> bool:
        """Have the launcher hold back what is automatic while the budget of all hosts is spent: a hard limit, too."""
        if self._budget is None or not any(wish["automatic"] for wish in told["waiting"]):
            return False
        with self._repo.internal_cnx() as cnx:
            spent_s = budget_spent_s(cnx, self._budget.count, self._budget.per_s)
        if spent_s:
            self._tell(spent_s=spent_s)
        return spent_s > 0.0

    def _tell(self, **more: float) -> dict[str, Any]:
        return ask_launcher(self._directory, "turn", for_s=HOLD_S, grant=self._wish, **more)

    def _give_back(self) -> None:
        turn, self._turn, self._wish = self._turn, None, None
        if turn is not None:
            try:
                self._record()
            finally:
                turn.give_back()

    def _drop_turn(self) -> None:
        turn, self._turn, self._wish = self._turn, None, None
        if turn is not None:
            with contextlib.suppress(Exception):  # then the database has already taken it back
                turn.give_back()

    def _leave_alone(self) -> None:
        self._drop_turn()
        ask_launcher(self._directory, "turn", for_s=0.0, grant=None)
