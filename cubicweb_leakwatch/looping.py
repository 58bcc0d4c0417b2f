"""Counting the runs of looping tasks, and what each of them leaves behind.

A looping task runs at its own steady pace, as time itself does: no regression tells tasks apart by their runs alone.
But they run one after the other, in one thread, so each can be weighed while it runs. What a task leaves for the
collector is laid to it, and what a collection frees meanwhile to its credit: that evens out over many runs.
"""

import functools
import sched
import sys
from collections.abc import Callable
from typing import Any

from cubicweb_leakwatch.probe.meters import malloc_figures
from cubicweb_leakwatch.probe.process import ProcessState

_OURSELVES = "cubicweb_leakwatch."


def count_tasks(scheduler: sched.scheduler, state: ProcessState) -> None:
    """Have every task that ``scheduler`` runs from now on counted in ``state``.

    A task that is in its queue already is counted from its second run on: it enters itself again.
    """
    enter = scheduler.enter

    def enter_counted(delay: float, priority: float, action: Callable[..., Any], *rest: Any, **named: Any) -> Any:
        return enter(delay, priority, _counted(action, state), *rest, **named)

    scheduler.enter = enter_counted  # type: ignore[method-assign] # of this one scheduler


def task_name(action: Callable[..., Any]) -> str:
    """Return what a task is called: its module and name."""
    module = getattr(action, "__module__", None) or "?"
    return f"{module}.{getattr(action, '__qualname__', type(action).__name__)}"


def _counted(action: Callable[..., Any], state: ProcessState) -> Callable[..., Any]:
    name = task_name(action)
    if name.startswith(_OURSELVES):
        return action

    @functools.wraps(action)
    def run(*arguments: Any, **named: Any) -> Any:
        blocks, malloc = _held()
        try:
            return action(*arguments, **named)
        finally:
            blocks_now, malloc_now = _held()
            state.count_task(name, blocks_now - blocks, malloc_now - malloc)

    return run


def _held() -> tuple[int, int]:
    """Return the blocks that Python holds and the bytes that malloc has given out."""
    figures = malloc_figures()
    return sys.getallocatedblocks(), figures[0] if figures else 0
