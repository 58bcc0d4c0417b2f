"""Which looping task leaks, from what its runs were weighed to leave behind."""

import sched
import time

from cubicweb_leakwatch.looping import count_tasks, task_name
from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.conclude import conclude

KEPT: list[list[int]] = []


def leaking_task() -> None:
    """Keep a thousand lists."""
    KEPT.extend([number] for number in range(1000))


def harmless_task() -> None:
    """Keep nothing."""
    [str(number) for number in range(1000)]


def samples() -> list[Sample]:
    """Return a scheduler's: two tasks at a steady pace, one leaves 500 blocks a run."""
    return [
        Sample(
            t=60.0 * i,
            rss=100_000_000 + 40_000 * i + 5_000 * (i % 7),
            process="scheduler",
            pid=7,
            python_blocks=300_000 + 500 * i + 20 * (i % 3),
            gc_objects=100_000 + 100 * i,
            tasks={
                "cube.poll": {"runs": i, "blocks": 500 * i + 10 * (i % 2), "malloc": 0},
                "cube.clean": {"runs": 2 * i, "blocks": 30 * (i % 2) - 15, "malloc": 0},
            },
        )
        for i in range(120)
    ]


def test_the_task_that_leaves_memory_behind_is_named_alone():
    """Both run at a steady pace; only the weighed blocks tell them apart."""
    found = conclude(samples())
    assert [view.view for view in found.views] == ["task cube.poll"]
    assert 0.9 < found.views[0].share <= 1
    assert 35_000 < found.views[0].bytes_per_request < 45_000
    assert "a run" in found.advice


def test_runs_are_counted_and_weighed():
    """A scheduler's tasks are counted from when it is asked for, each with what its runs left behind."""
    scheduler, state = sched.scheduler(time.monotonic, time.sleep), ProcessState("scheduler", "scheduler")
    count_tasks(scheduler, state)
    for _ in range(3):
        scheduler.enter(0, 1, leaking_task)
        scheduler.enter(0, 1, harmless_task)
    scheduler.run()
    leaking, harmless = (state.tasks[task_name(task)] for task in (leaking_task, harmless_task))
    KEPT.clear()
    assert leaking["runs"] == harmless["runs"] == 3
    assert leaking["blocks"] > 2500
    assert abs(harmless["blocks"]) < 500


def test_a_task_that_fails_is_counted_too():
    """Whatever it raises reaches the scheduler as before."""
    scheduler, state = sched.scheduler(time.monotonic, time.sleep), ProcessState("scheduler", "scheduler")
    count_tasks(scheduler, state)
    scheduler.enter(0, 1, int, argument=("no number",))
    try:
        scheduler.run()
    except ValueError:
        assert state.tasks["builtins.int"]["runs"] == 1
    else:
        raise AssertionError("the error was swallowed")
