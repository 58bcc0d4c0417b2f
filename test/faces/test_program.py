"""``leakwatch``: the commands without CubicWeb's start; and the instance found as CubicWeb finds it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cubicweb_leakwatch.__main__ import main
from cubicweb_leakwatch.commands import COMMANDS

BOTH = """
import json
from cubicweb.cwconfig import CubicWebConfiguration as Theirs
from cubicweb_leakwatch.commands.instance import data_home, instances_dir
bare = type("Bare", (), {"appid": "x", "mode": Theirs.mode, "instances_dir": Theirs.instances_dir})()
theirs = Theirs.instances_dir(), Theirs.appdatahome.fget(bare)
print(json.dumps([theirs, [str(instances_dir()), str(data_home("x"))]]))
"""

ENVIRONMENTS = (
    {},
    {"CW_MODE": "user"},
    {"VIRTUAL_ENV": "/venv"},
    {"CW_INSTALL_PREFIX": "/usr"},
    {"CW_INSTALL_PREFIX": "/opt/cw", "VIRTUAL_ENV": "/venv", "CW_MODE": "system"},
    {"CW_INSTANCES_DIR": "here/etc", "CW_INSTANCES_DATA_DIR": "/data", "CW_MODE": "user"},
)


def run(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these words in an environment without CubicWeb's variables."""
    inherited = {n: v for n, v in os.environ.items() if not n.startswith("CW_") and n != "VIRTUAL_ENV"}
    return subprocess.run(
        [sys.executable, *words], env={**inherited, **changes}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_an_instance_is_where_cubicweb_has_it(environment: dict[str, str]) -> None:
    """Whatever mode, prefix and directories the environment names."""
    theirs, ours = json.loads(run("-c", BOTH, **environment).stdout)
    assert ours == [path.rstrip("/") for path in theirs]


def test_a_mode_that_is_none_is_one_line() -> None:
    """CubicWeb fails on an assertion there."""
    done = run("-m", "cubicweb_leakwatch", "leak-status", "x", CW_MODE="usr")
    assert done.returncode == 4
    assert done.stderr.splitlines() == ["leak-status: CW_MODE is 'usr' (it is either user or system)"]


WITHOUT = "import sys; sys.modules['cubicweb'] = None; from cubicweb_leakwatch.__main__ import main; sys.exit(main())"


@pytest.mark.parametrize(("command", "told"), [("leak-status", "no process of x answers"), ("leak-purge", "CubicWeb")])
def test_a_python_without_cubicweb_is_told_in_one_line(command: str, told: str, tmp_path: Path) -> None:
    """Debian's program runs where CubicWeb is in another environment: what it cannot do, it says."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "all-in-one.conf").touch()
    folders = {"CW_MODE": "user", "CW_INSTANCES_DIR": str(tmp_path), "CW_INSTANCES_DATA_DIR": str(tmp_path)}
    done = run("-c", WITHOUT, command, "x", **folders, CW_RUNTIME_DIR=str(tmp_path))
    assert done.returncode in (1, 4)
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_name_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its purpose."""
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert [command.name for command in COMMANDS if f"  {command.name} " not in listed] == []


def test_a_name_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """And the exit code of a wrong configuration."""
    assert main(["leak-nothing"]) == 4
    assert capsys.readouterr().err == "leakwatch: no command 'leak-nothing' (see leakwatch --help)\n"


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    """For a bug report."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("leakwatch ")


@pytest.mark.parametrize("words", [("--help",), ("leak-gc", "--help"), ("--manual", "man"), ("leak-diagnose", "-")])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_disk_is_one_line(words: tuple[str, ...], buffered: str) -> None:
    """Whatever was to be written, buffered or not: exit code 1, no traceback."""
    shell = f'echo \'{{"t": 1, "rss": 2}}\' | {sys.executable} -m cubicweb_leakwatch {" ".join(words)} >/dev/full'
    done = subprocess.run(
        ["bash", "-c", shell],
        env={**os.environ, "PYTHONUNBUFFERED": buffered},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot write the answer: No space left on device" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "| true"])
def test_what_is_closed_breaks_no_command(closed: str) -> None:
    """A cron job may start one with closed descriptors, a reader may leave early: nothing is told wrong of that."""
    shell = f"set -o pipefail; {sys.executable} -m cubicweb_leakwatch --help {closed}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
