"""Sentences of a conclusion: English where they are made, and made again in its reader's language where they are shown.

A :class:`Sentence` is text that remembers its template and its figures. Evidence keeps them beside the text, under
``messages``; catalogues have the templates. The name of a figure tells its unit: ``…_bytes``, ``…_bytes_per_h``,
``…_at`` (ISO 8601 UTC text); one that ends in ``…_said`` is a sentence of its own, and any other a name.
"""

from collections.abc import Mapping
from typing import Any

from cubicweb_leakwatch.watch.units import format_bytes, format_rate

_ = str
"""Marks a template for the catalogues: nothing here knows a language."""

Figure = str | float
Message = dict[str, Any]
"""What a sentence was made of: ``template`` and ``figures`` (by name)."""


class Sentence(str):
    """An English sentence and what it was made of."""

    __slots__ = ("figures", "template")

    template: str
    figures: dict[str, Figure]

    def __new__(cls, template: str, **figures: Figure) -> "Sentence":
        """Put the figures, by name, into the template."""
        made = super().__new__(cls, template % {name: _english(name, value) for name, value in figures.items()})
        made.template, made.figures = template, figures
        return made


def _english(name: str, value: Figure) -> str:
    if isinstance(value, str):
        return value
    if name.endswith("_bytes_per_h"):
        return format_rate(value)
    return format_bytes(value) if name.endswith("_bytes") else f"{value:g}"


def made_of(*sentences: str) -> dict[str, Message]:
    """Return what those sentences were made of that have figures, by their text; the text of others says it all."""
    return {
        str(sentence): {"template": sentence.template, "figures": sentence.figures}
        for sentence in sentences
        if isinstance(sentence, Sentence)
    }


def with_note(evidence: Mapping[str, Any], note: str) -> dict[str, Any]:
    """Return the evidence of a finding with one more note."""
    messages = {**evidence.get("messages", {}), **made_of(note)}
    noted = {**evidence, "notes": [*evidence.get("notes", ()), str(note)]}
    return {**noted, "messages": messages} if messages else noted
