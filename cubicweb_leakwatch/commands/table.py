"""Tables for a terminal: they fit its width, numbers stand right, the unit is in the header."""

from collections.abc import Sequence
from dataclasses import dataclass

from cubicweb_leakwatch.commands.terminal import Screen, display_width, shorten
from cubicweb_leakwatch.plain_text import clean

GAP = "  "
NARROWEST = 12
"""Columns that a shrinking column keeps; below that its text says nothing."""


@dataclass(frozen=True)
class Column:
    """A column: ``shrinks`` for long names, ``rank`` above 0 for those left out first on a narrow terminal.

    One that is ``whole`` shrinks only when all those are gone.
    """

    title: str
    right: bool = True
    shrinks: bool = False
    rank: int = 0
    whole: bool = False


@dataclass(frozen=True)
class Cell:
    """A value with the style in which it is shown."""

    text: str
    styles: tuple[str, ...] = ()


def words(title: str, *, shrinks: bool = False, rank: int = 0, whole: bool = False) -> Column:
    """Return a column of words, which stand left."""
    return Column(title, right=False, shrinks=shrinks, rank=rank, whole=whole)


def render(columns: Sequence[Column], rows: Sequence[Sequence[object]], screen: Screen) -> list[str]:
    """Return the lines of a table, its header first; what is ``None`` is shown as ``n/a``."""
    cells = [[_cell(value) for value in row] for row in rows]
    kept = _kept(columns, cells, screen.width)
    columns = [columns[index] for index in kept]
    cells = [[row[index] for index in kept] for row in cells]
    widths = _fitted(columns, cells, screen.width)
    header = _line(columns, [Cell(column.title, ("bold",)) for column in columns], widths, screen)
    return [header, *(_line(columns, row, widths, screen) for row in cells)]


def _cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return Cell(clean(value.text), value.styles)
    return Cell("n/a" if value is None else clean(value))


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[Cell]]) -> list[int]:
    return [
        max([display_width(column.title), *(display_width(row[index].text) for row in cells)])
        for index, column in enumerate(columns)
    ]


def _kept(columns: Sequence[Column], cells: Sequence[Sequence[Cell]], width: int | None) -> list[int]:
    """Return the indexes of the columns that find room, dropping those of the highest rank first."""
    kept = list(range(len(columns)))
    widths = _widths(columns, cells)
    least = [min(w, NARROWEST) if c.shrinks and not c.whole else w for w, c in zip(widths, columns, strict=True)]
    by_rank = sorted((index for index in kept if columns[index].rank), key=lambda index: columns[index].rank)
    while width is not None and by_rank and sum(least[i] + len(GAP) for i in kept) - len(GAP) > width:
        kept.remove(by_rank.pop())
    return kept


def _fitted(columns: Sequence[Column], cells: Sequence[Sequence[Cell]], width: int | None) -> list[int]:
    widths = _widths(columns, cells)
    shrinking = [index for index, column in enumerate(columns) if column.shrinks]
    while width is not None and shrinking:
        excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
        widest = max(shrinking, key=lambda index: widths[index])
        if excess <= 0 or widths[widest] <= NARROWEST:
            break
        widths[widest] = max(NARROWEST, widths[widest] - max(1, excess // len(shrinking)))
    return widths


def _line(columns: Sequence[Column], row: Sequence[Cell], widths: Sequence[int], screen: Screen) -> str:
    parts = []
    for column, cell, width in zip(columns, row, widths, strict=True):
        text = shorten(cell.text, width)
        padding = " " * (width - display_width(text))
        shown = screen.style(text, *cell.styles)
        parts.append(padding + shown if column.right else shown + padding)
    return GAP.join(parts).rstrip()
