"""Names from an inspected process, made harmless: whoever named a type may have aimed at who reads it."""

import unicodedata

MAX_TEXT = 4000
"""Characters of one value that are shown; a type may be named by a whole book."""

_UNSAFE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_SPACES = dict.fromkeys(map(ord, "\xa0\u202f"), " ")
"""Spaces of French, which count as unprintable."""


def clean(value: object, limit: int = MAX_TEXT) -> str:
    """Return one line of text that steers neither a terminal nor a page.

    Control, direction and line separator characters become visible escapes; so the text fits in XML 1.0 as well,
    once it is escaped as markup.
    """
    text = str(value)
    if len(text) <= limit and (text.isprintable() or text.translate(_SPACES).isprintable()):
        return text
    shown = "".join(_visible(character) for character in text[:limit])
    return shown + "…" if len(text) > limit else shown


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE:
        return character
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
