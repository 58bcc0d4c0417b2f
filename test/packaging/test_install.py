"""The wheel, installed with today's newest releases of all it needs, gives a working instance on each Python."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from builds import Built, run
from cubicweb_leakdemo.runner import processes, traffic
from cubicweb_leakdemo.runner.instance import Instance


@pytest.mark.timeout(420)
@pytest.mark.integration
def test_the_wheel_gives_a_working_instance(
    built: Built, interpreter: str, tmp_path: Path, make_environment: Callable[[Path, str], Path]
) -> None:
    """pip install, create an instance, serve it: it answers, and leak-status knows its worker."""
    python = make_environment(tmp_path / "env", interpreter)
    run(str(python), "-m", "pip", "install", "--quiet", str(built.wheel), cwd=tmp_path)
    instance = Instance(tmp_path / "home", name="installed", cubes=("leakwatch",), programs=python.parent)
    instance.create()
    port = traffic.free_port()
    command = instance.command("leak-serve", instance.name, "--no-scheduler", "--bind", f"127.0.0.1:{port}")
    site = processes.start("leak-serve", command, instance.environment(), tmp_path / "leak-serve.log")
    try:
        processes.wait_until(
            lambda: traffic.send("127.0.0.1", port, "/", late_s=10.0).kind == traffic.ANSWERED, "the first page", site
        )
        status = json.loads(instance.run("leak-status", instance.name, "--json"))
    finally:
        site.stop()
    assert [process["name"] for process in status["data"]["processes"]] == ["web-1"]
