"""What the launcher says in English, in the language of a page's reader.

The launcher knows no language, and its words are recorded as they are: each sentence is known here by its template,
and what a field of the template stands for is found in it. What ends in ``_said`` is such a sentence itself. What no
template fits, the reason that somebody gave by hand, stays as it is.
"""

import re
from functools import cache

from cubicweb import _

from cubicweb_leakwatch.views.figures import Figures

SENTENCES = (
    _("%(why_said)s (autopsy: %(autopsy)s)"),
    _("by hand"),
    _("drill"),
    _("memory limit"),
    _("private memory %(used)s over its limit %(limit)s"),
    _("%(used)s is over its limit of %(limit)s"),
    _("the limit of %(limit)s is predicted in %(time)s"),
    _("the limit of %(limit)s is reached within a minute"),
    _("%(served)s requests served, its limit is %(limit)s"),
    _("%(age)s old, its limit is %(limit)s"),
    _("%(open)s descriptors open, it may have %(limit)s"),
    _("%(own)s descriptors beside its clients' connections, %(limit)s are allowed"),
    _("%(own)s threads, %(all)s with the others of its control group, %(limit)s are allowed"),
    _("%(own)s threads, %(all)s with the others of its user, %(limit)s are allowed"),
    _("%(own)s threads, %(limit)s are allowed"),
    _("exit code %(code)s"),
    _("killed by %(signal)s"),
    _("killed: its time to drain and exit was over"),
    _("not ready within %(time)s"),
    _("it could not be started: %(why)s"),
    _("the old worker died meanwhile: %(why_said)s"),
    _("%(process)s ended before it was ready: %(why_said)s; started again with growing pauses"),
    _("%(process)s died %(count)s times within %(time)s: %(why_said)s"),
    _("the successor of %(process)s failed (%(why_said)s); the old one serves on"),
    _("%(process)s should be replaced: %(why_said)s; nothing is done (leakwatch-restart is advise)"),
    _("%(process)s waits to be replaced (%(why_said)s): %(until_said)s"),
    _("the budget of %(count)s automatic restarts in %(time)s is spent: the next may begin at %(clock)s"),
    _("the budget of automatic restarts is spent by all hosts together: the next may begin at %(clock)s"),
    _("planned for the restart window %(from)s to %(to)s"),
    _("planned for a quiet minute, or %(time)s from now at the latest"),
    _("back at its limit"),
    _("back above %(share)s %% of its limit"),
    _(
        "%(process)s was %(how_said)s after %(life)s, its predecessor lasted %(before)s: restarts do not help, no more "
        "of them until one by hand; raise the limit, or see what holds the memory"
    ),
    _(
        "no room for a successor of %(process)s: a fresh worker needs %(needed)s, %(room)s are available; "
        "the old one serves on"
    ),
)

_FIELD = re.compile(r"%\((\w+)\)s|%%")
_MEASURE = re.compile(r"(?<![\w.:])([+-]?\d[\d,]*)(\.\d+)?(?: (B|KiB|MiB|GiB|TiB|ms|s|min|h|d|y)\b)?(?![\w.,:])")
_UNITS = (_("B"), _("GiB"), _("TiB"), _("ms"), _("y"))
"""Units that no page has otherwise."""


def in_words(said: str, figures: Figures) -> str:
    """Return what the launcher said, in the reader's language."""
    if figures.lang == "en":
        return said
    for template in SENTENCES:
        found = _pattern(template).fullmatch(said)
        if found:
            fields = {name: _field(name, text, figures) for name, text in found.groupdict().items()}
            return figures._(template) % fields
    return said


def _field(name: str, text: str, figures: Figures) -> str:
    if name == "autopsy":
        return autopsy_in_words(text, figures)
    return in_words(text, figures) if name.endswith("_said") else measured(text, figures)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """Return what finds the fields of a template; there are as many as templates."""
    parts, end = [], 0
    for field in _FIELD.finditer(template):
        parts += [re.escape(template[end : field.start()]), f"(?P<{field[1]}>.+?)" if field[1] else "%"]
        end = field.end()
    return re.compile("".join([*parts, re.escape(template[end:])]))


def measured(text: str, figures: Figures) -> str:
    """Return a text with its figures as the reader writes them: ``250.0 MiB`` is ``250,0 Mio`` in French."""
    return _MEASURE.sub(lambda found: _measure(found, figures), text)


def _measure(found: "re.Match[str]", figures: Figures) -> str:
    whole, rest, unit = found.groups()
    digits = len(rest) - 1 if rest else 0
    shown = figures.number(float(whole.replace(",", "") + (rest or "")), digits, sign=whole.startswith("+"))
    return f"{shown} {figures._(unit)}" if unit else shown


def autopsy_in_words(short: str, figures: Figures) -> str:
    """Return what an autopsy showed (``autopsy_in_short``), in the reader's language."""
    held = _(" held by ")
    return "; ".join(figures._(held).join(measured(part, figures).split(held)) for part in short.split("; "))
