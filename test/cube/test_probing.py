"""Where a probe starts and where it does not; and that whatever fails there goes no further."""

import os
import sched
import subprocess
import sys
import tempfile
from types import SimpleNamespace
from unittest import mock

import pytest
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch import hooks, probing, site_cubicweb
from cubicweb_leakwatch.probe import process
from cubicweb_leakwatch.probe.client import ask, find_probes
from cubicweb_leakwatch.probe.runtime import runtime_path

DEFAULTS = {name: declared["default"] for name, declared in site_cubicweb.options}


class Config(dict):
    """An instance's configuration, as far as it is asked for here."""

    appid = "site"
    mode = "installed"

    def __init__(self, appdatahome, **changes):
        super().__init__(DEFAULTS, **changes)
        self.appdatahome = str(appdatahome)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A process of which nothing is known yet, and none whose probe outlives its test."""
    monkeypatch.setattr(process, "_THIS", {})
    monkeypatch.setattr(probing, "_RUNNING", {})
    monkeypatch.delenv("CW_RUNTIME_DIR", raising=False)
    yield
    probing.stop()


def test_a_served_process_answers(tmp_path):
    """After the start the process is found by its slot and tells its instance; after the stop it is not."""
    config = Config(tmp_path, **{"leakwatch-memory-limit": "200MiB"})
    assert probing.start(config, "web") is probing.running()
    (address,) = find_probes(runtime_path(tmp_path))
    status = ask(address, "status")
    assert (status["name"], status["role"], status["instance"]) == ("web-1", "web", "site")
    assert status["limit"] == 200 * 1024**2
    probing.stop()
    assert find_probes(runtime_path(tmp_path)) == []


def test_it_starts_once(tmp_path):
    """Each request may ask for the probe: there is one."""
    first = probing.start(Config(tmp_path), "web")
    assert probing.start(Config(tmp_path), "web") is first


def test_a_fork_gets_a_probe_of_its_own(tmp_path, monkeypatch):
    """A server that forks after loading leaves workers that know only their parent's probe: they start their own."""
    parent = probing.start(Config(tmp_path), "web")
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    assert probing.running() is None
    own = SimpleNamespace(stop=mock.Mock())
    with mock.patch("cubicweb_leakwatch.probe.server.start_probe", return_value=own):
        assert probing.start(Config(tmp_path), "web") is own
    probing.stop()
    own.stop.assert_called_once_with()
    assert parent.path.exists()
    parent.stop()


def test_an_instance_under_test_is_not_watched(tmp_path):
    """A test's data directory is its sources: nothing is put there."""
    config = Config(tmp_path)
    config.mode = "test"
    assert probing.start(config, "web") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"leakwatch-keep": "for ever"}, "leakwatch-keep"),
        ({"leakwatch-memory-limit": "much"}, "leakwatch-memory-limit"),
    ],
)
def test_a_bad_option_stops_no_site(tmp_path, caplog, changes, told):
    """The log names the option; the site runs without a probe."""
    config = Config(tmp_path, **changes)
    assert probing.start(config, "web") is None
    assert probing.settings_or_none(config) is None
    assert told in caplog.text


def test_an_unusable_directory_stops_no_site(tmp_path, caplog):
    """Where the runtime directory cannot be made, the log says so once, and requests are served."""
    (tmp_path / "file").touch()
    for _request in range(3):
        assert probing.start(Config(tmp_path / "file"), "web") is None
    assert caplog.text.count("not watched") == 1


def test_commands_that_watch_nothing_carry_no_heap_tools():
    """What every command that loads an instance loads of us brings in neither objgraph nor NumPy."""
    script = (
        "import sys, cubicweb_leakwatch.hooks, cubicweb_leakwatch.sobjects, cubicweb_leakwatch.recording.collect;"
        "print([name for name in ('objgraph', 'pympler', 'numpy', 'scipy', 'igraph') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class HooksTC(CubicWebTC):
    def start(self, **options):
        """Let the repository's start be announced; return how the probe was started."""
        for name, value in options.items():
            self.set_option(f"leakwatch-{name}", value)
        with mock.patch.object(probing, "start") as started:
            self.repo.hm.call_hooks("server_startup", repo=self.repo)
        return started

    def with_scheduler(self):
        """Make the repository one that runs looping tasks."""
        self.repo._scheduler = sched.scheduler()
        self.addCleanup(setattr, self.repo, "_scheduler", None)
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(mock.patch.dict(os.environ, {"CW_RUNTIME_DIR": folder}))

    def tasks(self):
        """Return the names of the looping tasks."""
        return [event.action.__name__ for event in self.repo._scheduler.queue]

    def test_an_ordinary_command_starts_nothing(self):
        """A repository without a scheduler, as in every command, gets neither probe nor task."""
        self.start().assert_not_called()

    def test_the_scheduler_gets_both(self):
        """Where looping tasks run, the probe and the task are started, at the interval."""
        self.with_scheduler()
        started = self.start(interval="30s")
        started.assert_called_once_with(self.config, "scheduler")
        assert "leakwatch_collect" in self.tasks()

    def test_without_an_interval_nothing_is_recorded(self):
        """Interval 0 is off: the scheduler can still be asked, but no task runs."""
        self.with_scheduler()
        self.start(interval="0").assert_called_once()
        assert "leakwatch_collect" not in self.tasks()

    def test_a_shutdown_stops_the_probe(self):
        """Before the repository closes, the probe is gone."""
        probe = SimpleNamespace(stop=mock.Mock())
        with mock.patch.dict(probing._RUNNING, {os.getpid(): probe}):
            self.repo.hm.call_hooks("before_server_shutdown", repo=self.repo)
        probe.stop.assert_called_once_with()

    def test_the_hooks_are_registered(self):
        """Both hooks are in the instance's registry, each for its event."""
        assert hooks.WatchTheScheduler.events == ("server_startup",)
        assert hooks.StopTheProbe.events == ("before_server_shutdown",)
