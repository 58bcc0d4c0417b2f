"""The forked copy: what it costs the process, and what it must not do."""

import gc
import os
import signal
import socket
import threading
import time
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from heap_programs import run_program

from cubicweb_leakwatch.heap import forked
from cubicweb_leakwatch.heap.forked import CopyFailed, CopyRefused, run_in_copy


def test_the_answer_comes_back_with_what_it_cost():
    """The job's value is returned; the pause is a part of the whole."""
    result = run_in_copy(lambda: {"pid": os.getpid(), "list": [1, None, "é"]})
    assert result.value["list"] == [1, None, "é"]
    assert result.value["pid"] != os.getpid()
    assert 0 < result.pause_ms <= result.elapsed_ms


def test_a_job_that_outlives_its_limit_is_killed_and_reaped():
    """After the limit there is neither a process nor a zombie, and the message says so."""
    before = children()
    with pytest.raises(CopyFailed, match=r"time limit of 0\.2 s"):
        run_in_copy(lambda: time.sleep(60), time_limit_s=0.2)
    assert children() == before


def test_a_job_that_fails_says_why():
    """An exception in the copy is one sentence for the caller."""

    def job() -> None:
        raise KeyError("gone")

    with pytest.raises(CopyFailed, match=r"could not do its job: KeyError: 'gone'"):
        run_in_copy(job)


def test_a_copy_that_dies_says_so():
    """A killed copy is told from one that answered."""
    with pytest.raises(CopyFailed, match="died before it could answer"):
        run_in_copy(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_the_collector_is_left_as_it_was():
    """It is off in the copy, and in the process on or off as before."""
    assert gc.isenabled()
    assert run_in_copy(gc.isenabled).value is False
    assert gc.isenabled()
    gc.disable()
    try:
        run_in_copy(lambda: None)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_copy_cannot_talk_on_a_shared_socket():
    """Every inherited descriptor is /dev/null in the copy."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run_in_copy(lambda: os.write(ours.fileno(), b"from the copy"))
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


def test_the_copy_is_the_first_to_be_killed_and_the_last_to_run():
    """The kernel's killer prefers it, and it yields to the process."""
    score, nice = run_in_copy(lambda: [Path("/proc/self/oom_score_adj").read_text(), os.nice(0)]).value
    assert int(score) == 1000
    assert nice >= 5


def test_signals_for_the_group_do_not_run_the_programs_handlers_in_the_copy():
    """A handler of the program is not called in the copy."""

    def job() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 1

    previous = signal.signal(signal.SIGTERM, lambda *_: os._exit(77))
    try:
        assert run_in_copy(job).value == 1
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_callers_take_turns():
    """Two threads that ask at once both get their answer, one after the other."""
    spans: list[list[float]] = []

    def job() -> list[float]:
        started = time.monotonic()
        time.sleep(0.05)
        return [started, time.monotonic()]

    threads = [threading.Thread(target=lambda: spans.append(run_in_copy(job).value)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans.sort()
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_no_room_is_refused_with_the_figures(monkeypatch: pytest.MonkeyPatch):
    """Without the memory for a copy nothing is forked."""
    monkeypatch.setattr(forked, "why_no_room", lambda needed: "needs 900 MiB, and the host has only 100 MiB left")
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it forked"))
    with pytest.raises(CopyRefused, match="no heap copy taken: needs 900 MiB"):
        run_in_copy(lambda: None)


def test_no_warning_of_the_fork_reaches_anybody():
    """Python 3.12 and later warn of a fork with threads; under ``-W error`` this must not raise either."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert run_in_copy(lambda: 5).value == 5
    finally:
        stop.set()
        thread.join()


def test_thread_locals_of_other_threads_live_on_in_the_copy():
    """The interpreter would destroy them after the fork, and their finalizers would run."""
    ran = run_program(
        """
        import gc, json, os, sys, tempfile, threading
        from cubicweb_leakwatch.heap.forked import run_with_pins
        path = tempfile.mktemp()
        class Kept:
            def __del__(self):
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        local, started, stop = threading.local(), threading.Event(), threading.Event()
        def work():
            local.kept = Kept()
            try:
                raise ValueError(Kept())
            except ValueError:
                started.set()
                stop.wait()
        thread = threading.Thread(target=work)
        thread.start()
        started.wait()
        gc.disable()  # what the process let go of is gone without a collection
        names = run_with_pins(lambda pins: sorted({f.f_code.co_name for f in pins.frames.values()})).value
        ran = os.path.exists(path)
        stop.set()
        thread.join()
        print(json.dumps({"ran": ran, "later": os.path.exists(path), "names": names}))
        """
    )
    assert ran == {"ran": False, "later": True, "names": ["pin", "wait"]}


def test_many_copies_leave_nothing_behind():
    """After a hundred copies: the same descriptors, threads and children, and no memory kept."""
    kept = run_program(
        """
        import json, os, threading
        from cubicweb_leakwatch.heap.forked import run_in_copy
        def figures():
            rss = int(open("/proc/self/statm").read().split()[1]) * 4096
            return [rss, len(os.listdir("/proc/self/fd")), threading.active_count()]
        for _ in range(20):
            run_in_copy(lambda: 1)
        before = figures()
        for _ in range(100):
            run_in_copy(lambda: 1)
        after = figures()
        try:
            os.waitpid(-1, os.WNOHANG)
            children = 1
        except ChildProcessError:
            children = 0
        print(json.dumps([after[0] - before[0], after[1] - before[1], after[2] - before[2], children]))
        """,
        warnings="ignore",
    )
    assert kept[0] < 1 << 20
    assert kept[1:] == [0, 0, 0]


def children() -> str:
    """Return the process's children as the kernel lists them."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()
