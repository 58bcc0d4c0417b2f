"""The answer of a command as CSV, for a spreadsheet: a header first, sizes in bytes, times and names as in ``--json``.

Whoever named a type may have aimed at the spreadsheet: a text that it would take for a formula gets a quotation mark
before it, and no text has a line break in it.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cubicweb_leakwatch.plain_text import clean

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What a text begins with that spreadsheets compute (OWASP, "CSV Injection"), wide signs too.

Control characters, which they skip, are visible text here."""


class Table(NamedTuple):
    """The answer of a command as a table: the keys that each row has under ``--json``; a missing one is empty."""

    columns: Sequence[str]
    rows: Iterable[Mapping[str, Any]]


def as_csv(table: Table) -> Iterator[str]:
    """Return the lines, the header first (RFC 4180, but for the end of a line)."""
    yield _line(table.columns)
    for row in table.rows:
        yield _line([field(row.get(name)) for name in table.columns])


def _line(fields: Sequence[object]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(fields)
    return written.getvalue()


def field(value: object) -> object:
    """Return a value as a field: numbers as they are, nothing for unknown, lists as JSON, texts made harmless."""
    if value is None or isinstance(value, bool | int | float):
        return "" if value is None else str(value).lower() if isinstance(value, bool) else value
    text = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text
