"""Sentences that were recorded in English, in the language of a page's reader (see ``watch/sentences``).

What no catalogue knows, as an earlier version recorded it, stays English and is marked so.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import Html, element


def sentence(name: str, recorded: object, evidence: Mapping[str, Any], figures: Figures) -> Html:
    """Return an element ``name`` with a sentence of a finding's ``evidence``."""
    text = str(recorded)
    message = (evidence.get("messages") or {}).get(text) or {"template": text, "figures": None}
    template = figures._(message["template"]) if message["template"] else ""
    if template == message["template"] and figures.lang != "en":
        return element(name, text, lang="en")
    return element(name, _filled(template, message["figures"], figures) or text)


def notes(evidence: Mapping[str, Any], figures: Figures) -> Iterator[Html]:
    """Return an item for each note of the evidence."""
    return (sentence("li", note, evidence, figures) for note in evidence.get("notes") or ())


def _filled(template: str, values: Mapping[str, Any] | None, figures: Figures) -> str:
    """Return the template with its figures; empty when they do not fit it, as nobody could have recorded them."""
    if values is None:
        return template
    try:
        return template % {name: _shown(name, value, figures) for name, value in values.items()}
    except (KeyError, TypeError, ValueError):
        return ""


def _shown(name: str, value: Any, figures: Figures) -> str:
    """Return a figure by the unit that its name ends with."""
    if name.endswith("_said"):
        return figures._(str(value))
    if name.endswith("_at"):
        return figures.moment(value)
    if isinstance(value, str):
        return value
    if name.endswith("_bytes_per_h"):
        return figures.rate(value)
    return figures.size(value) if name.endswith("_bytes") else figures.number(value)
