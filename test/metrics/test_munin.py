"""What Munin is told, and a real node that asks the plugin."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cubicweb_leakdemo.runner.traffic import free_port, port_in_use
from metric_data import figures, row
from probed import process

from cubicweb_leakwatch.metrics import munin
from cubicweb_leakwatch.metrics.gather import Figures

PLUGIN = Path(__file__).resolve().parents[2] / "contrib" / "munin" / "leakwatch_"
# Debian's node knows its folder by a variable of a module alone.
START_NODE = """
use Munin::Common::Defaults; $Munin::Common::Defaults::MUNIN_CONFDIR = shift;
my $node = shift; do $node; die $@ if $@; main();
"""
FIELD = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*\.(label|type|min|warning|critical|value) \S.*$")
ATTRIBUTE = re.compile(r"^(multigraph|graph_title|graph_args|graph_vlabel|graph_category|graph_info) \S.*$")


def graphs(text: str) -> dict[str, dict[str, str]]:
    """Return the lines of each graph, by their first words."""
    found: dict[str, dict[str, str]] = {}
    for line in filter(None, text.splitlines()):
        key, value = line.split(" ", 1)
        if key == "multigraph":
            current = found.setdefault(value, {})
        else:
            current[key] = value
    return found


def test_every_line_is_one_that_munin_knows() -> None:
    """Definitions and values alike; each graph names its category."""
    told = munin.config(figures(), with_values=True)
    assert [line for line in told.splitlines() if line and not (FIELD.match(line) or ATTRIBUTE.match(line))] == []
    assert all(graph["graph_category"] == "cubicweb" for graph in graphs(told).values())


def test_values_belong_to_defined_fields() -> None:
    """Each value that is told has a label in the same graph, and the other way round."""
    defined, told = graphs(munin.config(figures())), graphs(munin.values(figures()))
    assert defined.keys() == told.keys()
    for name, graph in told.items():
        labels = {key.split(".")[0] for key in defined[name] if key.endswith(".label")}
        assert {key.split(".")[0] for key in graph} == labels


def test_memory_has_the_limit_as_its_alarm() -> None:
    """Munin warns at nine tenths of the limit and alarms at the limit."""
    memory = graphs(munin.config(figures()))["leakwatch_site_memory"]
    limit = 400 * 1024**2
    assert memory["web_1.critical"] == str(limit)
    assert memory["web_1.warning"] == str(round(limit * 0.9))
    assert "scheduler.critical" not in memory


def test_unknown_is_u() -> None:
    """Nobody counts the scheduler's requests; that is not zero."""
    told = graphs(munin.values(figures()))
    assert told["leakwatch_site_requests"] == {"web_1.value": "1234", "scheduler.value": "U"}
    assert graphs(munin.values(figures(launcher=None)))["leakwatch_site_restarts"]["replaced.value"] == "U"


def test_what_only_rises_is_drawn_as_a_rate() -> None:
    """A replaced process counts from zero again: the fall must not be drawn."""
    requests = graphs(munin.config(figures()))["leakwatch_site_requests"]
    assert (requests["web_1.type"], requests["web_1.min"]) == ("DERIVE", "0")


def test_a_hostile_instance_name_adds_no_line() -> None:
    """Line ends and comments in a name define nothing."""
    told = munin.config(Figures("x\nevil.label #y", processes=(row(),)), with_values=True)
    assert "evil.label" not in [line.split(" ")[0] for line in told.splitlines()]
    assert "#" not in told


@pytest.fixture
def node(tmp_path: Path, needs_program: Callable[[str, str], str]) -> Iterator[Callable[..., str]]:
    """Run a munin-node with our plugin for an instance ``mysite`` with one process; give ``ask(line)``."""
    program = needs_program("munin-node", "munin-node")
    home, plugins = tmp_path / "data" / "mysite", tmp_path / "munin" / "plugins"
    conf = tmp_path / "munin" / "plugin-conf.d"
    for folder in (home / "leakwatch", tmp_path / "etc" / "mysite", plugins, conf):
        folder.mkdir(parents=True, mode=0o700)
    (tmp_path / "etc" / "mysite" / "all-in-one.conf").write_text("#leakwatch-interval=1min\n")
    (plugins / "leakwatch_mysite").symlink_to(PLUGIN)
    ctl = Path(sys.executable).with_name("cubicweb-ctl")
    (conf / "leakwatch").write_text(
        f"[leakwatch_*]\nuser {os.geteuid()}\nenv.cubicweb_ctl {ctl}\nenv.CW_MODE user\n"
        f"env.CW_INSTANCES_DIR {tmp_path / 'etc'}\nenv.CW_INSTANCES_DATA_DIR {tmp_path / 'data'}\n"
        f"env.PATH {ctl.parent}:/usr/bin:/bin\n"
    )
    port = free_port()
    settings = tmp_path / "munin-node.conf"
    settings.write_text(
        f"host_name here\nallow ^127\\.0\\.0\\.1$\nhost 127.0.0.1\nport {port}\n"
        f"user {os.geteuid()}\ngroup {os.getegid()}\nbackground 0\n"
        f"setsid 0\nlog_file {tmp_path / 'log'}\npid_file {tmp_path / 'pid'}\n"
    )
    command = ["perl", "-e", START_NODE, str(conf.parent), program, "--foreground", "--config", str(settings)]
    with process(home / "leakwatch", "web-1", "mysite"), subprocess.Popen(command) as server:
        try:
            yield lambda *lines: talk(port, server, *lines)
        finally:
            server.terminate()


def talk(port: int, server: subprocess.Popen[bytes], *lines: str) -> str:
    """Return what the node says to these lines, once it listens."""
    deadline = time.monotonic() + 20
    while not port_in_use(port):
        assert server.poll() is None, "the node has ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("".join(f"{line}\n" for line in (*lines, "quit")).encode())
        return connection.makefile(encoding="utf-8").read()


def test_a_real_node_fetches_definitions_and_values(node: Callable[..., str]) -> None:
    """The node lists the plugin to a server that takes several graphs, and fetches both."""
    told = node("cap multigraph", "list", "config leakwatch_mysite", "fetch leakwatch_mysite")
    assert "leakwatch_mysite" in told.splitlines()[2]
    assert "leakwatch_mysite" in told
    assert "web_1.label web-1" in told
    assert int(re.findall(r"^web_1\.value (\d+)$", told, re.MULTILINE)[0]) > 2**20


def test_a_node_that_can_asks_once_for_both(node: Callable[..., str]) -> None:
    """With dirtyconfig the values come with the definitions."""
    told = node("cap multigraph dirtyconfig", "config leakwatch_mysite")
    assert "web_1.label web-1" in told
    assert re.search(r"^web_1\.value \d+$", told, re.MULTILINE)


def test_the_plugin_finds_its_instances(node: Callable[..., str], tmp_path: Path) -> None:
    """``autoconf`` says yes where an instance is, and why not elsewhere; ``suggest`` names those with the cube."""
    environment = {
        "PATH": os.environ["PATH"],
        "CW_INSTANCES_DIR": str(tmp_path / "etc"),
        "cubicweb_ctl": str(Path(sys.executable).with_name("cubicweb-ctl")),
    }

    def say(word: str, **changes: str) -> str:
        return subprocess.run(
            [PLUGIN, word], env={**environment, **changes}, capture_output=True, text=True, check=True
        ).stdout

    assert say("autoconf") == "yes\n"
    assert say("autoconf", cubicweb_ctl="/nowhere").startswith("no (/nowhere")
    assert say("autoconf", CW_INSTANCES_DIR="/nowhere").startswith("no (no instance")
    assert say("suggest") == "mysite\n"
