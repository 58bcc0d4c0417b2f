"""What the boot of an instance read from its database: statements and answers, as a file that a later boot reads.

Only what was read, never what was written, or counted on by reading. Values keep their types through JSON; where an
answer holds anything else nothing is kept at all.
"""

import base64
import datetime
import decimal
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cubicweb_leakwatch.apart import DAMAGED, write_private

FORMAT = 1
PARAMETER = re.compile(r"%\((\w+)\)s")
READS = re.compile(r"\s*SELECT\b(?!.*(\b(nextval|setval|for\s+(update|share))\b|advisory))", re.IGNORECASE | re.DOTALL)

Rows = list[tuple[Any, ...]]


class Answer(NamedTuple):
    """What a statement answered: its rows, and DB-API's description of their columns."""

    sql: str
    args: Any
    description: list[tuple[Any, ...]]
    rows: Rows


class Memory:
    """The answers of one boot, by statement. ``about`` says of which database; another's answers are not given."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.about = dict(about)
        self.answers: dict[str, Answer] = {}
        self.open = True

    def close(self) -> None:
        """Forget all, and neither keep nor give anything from now on."""
        self.open = False
        self.answers = {}

    def keep(self, sql: str, args: Any, description: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]]) -> None:
        """Remember an answer; one to the same statement takes the place of the former."""
        if self.open and READS.match(sql):
            answer = Answer(sql, args, [tuple(column) for column in description], [tuple(row) for row in rows])
            self.answers[statement(sql, args)] = answer

    def find(self, sql: str, args: Any) -> Answer | None:
        """Return what the statement answered; ``None`` when it was not asked, or does more than read."""
        return self.answers.get(statement(sql, args))

    def save(self, path: Path) -> bool:
        """Write the file anew, for the instance's user alone, unless it says the same; return whether it was written.

        Raises ``OSError``, and ``TypeError`` for a value that no file can keep.
        """
        document = {"format": FORMAT, "about": self.about, "answers": list(self.answers.values())}
        text = json.dumps(document, default=_told)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return False
        write_private(path, text)
        return True


def load(path: Path, about: Mapping[str, Any]) -> Memory | None:
    """Return what a boot from the same database remembered; ``None`` where nothing usable is."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"), object_hook=_meant)
        if told["format"] != FORMAT or told["about"] != dict(about):
            return None
        memory = Memory(about)
        for sql, args, description, rows in told["answers"]:
            memory.keep(sql, args, description, rows)
    except DAMAGED:
        return None
    return memory


def statement(sql: str, args: Any) -> str:
    """Return a statement with its values, the same in every process: CubicWeb names some parameters by an address."""
    if not isinstance(args, Mapping):
        return json.dumps([sql, args], default=repr)
    names = PARAMETER.findall(sql)
    return json.dumps([PARAMETER.sub("%s", sql), [args.get(name) for name in names]], default=repr)


def same_rows(one: Rows, other: Rows) -> bool:
    """Say whether two answers hold the same rows, in whatever order: few statements ask for one."""
    return sorted(map(_text, one)) == sorted(map(_text, other))


def _text(row: Sequence[Any]) -> str:
    return json.dumps(row, default=_told)


def _told(value: Any) -> Any:
    """Return a value that JSON does not have as an object that says its type."""
    if isinstance(value, datetime.datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"date": value.isoformat()}
    if isinstance(value, decimal.Decimal):
        return {"decimal": str(value)}
    if isinstance(value, (bytes, memoryview)):
        return {"bytes": base64.b64encode(bytes(value)).decode("ascii")}
    raise TypeError(f"a {type(value).__name__} is not remembered")


def _meant(told: dict[str, Any]) -> Any:
    if set(told) == {"datetime"}:
        return datetime.datetime.fromisoformat(told["datetime"])
    if set(told) == {"date"}:
        return datetime.date.fromisoformat(told["date"])
    if set(told) == {"decimal"}:
        return decimal.Decimal(told["decimal"])
    if set(told) == {"bytes"}:
        return base64.b64decode(told["bytes"])
    return told
