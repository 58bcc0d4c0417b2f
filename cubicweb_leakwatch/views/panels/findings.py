"""Panel 4: what leakwatch concludes, why, and the same as text for a ticket."""

from collections.abc import Iterator
from typing import Any

from cubicweb import _

from cubicweb_leakwatch.commands.finding_text import by_urgency, finding_lines
from cubicweb_leakwatch.commands.terminal import Screen
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.views.conclusions import MEANINGS, NEXT_STEPS
from cubicweb_leakwatch.views.gc_report import type_cell
from cubicweb_leakwatch.views.history import natural
from cubicweb_leakwatch.views.markup import Cell, Column, Html, element, join, table
from cubicweb_leakwatch.views.panels.base import Panel
from cubicweb_leakwatch.views.sentences import notes, sentence

CLOSED = 10
"""Findings that no longer hold, the newest of which are shown."""

CALM = ("steady", "not-enough-data")
"""Kinds of finding that ask for nothing."""

CALM_SHOWN = 4
"""So many of them are shown like the others; more, as of fifty processes, would hide those that matter."""


class FindingsPanel(Panel):
    """The findings that hold, each with its evidence; then those that held."""

    name = "findings"
    title = _("Findings")

    def data(self) -> list[dict[str, Any]]:
        """Return the findings that hold, in the documented shape, the worst first."""
        found = self.sheet.open_findings
        return sorted(found, key=lambda finding: (by_urgency(finding), natural(finding["process"])))

    def show(self, data: list[dict[str, Any]]) -> Html:
        """Return an article a finding."""
        closed = self._closed_ones()
        if not data and not closed:
            return element("p", self._("Nothing was concluded yet: that takes some minutes of snapshots."))
        calm = [finding for finding in data if finding["kind"] in CALM]
        folded = calm if len(calm) > CALM_SHOWN else []
        shown: list[Html | None] = [self._article(finding) for finding in data if finding not in folded]
        shown += [self._folded(kind, folded) for kind in CALM]
        if closed:
            shown.append(
                element("details", element("summary", self._("Findings that no longer hold")), self._closed(closed))
            )
        return join(shown)

    def _folded(self, kind: str, findings: list[dict[str, Any]]) -> Html | None:
        """Return the processes of which there is nothing to tell, their names in a line, behind a click the rest."""
        of_kind = [finding for finding in findings if finding["kind"] == kind]
        if not of_kind:
            return None
        names = ", ".join(clean(finding["process"]) for finding in of_kind)
        head = element("summary", self._(kind), self.figures.colon, names)
        return element("details", head, *(self._article(finding) for finding in of_kind))

    def _closed_ones(self) -> list[dict[str, Any]]:
        """Return the newest of those that no longer hold; none while the database is away."""
        try:
            return [finding for finding in self.sheet.findings if finding.get("closed_at")][::-1][:CLOSED]
        except LeakwatchError:
            return []

    def _article(self, finding: dict[str, Any]) -> Html:
        _, kind = self._, finding["kind"]
        name = clean(finding["process"])
        head = element("h3", name, self.figures.colon, _(kind), class_="lw-alarm" if finding.get("leak") else None)
        meaning = element("p", _(MEANINGS.get(kind, "n/a")), " ", _(NEXT_STEPS.get(kind, "n/a")))
        facts = element("dl", *self._facts(finding))
        why = element(
            "details", element("summary", _("Why do you say so?")), *self._evidence(finding), class_="lw-evidence"
        )
        return element("article", head, meaning, facts, why, self._ticket(finding), class_="lw-cycle")

    def _facts(self, finding: dict[str, Any]) -> Iterator[Html]:
        _, figures = self._, self.figures
        if finding.get("rate_bytes_per_h") is not None and finding["kind"] != "steady":
            yield from _fact(_("Growth"), self._rate(finding))
        if finding.get("since"):
            yield from _fact(_("Since"), figures.time(finding["since"]))
        if finding.get("bytes_per_request") is not None:
            yield from _fact(_("A request"), f"{figures.kib(finding['bytes_per_request']).shown} {_('KiB')}")
        for culprit in (finding.get("culprits") or ())[:1]:
            yield from _fact(_("What grows most"), element("code", culprit["type"]))
        if finding.get("holder"):
            yield from _fact(_("Held by"), element("code", finding["holder"]))
        for view in (finding.get("views") or ())[:1]:
            task, name = _task_or_view(view["view"])
            label = _("Task") if task else _("View")
            yield from _fact(label, f"{clean(name)} ({figures.number(100 * view['share'])} %)")
        if finding.get("ceiling") is not None:
            yield from _fact(_("Ceiling"), figures.size(finding["ceiling"]))
        left = finding.get("seconds_to_limit")
        if left is not None:
            yield from _fact(_("To the limit"), figures.duration(left) if left >= 60 else _("now"))

    def _rate(self, finding: dict[str, Any]) -> str:
        rate = self.figures.rate(finding["rate_bytes_per_h"])
        if finding.get("rate_low") is None or finding.get("rate_high") is None:
            return rate
        low, high = (self.figures.rate(finding[name]) for name in ("rate_low", "rate_high"))
        return str(self._("%(rate)s (95 %%: %(low)s to %(high)s)") % {"rate": rate, "low": low, "high": high})

    def _evidence(self, finding: dict[str, Any]) -> Iterator[Html]:
        """Return what the conclusion rests on: the meters, the types, the views, and what limits it."""
        _, figures, evidence = self._, self.figures, finding.get("evidence") or {}
        yield element("p", self._basis(finding, evidence))
        if evidence.get("why"):
            yield sentence("p", evidence["why"], evidence, figures)
        if evidence.get("meters"):
            yield self._meters(evidence["meters"])
        if finding.get("culprits"):
            yield self._culprits(finding["culprits"])
        if finding.get("views"):
            yield self._views(finding["views"])
        if evidence.get("notes"):
            yield element("ul", *notes(evidence, figures))

    def _basis(self, finding: dict[str, Any], evidence: dict[str, Any]) -> str:
        """Say how sure that is, and from how much; where nothing was concluded, from how much alone."""
        _, number = self._, self.figures.number
        if evidence.get("lives") is None:
            return str(_("From %s snapshots.") % number(evidence.get("samples") or 0))
        told = {
            "sure": f"{number(100 * (finding.get('confidence') or 0.0))} %",
            "samples": number(evidence.get("samples")),
            "lives": number(evidence["lives"]),
        }
        if evidence["lives"] == 1:
            return str(_("Confidence %(sure)s, from %(samples)s snapshots of one process.") % told)
        return str(_("Confidence %(sure)s, from %(samples)s snapshots of %(lives)s processes.") % told)

    def _meters(self, meters: dict[str, dict[str, Any]]) -> Html:
        _, figures = self._, self.figures
        columns = [
            Column(_("Meter")),
            Column(_("Level"), number=True),
            Column(_("Growth an hour"), number=True),
            Column(_("Unit")),
            Column(_("Goes on growing"), "%", number=True),
        ]
        rows = [
            [name, *self._metered(meter), figures.count(100 * (meter.get("growing") or 0.0))]
            for name, meter in meters.items()
        ]
        return table(_("What each meter does"), columns, rows)

    def _metered(self, meter: dict[str, Any]) -> tuple[Cell, Cell, str]:
        """Return level, growth an hour and their unit."""
        _, figures, level, rate = self._, self.figures, meter.get("level"), meter.get("rate_per_h")
        if meter.get("unit") == "bytes":
            return figures.mib(level), figures.mib(rate, sign=True), _("MiB")
        return figures.count(level), figures.count(rate, sign=True), _(meter.get("unit") or "n/a")

    def _culprits(self, culprits: list[dict[str, Any]]) -> Html:
        _, figures = self._, self.figures
        columns = [
            Column(_("Type")),
            Column(_("Growth"), _("objects/h"), number=True),
            Column(_("Growth"), _("MiB/h"), number=True),
        ]
        rows = [
            [
                type_cell(each["type"]),
                figures.count(each["objects_per_h"], sign=True),
                figures.mib(each.get("bytes_per_h"), sign=True),
            ]
            for each in culprits
        ]
        return table(_("Types that grow with the memory"), columns, rows)

    def _views(self, views: list[dict[str, Any]]) -> Html:
        """Return the views whose requests keep memory, and the looping tasks whose runs do."""
        _ = self._
        tasks = [view for view in views if _task_or_view(view["view"])[0]]
        requests = [view for view in views if view not in tasks]
        of_views = self._shares(_("Views whose requests keep memory"), _("View"), _("A request keeps"), requests)
        of_tasks = self._shares(_("Looping tasks that keep memory"), _("Task"), _("A run keeps"), tasks)
        return join([of_views, of_tasks])

    def _shares(self, caption: str, who: str, each: str, views: list[dict[str, Any]]) -> Html | None:
        _, figures = self._, self.figures
        columns = [
            Column(who),
            Column(each, _("KiB"), number=True),
            Column(_("Share of the growth"), "%", number=True),
        ]
        rows = [
            [
                _task_or_view(view["view"])[1],
                figures.kib(view["bytes_per_request"]),
                figures.count(100 * view["share"]),
            ]
            for view in views
        ]
        return table(caption, columns, rows) if rows else None

    def _ticket(self, finding: dict[str, Any]) -> Html:
        """Return the finding as plain text in English; a script makes its button copy it."""
        text = "\n".join(finding_lines(finding, Screen()))
        copy = element("button", self._("Copy"), type="button", class_="lw-do lw-copy", data_done=self._("Copied"))
        return element(
            "details", element("summary", self._("As text for a ticket")), element("pre", _lines(text), lang="en"), copy
        )

    def _closed(self, findings: list[dict[str, Any]]) -> Html:
        _, figures = self._, self.figures
        columns = [Column(_("Process")), Column(_("Verdict")), Column(_("From")), Column(_("To"))]
        columns.append(Column(_("Growth"), _("MiB/h"), number=True))
        rows = [
            [
                finding["process"],
                _(finding["kind"]),
                figures.time(finding.get("opened_at")),
                figures.time(finding.get("closed_at")),
                figures.mib(finding.get("rate_bytes_per_h"), sign=True),
            ]
            for finding in findings
        ]
        return table(_("Findings that no longer hold"), columns, rows)


def _fact(name: str, value: object) -> Iterator[Html]:
    yield element("dt", name)
    yield element("dd", value)


def _lines(text: str) -> Html:
    """Return lines as text of a page, each made harmless by itself: together they would be one."""
    return join(text.split("\n"), Html("\n"))


def _task_or_view(name: str) -> tuple[bool, str]:
    """Return whether what keeps memory is a looping task (``task NAME``) rather than a view, and its name."""
    return name.startswith("task "), name.removeprefix("task ")
