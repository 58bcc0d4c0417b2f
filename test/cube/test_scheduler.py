"""The scheduler stops between two tasks, and only there."""

import os
import sched
import signal
import threading
import time

import pytest

from cubicweb_leakwatch.scheduler import StopAsked, StopSwitch, main, run_until_stopped


@pytest.fixture
def switch(monkeypatch):
    """A switch that SIGTERM presses, for the time of a test."""
    pressed = StopSwitch()
    before = signal.signal(signal.SIGTERM, pressed.press)
    yield pressed
    signal.signal(signal.SIGTERM, before)


def test_a_running_task_is_finished_first(switch):
    """SIGTERM in the middle of a task lets it end; the next one is not begun."""
    done = []

    def task():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("whole")

    tasks = sched.scheduler(time.monotonic, switch.wait)
    tasks.enter(0, 1, task)
    tasks.enter(0, 2, lambda: done.append("next"))
    run_until_stopped(tasks.run, switch)
    assert done == ["whole"]


def test_waiting_for_the_next_task_ends_at_once(switch):
    """A scheduler whose next task is an hour away stops when it is told to."""
    tasks = sched.scheduler(time.monotonic, switch.wait)
    tasks.enter(3600, 1, lambda: None)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    run_until_stopped(tasks.run, switch)
    timer.join()
    assert len(tasks.queue) == 1


def test_without_any_task_it_waits_for_the_stop(switch):
    """An instance without looping tasks has a scheduler that idles, not one that ends and is started again."""
    runs = []
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
    run_until_stopped(lambda: runs.append(1), switch)
    assert runs == [1]


def test_a_stop_asked_for_earlier_is_not_forgotten(switch):
    """SIGTERM while the instance still boots stops it as soon as it would wait."""
    switch.press()
    with pytest.raises(StopAsked):
        switch.wait(0)


def test_pressing_it_again_and_again_is_harmless(switch):
    """A service manager that repeats the signal neither blocks the handler nor fails it."""
    for _time in range(70_000):
        switch.press()
    with pytest.raises(StopAsked):
        switch.wait(10)


def test_it_says_how_it_is_used(capsys):
    """Without an instance there is a line of usage and the exit code of a configuration error."""
    assert main([]) == 4
    assert "INSTANCE" in capsys.readouterr().err
