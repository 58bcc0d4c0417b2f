"""HTML and SVG built as text in which everything is escaped once, and void tags are closed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape as _escape
from typing import NamedTuple

from cubicweb_leakwatch.plain_text import clean

_NUMBERS = (int, float)
VOID = frozenset({"br", "circle", "hr", "img", "input", "line", "path", "polyline", "rect"})


class Html(str):
    """Text that is markup already and may stand in a page as it is."""

    __slots__ = ()


def text(value: object) -> Html:
    """Return ``value`` as text of a page: control characters visible, markup escaped; markup stays as it is."""
    return value if isinstance(value, Html) else Html(_escape(clean(value)))


def element(name: str, /, *content: object, **attributes: object) -> Html:
    """Return one element; ``class_`` is the class, ``data_value`` is ``data-value``; ``None`` leaves one out."""
    shown = "".join([_attribute(key, value) for key, value in attributes.items() if value is not None])
    if name in VOID and not content:
        return Html(f"<{name}{shown}/>")
    return Html(f"<{name}{shown}>{join(content)}</{name}>")


def _attribute(key: str, value: object) -> str:
    # whole numbers and fractions need no escaping, and a chart has thousands
    safe = value if type(value) in _NUMBERS else text(value)
    return f' {_attribute_name(key)}="{safe}"'


@cache
def _attribute_name(key: str) -> str:
    """Return the name in the page; asked for by our own code, so that there are few."""
    return key.rstrip("_").replace("_", "-")


def join(parts: Iterable[object], between: str = "") -> Html:
    """Return the parts one after the other; what is ``None`` is left out."""
    return Html(text(between).join([text(part) for part in parts if part is not None]))


@dataclass(frozen=True)
class Column:
    """A column of a table: its header with the unit, and whether it holds numbers."""

    title: str
    unit: str = ""
    number: bool = False

    @property
    def header(self) -> str:
        """Return the title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


class Cell(NamedTuple):
    """A value as it is shown and as it sorts; ``css`` is our own and is not escaped."""

    shown: object
    sorts: float | str | None = None
    css: str = ""


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[object]], css: str = "", *, row_heads: bool = True
) -> Html:
    """Return a table whose first column heads its rows (``row_heads``); on a narrow screen it scrolls by itself."""
    heads = [
        element("th", column.header, scope="col", class_="lw-number" if column.number else None) for column in columns
    ]
    body = [Html(f"<tr>{''.join(_cells(columns, row, row_heads))}</tr>") for row in rows]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *body),
        class_=f"listing lw-table {css}".strip(),
    )
    return element("div", whole, class_="lw-scroll", tabindex="0", role="region", aria_label=caption)


def _cells(columns: Sequence[Column], row: Sequence[object], row_heads: bool) -> Iterable[str]:
    """Return the cells of a row; put together by hand, for a page has thousands of them."""
    for index, (column, value) in enumerate(zip(columns, row, strict=True)):
        shown, sorts, css = value if isinstance(value, Cell) else (value, None, "")
        name, more = ("th", ' scope="row"') if index == 0 and row_heads else ("td", "")
        if column.number:
            css = f"lw-number {css}" if css else "lw-number"
        if css:
            more += f' class="{css}"'
        if sorts is not None:
            more += _attribute("data_value", sorts)
        yield f"<{name}{more}>{'' if shown is None else text(shown)}</{name}>"
