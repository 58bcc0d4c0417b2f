"""The catalogues: everything a page says is there, in English and in French, and formats keep their fields."""

import ast
import re
from collections.abc import Iterator

import pytest
from face_data import PACKAGE, catalogue

LANGUAGES = ("en", "fr")


def said() -> Iterator[str]:
    """Give every literal that the code hands to ``_``."""
    for path in PACKAGE.rglob("*.py"):
        if "commands" not in path.parts:
            yield from _literals(ast.parse(path.read_text(encoding="utf-8")))


def _literals(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and _is_translation(node.func):
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def _is_translation(function: ast.expr) -> bool:
    return getattr(function, "id", None) == "_" or getattr(function, "attr", None) == "_"


def fields(message: str) -> list[str]:
    """Return the format fields of a message."""
    return sorted(re.findall(r"%(?:\(\w+\))?[a-z]", message))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_nothing_that_is_said_lacks_its_translation(lang: str) -> None:
    """Every message of the code is in the catalogue."""
    messages = {message for _context, message in catalogue(lang)}
    assert set(said()) - messages == set()


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_translation_is_empty_or_fuzzy(lang: str) -> None:
    """Half a translation is shown as none."""
    assert [key for key, translated in catalogue(lang).items() if not translated] == []
    assert "fuzzy" not in (PACKAGE / "i18n" / f"{lang}.po").read_text(encoding="utf-8")


def test_both_catalogues_have_the_same_messages() -> None:
    """Neither was forgotten when a message came."""
    assert set(catalogue("en")) == set(catalogue("fr"))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_translations_keep_the_fields_of_their_message(lang: str) -> None:
    """A lost field would break the page in that language alone."""
    assert [m for (_c, m), translated in catalogue(lang).items() if fields(m) != fields(translated)] == []


def test_french_is_french() -> None:
    """A sentence that reads the same in both languages was not translated."""
    same = [m for (_c, m), translated in catalogue("fr").items() if m == translated and " " in m]
    assert same == []


def test_the_catalogues_name_the_schema() -> None:
    """Each type of the schema, in the singular and the plural."""
    for etype in ("LeakwatchProcess", "MemorySnapshot", "LeakFinding", "WorkerRestart"):
        for key in (etype, f"{etype}_plural", f"New {etype}"):
            assert catalogue("fr")["", key] not in ("", key)
