"""``python -m cubicweb_leakwatch.heap``: one JSON document, errors as JSON with a status."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cubicweb_leakwatch.heap.__main__ import main


@pytest.fixture
def dump(dump_of: Callable[..., str]) -> str:
    """A dump with fifty things under one name."""
    return dump_of("class Thing: pass\nKEPT = [Thing() for _ in range(50)]\n")


@pytest.mark.parametrize(
    ("arguments", "key"), [(["gc"], "garbage"), (["holders"], "groups"), (["analyze"], "suspects")]
)
def test_each_report_is_one_json_document(arguments: list[str], key: str, dump: str, capsys):
    """Data on stdout, nothing on stderr, status 0."""
    types = ["__main__.Thing"] if arguments == ["holders"] else []
    assert main([*arguments, dump, *types, "--limit", "3"]) == 0
    out, err = capsys.readouterr()
    assert key in json.loads(out)
    assert err == ""


def test_a_foreign_file_is_an_error_with_a_code(tmp_path: Path, capsys):
    """The document says what is wrong, and so does one line of talk."""
    foreign = tmp_path / "x"
    foreign.write_text("something else")
    assert main(["gc", str(foreign)]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "dump-unreadable"
    assert err == "x is not a leakwatch heap dump\n"


def test_holders_are_drawn_as_dot_text(dump: str, tmp_path: Path, capsys):
    """The picture has the root, the names on the way and the count."""
    picture = tmp_path / "holders.dot"
    assert main(["holders", dump, "Thing", "--dot", str(picture)]) == 0
    capsys.readouterr()
    text = picture.read_text()
    assert text.startswith("digraph holders {")
    for part in ("module __main__", "['KEPT']", "__main__.Thing\\n50 held like this"):
        assert part in text
