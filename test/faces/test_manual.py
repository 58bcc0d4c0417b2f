"""What is made of the commands' declarations: the page of the manual, the man page, the completion of shells."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cubicweb_leakwatch.__main__ import main
from cubicweb_leakwatch.commands import COMMANDS, checkup
from cubicweb_leakwatch.commands.completion import COMPLETIONS, completion
from cubicweb_leakwatch.commands.manual import MANUALS, commands_rst, man_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("kind", "path"), [("rst", "docs/commands.rst"), ("man", "docs/leakwatch.1")])
def test_the_manual_is_what_the_commands_declare(kind: str, path: str) -> None:
    """``make manual`` writes it anew."""
    fresh = (ROOT / path).read_text(encoding="utf-8") == MANUALS[kind]()
    assert fresh, f"{path} is stale: make manual (leakwatch --manual {kind} >{path})"


def test_each_command_and_option_has_its_entry() -> None:
    """In the page, the man page and each completion."""
    texts = {"rst": commands_rst(), "man": man_page().replace("\\-", "-"), **{s: completion(s) for s in COMPLETIONS}}
    for command in (deferred.load() for deferred in COMMANDS):
        for name, text in texts.items():
            assert command.name in text, name
            for option in command.options_of():
                spelled = f"-l {option.name[2:]}" if name == "fish" else option.name
                assert spelled in text, (name, command.name, option.name)


def test_each_hint_of_the_doctor_is_explained() -> None:
    """Every number that the checks give, and no other, has its entry in the manual."""
    given = set(re.findall(r'"(W\d{3})"', re.sub(r"HINTS.*", "", Path(checkup.__file__).read_text(), flags=re.DOTALL)))
    assert given == set(checkup.HINTS)
    assert all(f"**{code}**: " in commands_rst() for code in given)


@pytest.fixture
def bash(needs_program: Callable[[str, str], str]) -> Callable[..., list[str]]:
    """Complete the last of these words as bash does, and return what is offered."""
    program = needs_program("bash", "bash")

    def complete(*words: str) -> list[str]:
        script = (
            f"{completion('bash')}\nCOMP_WORDS=({' '.join(words)} '') COMP_CWORD={len(words) - 1}\n"
            '_leakwatch; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run([program, "-c", script], capture_output=True, text=True, check=True, timeout=20)
        return done.stdout.split()

    return complete


def test_bash_completes_names_options_and_slots(bash: Callable[..., list[str]]) -> None:
    """What begins with the word that is typed."""
    assert bash("leakwatch", "leak-st") == ["leak-status"]
    assert "--watch" in bash("leakwatch", "leak-status", "--w")
    assert bash("leakwatch", "leak-status", "--process", "s") == ["scheduler"]


def test_no_file_is_offered_where_an_instance_is_meant(bash: Callable[..., list[str]]) -> None:
    """A folder's content is noise; a dump to analyse is a file."""
    assert bash("leakwatch", "leak-status", "/et") == []
    assert bash("leakwatch", "leak-analyze", "/et") == ["/etc"]
    assert bash("leakwatch", "leak-dump", "-o", "/et") == ["/etc"]


def test_bash_completes_the_values_that_an_option_takes(bash: Callable[..., list[str]]) -> None:
    """Where there are few; and those of the program's own options."""
    assert bash("leakwatch", "leak-metrics", "--format", "") == ["prometheus", "openmetrics", "munin"]
    assert bash("leakwatch", "--completion", "") == ["bash", "zsh", "fish"]
    assert bash("leakwatch", "leak-gc", "--limit", "") == []


def test_bash_completes_the_instances_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """They are asked of the program."""
    (tmp_path / "mysite").mkdir()
    monkeypatch.setenv("CW_INSTANCES_DIR", str(tmp_path))
    assert "--instances" in completion("bash")
    assert main(["--instances"]) == 0
    assert capsys.readouterr().out == "mysite\n"


def test_an_unknown_shell_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Which there are."""
    assert main(["--completion", "tcsh"]) == 4
    assert capsys.readouterr().err == "leakwatch: --completion is one of: bash, zsh, fish\n"
