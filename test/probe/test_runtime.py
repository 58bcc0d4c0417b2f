"""Rules of the runtime directory: the user's own, names taken once, dead sockets removed."""

import os
import socket
import stat

import pytest

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.probe import runtime

DEAD_PID = 2**22 + 1  # above any pid_max of Linux (proc(5)): no such process can exist


def touch(directory, name):
    """Leave a file where a socket would be."""
    (directory / name).write_text("")


def test_the_directory_lies_in_the_data_home_and_is_private(tmp_path, monkeypatch):
    """Without CW_RUNTIME_DIR it is the instance's data directory; nobody else may enter."""
    monkeypatch.delenv("CW_RUNTIME_DIR", raising=False)
    directory = runtime.runtime_dir(tmp_path / "data")
    assert directory == tmp_path / "data" / "leakwatch"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_no_file_of_the_directory_is_open_to_others(tmp_path, monkeypatch):
    """Locks and the note of whose it is: read and written by the instance's user alone."""
    monkeypatch.setenv("CW_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "data").mkdir()
    path = runtime.runtime_dir(tmp_path / "data")
    with runtime.names_locked(path):
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()}
    assert modes == {"names.lock": 0o600, "instance": 0o600}


def test_cw_runtime_dir_wins(tmp_path, monkeypatch):
    """CW_RUNTIME_DIR is where the operator wants it."""
    monkeypatch.setenv("CW_RUNTIME_DIR", str(tmp_path / "run"))
    assert runtime.runtime_dir(tmp_path / "data") == tmp_path / "run" / "leakwatch"


def test_two_instances_that_share_a_directory_stay_apart(tmp_path, monkeypatch):
    """The first has the documented name, the second its own; both find theirs again."""
    monkeypatch.setenv("CW_RUNTIME_DIR", str(tmp_path / "run"))
    for name in ("shop", "blog"):
        (tmp_path / name).mkdir()
    first, second = runtime.runtime_dir(tmp_path / "shop"), runtime.runtime_dir(tmp_path / "blog")
    assert (first, second) == (tmp_path / "run" / "leakwatch", tmp_path / "run" / "leakwatch-blog")
    assert stat.S_IMODE(second.stat().st_mode) == 0o700
    assert [runtime.runtime_path(tmp_path / name) for name in ("shop", "blog")] == [first, second]


def test_a_directory_whose_instance_is_gone_is_free_again(tmp_path, monkeypatch):
    """An instance that was deleted keeps no other from the documented name."""
    monkeypatch.setenv("CW_RUNTIME_DIR", str(tmp_path / "run"))
    for name in ("shop", "blog"):
        (tmp_path / name).mkdir()
    runtime.runtime_dir(tmp_path / "shop")
    (tmp_path / "shop").rmdir()
    assert runtime.runtime_dir(tmp_path / "blog") == tmp_path / "run" / "leakwatch"


def test_a_directory_open_to_others_is_closed(tmp_path, monkeypatch):
    """One that an earlier umask left open is closed again."""
    monkeypatch.delenv("CW_RUNTIME_DIR", raising=False)
    (tmp_path / "leakwatch").mkdir(mode=0o755)
    assert stat.S_IMODE(runtime.runtime_dir(tmp_path).stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch):
    """A file in the way is told, with what to do."""
    monkeypatch.delenv("CW_RUNTIME_DIR", raising=False)
    (tmp_path / "leakwatch").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot use the runtime directory") as caught:
        runtime.runtime_dir(tmp_path)
    assert "CW_RUNTIME_DIR" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_refused(tmp_path, monkeypatch):
    """A directory of another user may be a trap."""
    monkeypatch.delenv("CW_RUNTIME_DIR", raising=False)
    (tmp_path / "leakwatch").mkdir()
    os.chown(tmp_path / "leakwatch", 65534, 65534)
    with pytest.raises(ConfigurationError, match="belongs to user 65534"):
        runtime.runtime_dir(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_somebody_elses_link_is_refused(tmp_path, monkeypatch):
    """Whoever made it chooses where it leads tomorrow."""
    monkeypatch.delenv("CW_RUNTIME_DIR", raising=False)
    (tmp_path / "ours").mkdir(0o700)
    (tmp_path / "leakwatch").symlink_to(tmp_path / "ours")
    assert runtime.runtime_dir(tmp_path) == tmp_path / "leakwatch"
    os.lchown(tmp_path / "leakwatch", 65534, 65534)
    with pytest.raises(ConfigurationError, match="belongs to user 65534"):
        runtime.runtime_dir(tmp_path)


def test_probes_are_listed_by_slot_the_scheduler_last(tmp_path):
    """web-2 comes before web-10, and strangers' files are not probes."""
    pid = os.getpid()
    for name in ("scheduler", "web-10", "web-2"):
        touch(tmp_path, f"{name}-{pid}.sock")
    touch(tmp_path, "launcher.sock")
    assert [probe.name for probe in runtime.find_probes(tmp_path)] == ["web-2", "web-10", "scheduler"]
    assert (tmp_path / "launcher.sock").exists()


def test_sockets_of_the_dead_are_removed(tmp_path):
    """A process that was killed leaves a socket; the next look clears it away."""
    touch(tmp_path, f"web-1-{DEAD_PID}.sock")
    assert runtime.find_probes(tmp_path) == []
    assert not (tmp_path / f"web-1-{DEAD_PID}.sock").exists()


def test_the_lowest_free_slot_is_taken(tmp_path):
    """web-1 and web-3 live: a new worker is web-2."""
    for name in ("web-1", "web-3"):
        touch(tmp_path, f"{name}-{os.getpid()}.sock")
    assert runtime.free_name(tmp_path, "web") == "web-2"
    assert runtime.free_name(tmp_path, "scheduler") == "scheduler"


def test_a_path_too_long_for_a_socket_is_reached_all_the_same(tmp_path):
    """A deep data directory does not keep a probe from listening (sun_path has 108 bytes)."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, runtime.reachable(deep / "web-1-1.sock") as short:
        listener.bind(short)
    assert (deep / "web-1-1.sock").is_socket()
