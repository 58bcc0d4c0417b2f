"""Looking at a process runs none of its finalizers, and shows what the collector gave up on."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cubicweb_leakdemo.runner.instance import Instance
from sites import ctl, make_instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

START = """
import gc, sys
from pathlib import Path
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.probe.runtime import runtime_dir
from cubicweb_leakwatch.probe.server import start_probe
gc.collect()
gc.disable()
"""

READY = """
start_probe(runtime_dir(sys.argv[1]), "site", this_process())
print("ready", flush=True)
sys.stdin.readline()
"""

DEAD_CYCLES = """
class Finalized:
    finalized = 0
    def __init__(self):
        self.myself = self
    def __del__(self):
        Finalized.finalized += 1
for _ in range(500):
    Finalized()
"""

UNCOLLECTABLE = """
import _testcapi
@_testcapi.with_tp_del
class Stubborn:
    def __init__(self):
        self.myself = self
    def __tp_del__(self):
        pass
for _ in range(7):
    Stubborn()
gc.collect()
assert len(gc.garbage) == 7, gc.garbage
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Instance:
    """Make an instance that no process serves."""
    return make_instance(tmp_path_factory.mktemp("quiet") / "home", "leakwatch")


@contextmanager
def process(instance: Instance, code: str, afterwards: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a process with a probe that does ``code`` before it waits, and ``afterwards`` once its input ends."""
    command = [sys.executable, "-c", START + code + READY + afterwards, str(instance.home / "data" / instance.name)]
    with subprocess.Popen(
        command, env=instance.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


def report(instance: Instance) -> dict[str, Any]:
    """Return what leak-gc says of the one process that has a probe."""
    done = ctl(instance, "leak-gc", instance.name, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (item,) = json.loads(done.stdout)["data"]
    return dict(item)


def test_dead_cycles_are_reported_and_their_finalizers_have_not_run(instance: Instance) -> None:
    """Five hundred dead cycles wait for the collector: leak-gc counts them as unreachable and finalizes none."""
    with process(instance, DEAD_CYCLES, "print(Finalized.finalized, flush=True)\n") as running:
        looked = [report(instance), report(instance)]
        output, _ = running.communicate("\n", timeout=30)
    for item in looked:
        (cycle,) = [c for c in item["cycles"] if c["finalizers"] == ["__main__.Finalized"]]
        assert (cycle["count"], cycle["reachable"], cycle["holder"]) == (500, False, None)
        assert item["garbage"]["count"] == 0
    assert output == "0\n"


def test_what_the_collector_gave_up_on_is_garbage(instance: Instance) -> None:
    """Objects with the old kind of finalizer in a cycle are in gc.garbage, and leak-gc lists them there."""
    with process(instance, UNCOLLECTABLE):
        garbage = report(instance)["garbage"]
    assert garbage["count"] == 7
    assert garbage["bytes"] > 0
    assert [(item["type"], item["count"]) for item in garbage["types"]] == [("__main__.Stubborn", 7)]


def test_the_text_says_the_same(instance: Instance) -> None:
    """Without --json a person reads the shape, and that it only waits for the collector."""
    with process(instance, DEAD_CYCLES):
        done = ctl(instance, "leak-gc", instance.name)
    assert done.returncode == 0, done.stderr
    assert "500" in done.stdout and "__main__.Finalized" in done.stdout
    assert "unreachable" in done.stdout


def test_the_sockets_of_the_dead_are_swept(instance: Instance) -> None:
    """A process that was killed leaves its socket behind; the next look removes it and does not stumble."""
    with process(instance, ""):
        folder = Path(instance.variables()["CW_RUNTIME_DIR"]) / "leakwatch"
        assert list(folder.glob("*.sock"))
    done = ctl(instance, "leak-status", instance.name)
    assert done.returncode == 4
    assert list(folder.glob("*.sock")) == []
