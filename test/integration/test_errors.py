"""What goes wrong is told in one line, without a traceback, with the right exit code; in JSON when asked."""

import json
import subprocess
from pathlib import Path

import pytest
from cubicweb_leakdemo.runner.instance import HOST, Instance
from sites import Site, ctl, make_instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

FAILED = 1
CONFIGURATION = 4


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Instance:
    """Make an instance that no process serves."""
    return make_instance(tmp_path_factory.mktemp("idle") / "home", "leakwatch")


@pytest.fixture(scope="module")
def without_the_cube(tmp_path_factory: pytest.TempPathFactory) -> Instance:
    """Make an instance that does not have the cube."""
    return make_instance(tmp_path_factory.mktemp("plain") / "home", "web")


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Check the exit code, and that stderr is one line that says each of ``words``."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert [word for word in words if word not in lines[0]] == []


@pytest.mark.parametrize("command", ["leak-status", "leak-gc", "leak-restart", "leak-serve"])
def test_an_unknown_instance(instance: Instance, command: str) -> None:
    """Its name and those that there are; exit code 4."""
    options = ["--all"] if command == "leak-restart" else []
    one_line(ctl(instance, command, "elsewhere", *options), CONFIGURATION, "elsewhere", instance.name)


@pytest.mark.parametrize("command", ["leak-status", "leak-gc"])
def test_no_process_answers(instance: Instance, command: str) -> None:
    """An instance that nobody serves, with what to type next; exit code 4."""
    one_line(ctl(instance, command, instance.name), CONFIGURATION, instance.name, "leak-serve")


def test_no_launcher_to_restart_anything(instance: Instance) -> None:
    """leak-restart needs leak-serve, and says so."""
    done = ctl(instance, "leak-restart", instance.name, "--all")
    assert done.returncode in (FAILED, CONFIGURATION)
    one_line(done, done.returncode, "leak-serve")


def test_a_process_that_is_not_there(site: Site) -> None:
    """A dead pid, or a slot that nobody has: those that there are; exit code 4."""
    for process in ("web-9", "999999999"):
        done = ctl(site.instance, "leak-gc", site.instance.name, "--process", process)
        one_line(done, CONFIGURATION, process, "web-1", "scheduler")


@pytest.mark.parametrize("command", ["leak-status", "leak-gc", "leak-serve"])
def test_an_instance_without_the_cube(without_the_cube: Instance, command: str) -> None:
    """The command says that the cube is missing and how to add it; exit code 4."""
    done = ctl(without_the_cube, command, without_the_cube.name)
    one_line(done, CONFIGURATION, "add_cube")


def test_a_port_in_use(site: Site, instance: Instance) -> None:
    """leak-serve does not start where another listens, and names the address."""
    done = ctl(instance, "leak-serve", instance.name, "--bind", f"{HOST}:{site.port}")
    assert done.returncode in (FAILED, CONFIGURATION)
    assert str(site.port) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_unusable_runtime_directory(instance: Instance, tmp_path: Path) -> None:
    """leak-serve names the directory that it cannot use; exit code 4."""
    (tmp_path / "file").write_text("")
    folder = str(tmp_path / "file" / "run")
    done = ctl(instance, "leak-serve", instance.name, environment={"CW_RUNTIME_DIR": folder})
    one_line(done, CONFIGURATION, folder, "CW_RUNTIME_DIR")


def test_a_limit_that_a_worker_exceeds_at_once(instance: Instance) -> None:
    """A worker would be replaced for ever: leak-serve refuses to serve, and says what the worker takes."""
    done = ctl(instance, "leak-serve", instance.name, "--memory-limit", "20MiB", "--bind", f"{HOST}:0")
    assert done.returncode == CONFIGURATION
    assert "Traceback" not in done.stderr
    assert "20" in done.stderr.splitlines()[-1] and "limit" in done.stderr.splitlines()[-1]


def test_a_size_that_means_nothing(instance: Instance) -> None:
    """A size that cannot be read is named; exit code 4."""
    one_line(ctl(instance, "leak-serve", instance.name, "--memory-limit", "much"), CONFIGURATION, "much")


def test_errors_in_json(instance: Instance) -> None:
    """With --json the error is a document on stdout, and nothing else is said."""
    done = ctl(instance, "leak-gc", "elsewhere", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == CONFIGURATION
    assert document["ok"] is False
    assert set(document["error"]) == {"code", "message", "hint"}
    assert document["error"]["code"] == "unknown-instance"
    assert done.stderr == ""
