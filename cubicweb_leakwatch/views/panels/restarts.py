"""Panel 5: restarts and deployments as a log, with what each restart lost; those under way with their stages."""

from collections.abc import Iterable
from functools import partial
from operator import itemgetter
from typing import Any

from cubicweb import _

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.recording.history import autopsy_in_short
from cubicweb_leakwatch.views.figures import parse_time
from cubicweb_leakwatch.views.launcher_words import autopsy_in_words, in_words
from cubicweb_leakwatch.views.markup import Cell, Column, Html, element, join, table
from cubicweb_leakwatch.views.panels.base import Panel

STEPS = (_("asked"), _("starting"), _("ready"), _("draining"), _("done"))
"""The stages of a restart, in their order."""

ALONE = ("asked", "draining", "starting", "ready", "done")
"""Those of the scheduler: there may never be two, so the old one ends before the new one starts."""

DONE = len(STEPS) - 1

AUTOPSY = _("autopsy")
LOGGED = 30
"""Rows of the log, the newest: more than one reads would only make the page heavy."""

JUST_NOW_S = 120.0
"""How long a restart that is over is shown with its stages still."""


class RestartsPanel(Panel):
    """The log of restarts and deployments."""

    name = "restarts"
    title = _("Restarts and deployments")

    def data(self) -> list[dict[str, Any]]:
        """Return the restarts of the time that is shown, in the shape of ``leak-restart``, oldest first.

        Those of the launcher that are not recorded yet come last, those under way with their ``stage``.
        """
        recorded = self._recorded()
        known = {(item["process"], item["requested_at"]) for item in recorded}
        span = self.sheet.span
        asked = [
            item
            for item in self.sheet.replacements
            if (item["process"], item["requested_at"]) not in known and _asked_at(item) >= span.start
        ]
        return [*recorded, *asked] if span.to_now else recorded

    def _recorded(self) -> list[dict[str, Any]]:
        try:
            return list(self.sheet.happened["restarts"])
        except LeakwatchError:
            if not self.sheet.replacements:
                raise
            return []

    def beside(self) -> dict[str, Any]:
        """Return the deployments, as ``leak-history`` has them."""
        return {"deployments": self._deployments()}

    def _deployments(self) -> list[dict[str, Any]]:
        try:
            return [event for event in self.sheet.happened["events"] if event["kind"] == "deployment"]
        except LeakwatchError:
            return []

    def show(self, data: list[dict[str, Any]]) -> Html:
        """Return what is under way, the sum of what was lost, and the log, the newest first."""
        moving = [item for item in data if under_way(item)]
        fresh = [item for item in data if step_of(item) == DONE and self._just_ended(item)]
        stages = [self._stages(item) for item in (*fresh[-3:], *moving)]
        poll = element("div", *stages, class_="lw-moving", data_poll="1" if moving else None) if stages else None
        deployments = self._deployments()
        if not data and not deployments:
            return join([poll, element("p", self._("No restart in this time."))])
        return join([poll, self._sum(data), self._log(data, deployments)])

    def _just_ended(self, item: dict[str, Any]) -> bool:
        ended = parse_time(item.get("exited_at") or item.get("ready_at"))
        return ended is not None and self.sheet.span.end - ended.timestamp() < JUST_NOW_S

    def _stages(self, item: dict[str, Any]) -> Html:
        """Return the stages of one restart as a list; the one that it is in is marked, and said."""
        _, now = self._, step_of(item)
        moving = _("%s is being replaced") % clean(item["process"])
        heading = element("p", moving, self.figures.colon, clean(self._reason(item)))
        if now == DONE:
            outcome = _(item.get("outcome") or "n/a")
            fields = {"process": clean(item["process"]), "outcome": outcome}
            told = _("%(process)s: %(outcome)s.") % fields
            if not is_scheduler(item):  # it has no requests to lose
                lost = self.figures.number(item.get("abandoned"))
                told = _("%(process)s: %(outcome)s, requests lost: %(lost)s.") % {**fields, "lost": lost}
            detail = f" {clean(in_words(item['detail'], self.figures))}" if item.get("detail") else ""
            heading = element("p", told, detail, class_=None if item.get("outcome") == "replaced" else "lw-alarm")
        steps = [
            element(
                "li",
                self._step(name, item),
                class_="lw-step-done" if index < now else "lw-step-now" if index == now else None,
                aria_current="step" if index == now else None,
            )
            for index, name in enumerate(steps_of(item))
        ]
        return element("div", heading, element("ol", *steps, class_="lw-steps"), role="status")

    def _step(self, name: str, item: dict[str, Any]) -> str:
        """Return the name of a step; draining tells how many requests are left, and that the process is at its end."""
        if name != "draining" or steps_of(item)[step_of(item)] != "draining":
            return str(self._(name))
        old = self._old(item)
        if old.get("in_flight") is None:
            return str(self._(name))
        left = f"{self._(name)} ({self.figures.number(old['in_flight'])})"
        # an autopsy takes up to a minute, in which a bare "draining (0)" looks stuck
        return f"{left}, {self._('stopping')}" if old.get("state") == "stopping" else left

    def _old(self, item: dict[str, Any]) -> dict[str, Any]:
        try:
            rows = self.sheet.status["processes"]
        except LeakwatchError:
            return {}
        return next((row for row in rows if row["pid"] == item.get("old_pid")), {})

    def _sum(self, data: list[dict[str, Any]]) -> Html:
        _ = self._
        over = [item for item in data if item.get("outcome")]
        lost = sum(item.get("abandoned") or 0 for item in over)
        answered = sum(item.get("answered") or 0 for item in over)
        told = _("Restarts: %(count)s. Requests answered by those that left: %(answered)s; lost: %(lost)s.") % {
            "count": self.figures.number(len(over)),
            "answered": self.figures.number(answered),
            "lost": self.figures.number(lost),
        }
        return element("p", told, class_="lw-alarm" if lost else None)

    def _log(self, data: list[dict[str, Any]], deployments: Iterable[dict[str, Any]]) -> Html:
        _, mib = self._, self._("MiB")
        columns = [
            Column(_("Time")),
            Column(_("Process")),
            Column(_("What")),
            Column(_("Reason")),
            Column(_("Old pid"), number=True),
            Column(_("New pid"), number=True),
            Column(_("In flight"), _("requests"), number=True),
            Column(_("Answered"), _("requests"), number=True),
            Column(_("Lost"), _("requests"), number=True),
            Column(_("Before"), mib, number=True),
            Column(_("After"), mib, number=True),
        ]
        happened = [(_asked_at(item), partial(self._restart, item)) for item in data]
        happened += [(event["t"], partial(self._deployment, event, len(columns))) for event in deployments]
        newest = sorted(happened, key=itemgetter(0), reverse=True)[:LOGGED]
        shown = table(_("Restarts"), columns, [row() for _t, row in newest])
        return join([shown, self._left_out(len(happened))])

    def _left_out(self, happened: int) -> Html | None:
        """Say that the log is longer than what is shown."""
        if happened <= LOGGED:
            return None
        told = self._("The newest %(shown)s of %(all)s; the JSON has them all.")
        fields = {"shown": self.figures.number(LOGGED), "all": self.figures.number(happened)}
        return element("p", told % fields, class_="lw-note")

    def _restart(self, item: dict[str, Any]) -> list[object]:
        figures, outcome = self.figures, item.get("outcome")
        lost = figures.count(item.get("abandoned"))
        what = self._(outcome or steps_of(item)[step_of(item)])
        return [
            Cell(figures.time(item.get("requested_at")), item.get("requested_at")),
            item["process"],
            Cell(what, css="" if outcome in (None, "replaced") else "lw-alarm"),
            Cell(self._why(item), css="lw-text"),
            item.get("old_pid") or figures.unknown,
            item.get("new_pid") or figures.unknown,
            figures.count(item.get("in_flight_at_drain")),
            figures.count(item.get("answered")),
            Cell(lost.shown, lost.sorts, "lw-alarm" if item.get("abandoned") else ""),
            figures.mib(item.get("rss_before")),
            figures.mib(item.get("rss_after")),
        ]

    def _why(self, item: dict[str, Any]) -> str:
        """Return the reason, and what the autopsy of the old worker showed."""
        autopsy = item.get("autopsy")
        short = autopsy_in_short(autopsy) if isinstance(autopsy, dict) else ""
        reason = self._reason(item)
        seen = f"{self._(AUTOPSY)}{self.figures.colon}{clean(autopsy_in_words(short, self.figures))}"
        return f"{reason} ({seen})" if short else reason

    def _reason(self, item: dict[str, Any]) -> str:
        return in_words(item.get("reason") or "", self.figures)

    def _deployment(self, event: dict[str, Any], width: int) -> list[object]:
        time = Cell(self.figures.time(event["t"]), event["t"])
        told = [time, event["process"], self._("deployment"), Cell(event["text"], css="lw-text")]
        return [*told, *[""] * (width - len(told))]


def is_scheduler(item: dict[str, Any]) -> bool:
    """Say whether a restart is a scheduler's, of this host or another (``HOST:scheduler``)."""
    return str(item["process"]).rpartition(":")[2] == "scheduler"


def steps_of(item: dict[str, Any]) -> tuple[str, ...]:
    """Return the stages of a restart, in the order that it goes through them."""
    return ALONE if is_scheduler(item) else STEPS


def step_of(item: dict[str, Any]) -> int:
    """Return the index, in ``steps_of``, of the stage that a restart is in."""
    stage = item.get("stage")
    if stage == "done" or item.get("outcome"):
        return DONE
    if stage == "starting" and item.get("ready_at"):
        stage = "ready"
    return steps_of(item).index(stage) if stage in STEPS else 0


def under_way(item: dict[str, Any]) -> bool:
    """Say whether a restart is not over yet."""
    return item.get("stage") not in (None, "done") and not item.get("outcome")


def _asked_at(item: dict[str, Any]) -> float:
    moment = parse_time(item.get("requested_at"))
    return moment.timestamp() if moment else 0.0
