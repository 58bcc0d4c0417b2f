"""The sentence that comes before all numbers, in the reader's language."""

from collections.abc import Sequence
from typing import Any

from cubicweb_leakwatch.commands.terminal import shorten
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import Html, element

Process = dict[str, Any]
NEAR_LIMIT = 0.9
SOON_S = 60.0
"""A time to the limit below this is told as "now": it is shorter than what a sample or a restart takes."""

LONGEST_NAME = 100
TOLD = 5
"""Processes beside the worst of which each has its sentence."""

ENOUGH_SAMPLES = 12
"""Samples from which on something may be concluded."""


def verdict(processes: Sequence[Process], figures: Figures, then: Html | None = None) -> Html:
    """Return the worst that is known of the processes (one a slot), as a strip across the page; ``then`` ends it."""
    _ = figures._
    alarms = [sentence for process in processes for sentence in _alarms(process, figures)]
    leaking = _leaking(processes)
    if alarms or leaking:
        told = [_leak(process, figures) for process in leaking[:1]]
        told += [_some([_leaks(process, figures) for process in leaking[1:]], figures), _some(alarms, figures)]
        return _strip(told, "lw-bad", then)
    judged = [process for process in processes if process.get("verdict") not in (None, "not-enough-data")]
    if judged:
        grows = [_("%(process)s: %(kind)s.") % {"process": process["name"], "kind": _(process["verdict"])}
                 for process in judged if process["verdict"] != "steady"]  # fmt: skip
        return _strip([_("No leak seen."), _some(grows, figures)], "", then)
    return _strip([_waiting(processes, figures)], "lw-open", then)


def needs_look(processes: Sequence[Process]) -> Process | None:
    """Return the process that leaks and reaches its limit first; or one with garbage."""
    leaking = _leaking(processes)
    if leaking:
        return leaking[0]
    return next((process for process in processes if process.get("garbage")), None)


def _leaking(processes: Sequence[Process]) -> list[Process]:
    """Return the processes that leak, the one that reaches its limit first before the others, then the fastest."""

    def urgency(process: Process) -> tuple[float, float]:
        left = process.get("seconds_to_limit")
        return float("inf") if left is None else left, -(process.get("rate_bytes_per_h") or 0.0)

    return sorted((process for process in processes if process.get("leak")), key=urgency)


def over_limit(processes: Sequence[Process]) -> Process | None:
    """Return the web worker that is nearest to its limit, when it is near."""
    near = [process for process in processes if process.get("role") == "web" and near_limit(process)]
    return max(near, key=_share_of_limit, default=None)


def near_limit(process: Process) -> bool:
    """Say whether a process has used most of what it may."""
    return _share_of_limit(process) >= NEAR_LIMIT


def _share_of_limit(process: Process) -> float:
    limit, used = process.get("limit"), process.get("uss") or process.get("rss")
    return used / limit if limit and used else 0.0


def _waiting(processes: Sequence[Process], figures: Figures) -> str:
    _ = figures._
    known = [process["samples"] for process in processes if process.get("samples") is not None]
    if not known:
        return _("There is not enough data yet to say whether a process leaks.")
    if max(known) >= ENOUGH_SAMPLES:
        return _(
            "It is too soon to say whether a process leaks: after %s snapshots a leak and a warm-up look alike."
        ) % figures.number(max(known))
    return _("There is not enough data yet to say whether a process leaks: %(have)s of %(need)s snapshots.") % {
        "have": figures.number(max(known)),
        "need": figures.number(ENOUGH_SAMPLES),
    }


def _some(sentences: Sequence[str], figures: Figures) -> str:
    """Return the first sentences, and how many there are beside them: fifty would not be read."""
    more = [figures._("And %s more.") % figures.number(len(sentences) - TOLD)] if len(sentences) > TOLD + 1 else []
    return " ".join([*sentences[: TOLD if more else None], *more])


def _leaks(process: Process, figures: Figures) -> str:
    _ = figures._
    return str(
        _("%(process)s leaks (%(kind)s), %(rate)s.")
        % {
            "process": process["name"],
            "kind": _(process["verdict"]),
            "rate": figures.rate(process.get("rate_bytes_per_h")),
        }
    )


def _leak(process: Process, figures: Figures) -> str:
    """Return all that is to be said of the process that comes first."""
    _ = figures._
    parts = [_leaks(process, figures)]
    if process.get("since"):
        parts.append(_("It has grown since %s.") % figures.moment(process["since"]))
    if process.get("culprits"):
        parts.append(_("What grows most: %s.") % _short(process["culprits"][0]))
    if process.get("holder"):
        parts.append(_("Held by %s.") % _short(process["holder"]))
    left = process.get("seconds_to_limit")
    if left is not None and left >= SOON_S:
        parts.append(_("It reaches its limit in %s.") % figures.duration(left))
    elif left is not None:
        parts.append(_("It reaches its limit now."))
    return " ".join(parts)


def _short(name: str) -> str:
    """Return a name whose two ends say enough for a sentence that is read in five seconds."""
    return shorten(clean(name), LONGEST_NAME)


def _alarms(process: Process, figures: Figures) -> list[str]:
    _, found = figures._, []
    if near_limit(process):
        used = process.get("uss") or process.get("rss")
        found.append(
            _("%(process)s uses %(used)s of %(limit)s.")
            % {"process": process["name"], "used": figures.size(used), "limit": figures.size(process["limit"])}
        )
    if process.get("garbage"):
        found.append(
            _("%(process)s holds %(count)s uncollectable objects.")
            % {"process": process["name"], "count": figures.number(process["garbage"])}
        )
    return found


def _strip(sentences: Sequence[str], css: str, then: Html | None) -> Html:
    """Return the strip: what matters most in a line of its own, then the rest."""
    told = [element("p", sentence) for sentence in sentences if sentence]
    return element("div", element("div", *told, role="status"), then, class_=f"lw-verdict {css}".strip())
