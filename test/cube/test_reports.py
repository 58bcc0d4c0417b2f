"""Gc reports: one look at a time, analysed apart, kept for the next reader."""

import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from unittest import mock

import pytest

from cubicweb_leakwatch import apart, live, reports
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.probe.runtime import socket_path


def report(name="web-1", pid=None, taken_at="2026-11-22T12:00:00Z"):
    """Return the beginning of a report."""
    return {"process": {"name": name, "pid": pid or os.getpid()}, "taken_at": taken_at}


@pytest.fixture
def looked(tmp_path, monkeypatch):
    """A runtime directory with a living web-1; each look gives the report that was set."""
    socket_path(tmp_path, "web-1", os.getpid()).touch()
    look = mock.Mock(return_value=live.Look([report()]))
    monkeypatch.setattr(live, "gc_reports", look)
    return look


def test_a_report_is_kept_for_the_next_reader(tmp_path, looked):
    """What one worker looked up, another finds in the runtime directory."""
    assert reports.last_reports(tmp_path) == []
    assert reports.new_reports(tmp_path, "web-1").items == [report()]
    assert reports.last_reports(tmp_path) == [report()]
    assert reports.last_reports(tmp_path, "web-1") == reports.last_reports(tmp_path, str(os.getpid())) == [report()]
    assert reports.last_reports(tmp_path, "web-2") == []


def test_kept_reports_are_for_the_owner_alone(tmp_path, looked):
    """A report names what a heap holds: nobody else may read it."""
    reports.new_reports(tmp_path)
    (kept,) = (tmp_path / "reports").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_reports_of_processes_that_went_are_dropped(tmp_path, looked):
    """The folder does not grow with every restart."""
    reports.new_reports(tmp_path)
    (tmp_path / "reports" / "web-1-999999.json").write_text("{}")
    reports.new_reports(tmp_path)
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [f"web-1-{os.getpid()}.json"]


def test_a_worker_that_leaves_gives_a_look_up_in_time_to_answer(monkeypatch):
    """Who asked is told so: a request that a drain cuts off would be lost."""
    monkeypatch.setenv("LEAKWATCH_DRAIN_TIMEOUT", str(reports.LEAVE_S + 0.2))
    over = threading.Event()
    assert reports.while_serving(lambda: 5) == 5
    with pytest.raises(LeakwatchError, match="nothing there"):
        reports.while_serving(mock.Mock(side_effect=LeakwatchError("nothing there")))
    monkeypatch.setattr(this_process(), "state", "draining")
    assert reports.while_serving(lambda: 5) == 5
    with pytest.raises(LeakwatchError, match="is being replaced") as caught:
        reports.while_serving(lambda: over.wait(60))
    over.set()
    assert caught.value.code == "replaced"


def test_one_look_at_a_time(tmp_path, looked):
    """While somebody looks, another waits, and is told so in the end; nothing is copied twice at once."""
    with (tmp_path / "look.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LeakwatchError) as caught:
            reports.new_reports(tmp_path, wait_s=0.2)
    assert caught.value.code == "busy"
    looked.assert_not_called()


def test_a_look_at_what_grows_names_the_types(tmp_path, looked, monkeypatch):
    """All types in one look; a name that looks like an option is a name all the same."""
    monkeypatch.setattr(live, "taken_dump", lambda address: nullcontext({"path": "/x.dump"}))
    asked = mock.Mock(return_value={"types": [], "piles": []})
    monkeypatch.setattr(reports, "run_apart", asked)
    assert reports.look_at_growth(tmp_path, "web-1", ["--help", "app.Entry"]) == {"types": [], "piles": []}
    assert asked.call_args.args[-4:] == ("--", "/x.dump", "--help", "app.Entry")


def test_who_waited_for_a_look_shares_it(tmp_path, looked):
    """Two managers who open the same page cost the process one copy."""
    with (tmp_path / "look.lock").open("a") as lock, ThreadPoolExecutor() as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = pool.submit(reports.new_reports, tmp_path, "web-1", wait_s=30)
        while not second.running():
            pass
        later = report(taken_at="2999-01-01T00:00:00Z")
        reports._keep(tmp_path, later)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert second.result(timeout=30).items == [later]
    looked.assert_not_called()


def test_damaged_reports_are_as_good_as_none(tmp_path, looked):
    """Half a file, left by a full disk, is no report."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / f"web-1-{os.getpid()}.json").write_text('{"process": ')
    assert reports.last_reports(tmp_path) == []


def test_a_missing_runtime_directory_is_a_sentence(tmp_path):
    """Where nothing ever ran there is no report, and a look says why it cannot be."""
    assert reports.last_reports(tmp_path / "none") == []
    with pytest.raises(LeakwatchError) as caught:
        reports.new_reports(tmp_path / "none")
    assert caught.value.code == "no-probe"


def test_the_analysis_runs_in_a_process_of_its_own(monkeypatch):
    """The dump and the limit are handed to the heap's own command; its JSON is the report."""
    done = subprocess.CompletedProcess([], 0, json.dumps(report()).encode(), b"")
    run = mock.Mock(return_value=done)
    monkeypatch.setattr(subprocess, "run", run)
    assert reports.analyse_apart("/x.dump", limit=7) == report()
    (command,), _options = run.call_args
    assert command == [sys.executable, "-P", "-m", "cubicweb_leakwatch.heap", "gc", "/x.dump", "--limit", "7"]


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (subprocess.CompletedProcess([], 1, b"", b"noise\nthe dump is truncated\n"), "the dump is truncated"),
        (subprocess.CompletedProcess([], 0, b"[]", b""), "without a word"),
        (subprocess.CompletedProcess([], -9, b"{}", b""), "without a word"),
    ],
)
def test_a_failed_analysis_says_why(monkeypatch, done, said):
    """The last line of what the analysis said is what the operator reads."""
    monkeypatch.setattr(subprocess, "run", mock.Mock(return_value=done))
    with pytest.raises(LeakwatchError, match=said):
        reports.analyse_apart("/x.dump", limit=7)


def test_what_the_analysis_refuses_is_told_as_it_said_it(monkeypatch):
    """A dump that cannot be read keeps its sentence, its hint and its code."""
    told = {"code": "bad-dump", "message": "the dump is truncated", "hint": "take another"}
    done = subprocess.CompletedProcess([], 1, json.dumps({"error": told}).encode(), b"the dump is truncated")
    monkeypatch.setattr(subprocess, "run", mock.Mock(return_value=done))
    with pytest.raises(LeakwatchError) as caught:
        reports.analyse_apart("/x.dump", limit=7)
    assert caught.value.as_json() == told


def test_an_analysis_that_hangs_is_ended(monkeypatch):
    """Past its time the analysis is killed and the operator told what to do instead."""
    monkeypatch.setattr(subprocess, "run", mock.Mock(side_effect=subprocess.TimeoutExpired("x", 1)))
    with pytest.raises(LeakwatchError) as caught:
        reports.analyse_apart("/x.dump", limit=7)
    assert caught.value.code == "timeout"


def test_an_embedding_server_is_not_taken_for_python(monkeypatch):
    """Under uWSGI ``sys.executable`` is uWSGI: the environment's own interpreter is used."""
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert apart.python_program() == f"{sys.prefix}/bin/python3"
