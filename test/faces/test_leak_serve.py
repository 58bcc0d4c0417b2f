"""leak-serve: what the launcher is told, and what the operator reads before it starts."""

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cubicweb_leakwatch.commands import serving
from cubicweb_leakwatch.commands.instance import Instance
from cubicweb_leakwatch.commands.leak_serve import LeakServe, plan_lines
from cubicweb_leakwatch.room import Room
from cubicweb_leakwatch.settings import Settings, read_settings
from cubicweb_leakwatch.site_cubicweb import options

GIB = 1024**3
ROOM = Room(host_total=8 * GIB, host_available=4 * GIB, cgroup_limit=None, cgroup_used=None)
INSTANCE = Instance("site", Path("/etc/site"), Path("/var/site"), Path("/var/site/leakwatch"))


def settings(**given: Any) -> Settings:
    """Return the cube's default settings with some options changed."""
    values = {name: option["default"] for name, option in options}
    return read_settings({**values, **{f"leakwatch-{key.replace('_', '-')}": value for key, value in given.items()}})


def planned(*words: str, room: Room = ROOM, **given: Any) -> Any:
    """Return the launcher's specification for these words and options."""
    asked = LeakServe(None)._parse(["site", *words])
    return serving.plan(INSTANCE, serving.Loaded(settings(**given), "127.0.0.1:8080"), asked, room)


def test_the_defaults_are_those_of_the_contract() -> None:
    """One worker of four threads, the scheduler, the instance's own address, 30 s to drain."""
    spec = planned()
    assert (spec.workers, spec.threads, spec.bind) == (1, 4, ("127.0.0.1:8080",))
    assert spec.web.command[1:] == ("-P", "-m", "cubicweb_leakwatch.worker", "site")
    assert spec.scheduler.command[1:] == ("-P", "-m", "cubicweb_leakwatch.scheduler", "site")
    assert spec.timing.drain_timeout_s == 30.0


def test_the_scheduler_can_be_left_out() -> None:
    """Where another host runs it."""
    assert planned("--no-scheduler").scheduler is None


def test_several_addresses_are_several_sockets() -> None:
    """Separated by commas."""
    assert planned("--bind", "127.0.0.1:0, unix:/run/a.sock").bind == ("127.0.0.1:0", "unix:/run/a.sock")


@pytest.mark.parametrize(
    ("bind", "port"),
    [("127.0.0.1:8123", "8123"), ("[::1]:81", "81"), ("unix:/run/1", None), ("h:0", None), ("h:1,h:2", None)],
)
def test_links_follow_the_port_that_was_named(bind: str, port: str | None) -> None:
    """An instance without base-url would otherwise send its visitors to its configured port."""
    assert planned("--bind", bind).environment.get("CW_PORT") == port
    assert "CW_PORT" not in planned().environment


def test_without_a_limit_the_workers_share_what_there_is() -> None:
    """80 % of the memory among the workers, one successor and the scheduler; a control group's limit counts."""
    assert planned("--workers", "2").limits.memory_bytes == int(8 * GIB * 0.8) // 4
    small = Room(host_total=8 * GIB, host_available=None, cgroup_limit=GIB, cgroup_used=0)
    assert planned(room=small).limits.memory_bytes == int(GIB * 0.8) // 3


def test_a_share_is_never_less_than_a_worker_needs() -> None:
    """Fifty workers on a small host would otherwise restart for ever."""
    assert planned("--workers", "50").limits.memory_bytes == serving.SMALLEST_LIMIT


def test_a_host_that_tells_nothing_gives_no_limit() -> None:
    """Unknown is not zero memory."""
    assert planned(room=Room(None, None, None, None)).limits.memory_bytes == 0


def test_a_limit_that_was_set_stands() -> None:
    """From the instance's options."""
    assert planned(memory_limit="250MiB").limits.memory_bytes == 250 * 1024**2


def test_every_process_of_the_instance_gets_the_overrides() -> None:
    """As the environment that CubicWeb reads options from; what was not given is not passed on."""
    spec = planned("--max-requests", "500", "--max-age", "12h", "--drain-timeout", "1min")
    assert spec.environment["CW_LEAKWATCH_MAX_REQUESTS"] == "500"
    assert spec.environment["CW_LEAKWATCH_MAX_AGE"] == "43200s"
    assert spec.environment["CW_LEAKWATCH_DRAIN_TIMEOUT"] == "60s"
    assert "CW_LEAKWATCH_MAX_REQUESTS" not in planned().environment


def test_the_scheduler_knows_the_same_limit() -> None:
    """It predicts when a worker will reach it."""
    assert planned().environment["CW_LEAKWATCH_MEMORY_LIMIT"] == str(planned().limits.memory_bytes)


def test_the_plan_is_told_with_units() -> None:
    """Limit and where it comes from, the other limits, the drain timeout."""
    told = "\n".join(plan_lines(settings(), planned("--max-age", "12h", max_age="12h")))
    for part in ("1 web worker of 4 threads", "2.1 GiB a worker, a share of", "an age of 12 h", "30 s", "auto"):
        assert part in told


def test_dry_run_is_a_document_and_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The specification as JSON."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "bootstrap_cubes").write_text("leakwatch\n")
    monkeypatch.setenv("CW_INSTANCES_DIR", str(tmp_path))
    monkeypatch.setattr(serving, "load", lambda instance: serving.Loaded(settings(), "127.0.0.1:0"))
    assert LeakServe(None).main_run(["site", "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["data"]["instance"] == "site"
    assert document["data"]["workers"] == 1


@pytest.fixture
def a_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return the name of an instance that could be served, with directories of its own."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "bootstrap_cubes").write_text("leakwatch\n")
    for name in ("CW_INSTANCES_DIR", "CW_INSTANCES_DATA_DIR", "CW_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(serving, "load", lambda instance: serving.Loaded(settings(), "127.0.0.1:0"))
    return "site"


def test_a_port_in_use_is_one_line_before_the_plan(a_site: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As text and as a document; --dry-run shows the plan all the same."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        assert LeakServe(None).main_run([a_site, "--bind", bind]) == 1
        told = capsys.readouterr()
        assert told.err.count("\n") == 1
        assert "is in use" in told.err
        assert LeakServe(None).main_run([a_site, "--bind", bind, "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "address-in-use"
        assert LeakServe(None).main_run([a_site, "--bind", bind, "--json", "--dry-run"]) == 0


@pytest.mark.parametrize("words", [["--workers", "0"], ["--threads", "x"], ["--memory-limit", "lots"]])
def test_nonsense_is_refused_before_anything_starts(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line and exit code 4."""
    assert LeakServe(None).main_run(["site", *words]) == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_tells_where_the_limit_comes_from() -> None:
    """As set, or a share."""
    spec = SimpleNamespace(limits=SimpleNamespace(memory_bytes=0))
    assert "neither" in serving.told_limit(settings(), spec)  # type: ignore[arg-type]
