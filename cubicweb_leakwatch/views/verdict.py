"""The sentence that comes before all numbers, in the reader's language."""

from typing import Any

from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import Html, element

Process = dict[str, Any]
NEAR_LIMIT = 0.9


def verdict(processes: list[Process], figures: Figures) -> Html:
    """Return the worst that is known of the processes, as a strip across the page."""
    _ = figures._
    alarms = [sentence for process in processes for sentence in _alarms(process, figures)]
    leaks = [_leak(process, figures) for process in processes if process.get("leak")]
    if alarms or leaks:
        return _strip(" ".join(leaks + alarms), "lw-bad")
    judged = [process for process in processes if process.get("verdict") not in (None, "not-enough-data")]
    if judged:
        return _strip(_("No leak seen."), "")
    return _strip(_("There is not enough data yet to say whether a process leaks."), "lw-open")


def _leak(process: Process, figures: Figures) -> str:
    _ = figures._
    told = _("%(process)s leaks (%(kind)s), %(rate)s MiB/h.") % {
        "process": process["name"],
        "kind": _(process["verdict"]),
        "rate": figures.mib(process.get("rate_bytes_per_h"), sign=True).shown,
    }
    parts = [told]
    if process.get("culprits"):
        parts.append(_("What grows most: %s.") % clean(process["culprits"][0]))
    if process.get("holder"):
        parts.append(_("Held by %s.") % clean(process["holder"]))
    if process.get("seconds_to_limit") is not None:
        parts.append(_("It reaches its limit in %s.") % figures.duration(process["seconds_to_limit"]))
    return " ".join(parts)


def _alarms(process: Process, figures: Figures) -> list[str]:
    _, found = figures._, []
    limit, used = process.get("limit"), process.get("uss") or process.get("rss")
    if limit and used and used >= NEAR_LIMIT * limit:
        found.append(
            _("%(process)s uses %(used)s of %(limit)s.")
            % {"process": process["name"], "used": figures.size(used), "limit": figures.size(limit)}
        )
    if process.get("garbage"):
        found.append(
            _("%(process)s holds %(count)s uncollectable objects.")
            % {"process": process["name"], "count": figures.number(process["garbage"])}
        )
    return found


def _strip(sentence: str, css: str) -> Html:
    return element("p", sentence, class_=f"lw-verdict {css}".strip(), role="status")
