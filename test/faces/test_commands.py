"""The life of a command: documents, exit codes, one line for each error, help."""

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from face_data import HOSTILE, cycle, process, report, status

from cubicweb_leakwatch import commands, live
from cubicweb_leakwatch.commands import COMMANDS, Deferred
from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.leak_gc import LeakGc
from cubicweb_leakwatch.commands.leak_status import CRITICAL, OK, UNKNOWN, WARNING, LeakStatus, judge
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.runtime import reachable


@pytest.fixture
def instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two instances on disk: ``site`` was created with the cube, ``bare`` without it."""
    for name, cubes in (("site", "leakwatch\n"), ("bare", "web\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bootstrap_cubes").write_text(cubes)
    monkeypatch.setenv("CW_INSTANCES_DIR", str(tmp_path))
    monkeypatch.setenv("CW_INSTANCES_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("CW_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("CW_INSTANCE", raising=False)
    yield tmp_path


def run(command: type[Command], *words: str) -> int:
    """Run a command as ``cubicweb-ctl`` does, and return its exit code."""
    return command(None).main_run(list(words))


@pytest.mark.parametrize("deferred", COMMANDS, ids=lambda deferred: deferred.name)
def test_help_tells_purpose_options_and_examples(deferred: Deferred, capsys: pytest.CaptureFixture[str]) -> None:
    """A one-line purpose, every option with its default, two examples that can be typed."""
    command = deferred.load()
    with pytest.raises(SystemExit) as ended:
        run(command, "--help")
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "\n" not in command.short_description()
    assert command.short_description() in " ".join(told.split())
    assert all(option.name in told for option in command.options_of())
    assert len(command.examples) >= 2
    assert all(line.startswith(f"cubicweb-ctl {command.name}") and line in told for line, _meaning in command.examples)


@pytest.mark.parametrize("deferred", COMMANDS, ids=lambda deferred: deferred.name)
def test_the_examples_of_the_help_can_be_typed(deferred: Deferred) -> None:
    """Each example parses: a manual with wrong examples is worse than none."""
    command = deferred.load()
    for line, _meaning in command.examples:
        command(None)._parse(shlex.split(line)[2:])


def test_every_module_of_a_command_is_registered() -> None:
    """And nothing else: what is not built is not offered."""
    built = {path.stem.replace("_", "-") for path in Path(commands.__file__).parent.glob("leak_*.py")}
    assert {deferred.name for deferred in COMMANDS} == built
    assert all(deferred.load().name == deferred.name for deferred in COMMANDS)


def test_cubicweb_ctl_is_not_slowed_down() -> None:
    """Registering the commands imports none of them."""
    code = "import sys, cubicweb_leakwatch.commands; print([m for m in sys.modules if '.commands.' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_unknown_instance_is_one_line(instances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 4, which instances there are, no traceback."""
    assert run(LeakStatus, "nope") == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "no instance 'nope'" in err
    assert "there are: bare, site" in err


@pytest.mark.parametrize("name", ["../site", "/", "", "site/../site", ".", "x" * 300])
def test_an_instance_is_a_name_and_no_path(instances: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing outside the directory of instances is ever looked at."""
    assert run(LeakStatus, name) == 4


def test_json_errors_are_documents(instances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads the failure on stdout, and nothing else."""
    assert run(LeakStatus, "nope", "--json") == 4
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["ok"] is False
    assert document["error"]["code"] == "unknown-instance"
    assert document["error"]["message"]
    assert err == ""


def test_usage_errors_are_documents_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Even words that mean nothing."""
    assert run(LeakGc, "site", "--json", "--nope") == 4
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


def test_no_probe_answering_says_how_to_start(instances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The instance is there, its processes are not."""
    assert run(LeakGc, "site") == 4
    assert "leak-serve site" in capsys.readouterr().err


def test_another_user_is_told_so(
    instances: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not that nothing runs, and not how to start it a second time."""
    (instances / "site" / "leakwatch").mkdir()
    monkeypatch.setattr("os.access", lambda *_words: False)
    assert run(LeakStatus, "site") == 4
    assert "is closed to this user (run this as the instance's user)" in capsys.readouterr().err


def test_an_instance_without_the_cube_says_so(instances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And how to add it."""
    assert run(LeakGc, "bare") == 4
    assert "add_cube('leakwatch')" in capsys.readouterr().err


def test_looking_creates_nothing(instances: Path) -> None:
    """Root asking about a site of www-data must not leave a directory that www-data cannot use."""
    run(LeakStatus, "site")
    assert not (instances / "site" / "leakwatch").exists()


def test_a_dead_pid_is_no_process(instances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The socket that a killed process left does not count."""
    directory = instances / "site" / "leakwatch"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as left, reachable(directory / "web-1-4194305.sock") as path:
        left.bind(path)
    assert run(LeakStatus, "site") == 4
    assert "no process of site answers" in capsys.readouterr().err


def test_a_socket_that_nobody_serves_fails(instances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The process lives, its probe does not answer: code 1, its name and pid."""
    directory = instances / "site" / "leakwatch"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as left, reachable(directory / f"web-1-{os.getpid()}.sock") as path:
        left.bind(path)
    assert run(LeakStatus, "site") == 1
    assert f"web-1 (pid {os.getpid()}) did not answer" in capsys.readouterr().err


def test_the_environment_names_the_instance(
    instances: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CW_INSTANCE stands in for the argument, as in CubicWeb's own commands."""
    monkeypatch.setenv("CW_INSTANCE", "site")
    run(LeakStatus)
    assert "no process of site answers" in capsys.readouterr().err


def test_ctrl_c_exits_2(instances: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback."""

    def interrupted(*_args: Any, **_kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(live, "status", interrupted)
    assert run(LeakStatus, "site") == 2
    assert capsys.readouterr().err == "leak-status: interrupted\n"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, instances: Path) -> dict[str, Any]:
    """What the processes will answer; a test changes it."""
    answers: dict[str, Any] = {"status": status(), "reports": [report()], "failures": []}

    def look(*_args: Any, **_kwargs: Any) -> live.Look:
        return live.Look(answers["reports"], answers["failures"])

    monkeypatch.setattr(live, "status", lambda *_a, **_k: (answers["status"], live.Look([], answers["failures"])))
    monkeypatch.setattr(live, "gc_reports", look)
    monkeypatch.setattr(live, "gc_counts", look)
    return answers


def test_json_has_the_documented_shape(seen: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """One document: ok, when, which instance, the data unchanged."""
    assert run(LeakGc, "site", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"ok", "generated_at", "instance", "data"}
    assert document["ok"] is True
    assert document["generated_at"].endswith("Z")
    assert document["instance"] == "site"
    assert document["data"] == seen["reports"]


def test_a_process_that_did_not_answer_is_told_beside_the_others(
    seen: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The report of the others stands; the warning goes to stderr."""
    seen["failures"] = [LeakwatchError("web-2 went away")]
    assert run(LeakGc, "site") == 0
    out, err = capsys.readouterr()
    assert "scheduler (pid 77" in out
    assert "web-2 went away" in err


def test_gc_report_tells_all_of_it(seen: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Garbage, types with growth, the way round the cycle, its holder, the roles, with units."""
    run(LeakGc, "site")
    out = capsys.readouterr().out
    for told in (
        "stopped for 3.2 ms",
        "RSS 120.0 MiB",
        "malloc in use 90.0 MiB",
        "free n/a",
        "gc.garbage: 2 uncollectable objects, 2.0 KiB",
        "2,000 × mercurial.url.httphandler",
        "mercurial.url.httphandler.parent → urllib.request.OpenerDirector['http'] → mercurial.url.httphandler",
        "cubicweb_leakdemo.polling.POLLER.handlers[…]",
        "+1,500",
        "connection open 1",
        "form n/a",
        "CWUser 4",
    ):
        assert told in out


def test_unreachable_cycles_are_said_to_wait(seen: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing holds them; the collector has not come by."""
    seen["reports"] = [report(cycles=[cycle(reachable=False, holder=None)])]
    run(LeakGc, "site")
    out = capsys.readouterr().out
    assert "unreachable, waiting for the collector" in out
    assert "held by: nothing" in out


def test_hostile_names_do_not_reach_the_terminal(seen: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """From every place where a name of the inspected process can stand."""
    seen["reports"] = [
        report(
            partial=HOSTILE,
            garbage={"count": 1, "bytes": 1, "types": [{"type": HOSTILE, "count": 1, "bytes": 1}]},
            types=[{"type": HOSTILE, "count": 1, "bytes": 1, "delta": 1}],
            cycles=[cycle(finalizers=[HOSTILE], types=[{"type": HOSTILE, "count": 1}], path=[HOSTILE], holder=HOSTILE)],
            roles={"entity": {HOSTILE: 1}, HOSTILE: 2},
        )
    ]
    run(LeakGc, "site")
    out = capsys.readouterr().out
    assert "\\x1b[31m" in out
    assert all(character.isprintable() or character == "\n" for character in out)


def test_status_tells_the_verdict_first(seen: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, then a row a process, then what to type next."""
    seen["status"] = status(process(), process("scheduler", leak=True, verdict="python-objects"), verdict="it leaks")
    assert run(LeakStatus, "site") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "site: it leaks"
    assert "next: cubicweb-ctl leak-gc site --process scheduler" in err


MIB = 1024**2


@pytest.mark.parametrize(
    ("processes", "level"),
    [
        ([process()], OK),
        ([process(leak=True)], WARNING),
        ([process(garbage=3)], WARNING),
        ([process(uss=370 * MIB)], WARNING),
        ([process(uss=400 * MIB)], CRITICAL),
        ([process(uss=None, rss=401 * MIB)], CRITICAL),
        ([process(leak=True, seconds_to_limit=600.0)], CRITICAL),
        ([process(), process("web-2", leak=True)], WARNING),
        ([process(limit=None, rss=None, uss=None, garbage=None)], OK),
        ([], UNKNOWN),
    ],
)
def test_the_worst_process_decides(processes: list[dict[str, Any]], level: int) -> None:
    """Limit reached or soon reached is critical; a leak, garbage or 90 % of the limit is a warning."""
    assert judge({"verdict": "", "processes": processes}) == level


@pytest.mark.parametrize("level", [OK, WARNING, CRITICAL])
def test_check_is_one_line_and_the_level(seen: dict[str, Any], capsys: pytest.CaptureFixture[str], level: int) -> None:
    """As Nagios wants it."""
    seen["status"] = status(process(leak=level == WARNING, uss=(500 if level == CRITICAL else 100) * MIB))
    assert run(LeakStatus, "site", "--check") == level
    out, err = capsys.readouterr()
    assert out.startswith(("OK - ", "WARNING - ", "CRITICAL - ")[level])
    assert out.count("\n") == 1
    assert err == ""


def test_check_warns_of_one_that_does_not_answer(seen: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The others may be well: nobody knows how this one is, and a monitoring system reads one line."""
    seen["status"] = status(process())
    seen["failures"] = [LeakwatchError("web-2 (pid 7) did not answer within 5 s")]
    assert run(LeakStatus, "site", "--check") == WARNING
    assert capsys.readouterr().out.startswith("WARNING - site: web-2 (pid 7) did not answer within 5 s; ")


def test_check_of_what_does_not_answer_is_unknown(instances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """3, not 2: nobody knows how it is."""
    assert run(LeakStatus, "site", "--check") == UNKNOWN
    assert run(LeakStatus, "nope", "--check") == UNKNOWN
    assert capsys.readouterr().out.startswith("UNKNOWN - ")
