"""The manual is well formed, complete, and says of options, commands and versions what the code says."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import docutils.core
import pytest

from cubicweb_leakwatch import ccplugin, site_cubicweb
from cubicweb_leakwatch.__pkginfo__ import version

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.rst").read_text()
PAGES = sorted([ROOT / "README.rst", *(ROOT / "docs").glob("*.rst")])
DEFAULTS: dict[str, dict[str, Any]] = dict(site_cubicweb.options)
COMMANDS = sorted(command.name for command in ccplugin.COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_well_formed(page: Path) -> None:
    """docutils reads every page without a word of warning."""
    settings = {"report_level": 1, "halt_level": 1, "_disable_config": True}
    docutils.core.publish_doctree(page.read_text(), source_path=str(page), settings_overrides=settings)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A relative link names a file that is there."""
    targets = re.findall(r"<([\w./-]+\.(?:rst|md))>`_", page.read_text())
    assert [target for target in targets if not (page.parent / target).is_file()] == []


def test_the_contents_list_every_page() -> None:
    """docs/index.rst leads to each page of the manual."""
    index = (ROOT / "docs" / "index.rst").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.rst") if page.name not in index] == ["index.rst"]


def shown_default(declared: object) -> str:
    """Return how the README shows an option's default."""
    if isinstance(declared, bool):
        return "``yes``" if declared else "``no``"
    return f"``{declared}``" if declared != "" else "(empty)"


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_each_option_is_in_the_readme_with_its_default(name: str) -> None:
    """An option that is declared is documented, and its default is the declared one."""
    row = re.search(rf"^``{name}`` +(``\S+``|\(empty\)) ", README, re.MULTILINE)
    assert row is not None
    assert row[1] == shown_default(DEFAULTS[name]["default"])


def test_the_readme_invents_no_option() -> None:
    """What the README lists as an option is declared."""
    assert set(re.findall(r"^``(leakwatch-[a-z-]+)``", README, re.MULTILINE)) == set(DEFAULTS)


def test_the_readme_lists_the_commands_that_there_are() -> None:
    """Every registered command is in the README's table, and no other."""
    assert sorted(set(re.findall(r"^``(leak-[a-z]+)(?: [A-Z]+)?``", README, re.MULTILINE))) == COMMANDS


def test_the_changelogs_begin_with_this_version() -> None:
    """CHANGELOG.md and debian/changelog tell first of the version in __pkginfo__.py."""
    changelog = re.search(r"^## Version (\S+) ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    debian = re.match(r"cubicweb-leakwatch \((\S+)\) ", (ROOT / "debian" / "changelog").read_text())
    assert changelog is not None and debian is not None
    assert (changelog[1], debian[1]) == (version, version)


def test_no_path_of_a_machine_is_committed() -> None:
    """No file names a folder of the machine it was written on."""
    pattern = "/" + "root/|/" + "home/[a-z]+/|pyenv/" + "versions"
    found = subprocess.run(["git", "grep", "-nIE", pattern], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_sphinx_makes_the_manual_without_a_warning(tmp_path: Path) -> None:
    """And its links lead to pages that there are."""
    words = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(tmp_path),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=110)
    assert (done.returncode, done.stderr) == (0, "")
    for page in tmp_path.glob("*.html"):
        targets = re.findall(r'href="([\w./-]+\.html)', page.read_text())
        assert [target for target in targets if not (tmp_path / target).is_file()] == [], page.name


def test_pictures_are_small_and_shown() -> None:
    """Each is on a page, and none is a burden to who clones."""
    pages = "".join(page.read_text() for page in (ROOT / "docs").glob("*.rst"))
    pictures = list((ROOT / "docs" / "images").glob("*.png"))
    assert pictures
    assert [each.name for each in pictures if each.stat().st_size > 150_000 or f"images/{each.name}" not in pages] == []
