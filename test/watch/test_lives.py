"""Which samples belong together, and where a process was replaced by another."""

import dataclasses

import numpy as np

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.lives import in_order, lineages, split_lives

MIB = 1024 * 1024


def series(rss: list[int], **fields: list[int] | str) -> list[Sample]:
    """Return a sample a minute with the RSS given, and other fields as columns."""
    columns = {name: [value] * len(rss) if isinstance(value, str) else value for name, value in fields.items()}
    return [
        Sample(t=60.0 * i, rss=value, **{name: column[i] for name, column in columns.items()})
        for i, value in enumerate(rss)
    ]


def lengths(samples: list[Sample]) -> list[int]:
    """Return how many samples each life has."""
    return [len(life) for life in split_lives(samples)]


def test_another_pid_is_another_life() -> None:
    """Whatever the memory does."""
    assert lengths(series([100] * 6, pid=[1, 1, 1, 2, 2, 3])) == [3, 2, 1]


def test_fewer_requests_than_before_are_another_life() -> None:
    """The count starts again with the process, where no pid is recorded."""
    assert lengths(series([100] * 5, requests=[10, 20, 30, 5, 15])) == [3, 2]


def test_the_same_pid_stays_one_life_whatever_falls() -> None:
    """Memory given back is no restart."""
    assert lengths(series([100, 900, 100, 100], pid=[1] * 4)) == [4]


def test_without_pid_a_fall_after_a_slow_rise_is_a_restart() -> None:
    """A leak that was restarted looks like this; a batch that ended does not."""
    slow = [100 + 10 * i for i in range(30)] + [100 + 10 * i for i in range(10)]
    assert lengths(series(slow)) == [30, 10]
    batch = [100] * 30 + [400] * 3 + [100] * 10
    assert lengths(series(batch)) == [43]


def test_a_moment_counts_once() -> None:
    """Of two lines for one moment the last one read counts."""
    first = Sample(t=1.0, rss=5)
    assert in_order([first, Sample(t=0.0, rss=1), dataclasses.replace(first, rss=6)]) == [
        Sample(t=0.0, rss=1),
        Sample(t=1.0, rss=6),
    ]


def test_a_clock_set_back_leaves_no_hole_and_no_overlap() -> None:
    """What came later in the file comes later in time."""
    trace = series(list(range(100, 140)))
    back = [s if i < 20 else dataclasses.replace(s, t=s.t - 900) for i, s in enumerate(trace)]
    assert [s.rss for s in in_order(back)] == list(range(100, 140))
    assert set(np.diff([s.t for s in in_order(back)])) == {60.0}


def test_lines_in_disorder_are_sorted() -> None:
    """No clock goes back every other line."""
    trace = series(list(range(100, 140)))
    assert in_order(trace[::-1]) == trace


def test_a_successor_that_overlaps_is_the_same_slot() -> None:
    """While the old worker drains both are sampled for a moment."""
    old, new = series([100] * 30, process="web-1", pid=[1] * 30), series([100] * 30, process="web-1", pid=[2] * 30)
    new = [dataclasses.replace(s, t=s.t + 28.5 * 60) for s in new]
    assert list(lineages([*old, *new])) == ["web-1"]


def test_two_pids_side_by_side_are_two_processes() -> None:
    """Also when they go by the same name."""
    old, new = series([100] * 30, process="web-1", pid=[1] * 30), series([100] * 30, process="web-1", pid=[2] * 30)
    assert sorted(lineages([*old, *new])) == ["web-1 (pid 1)", "web-1 (pid 2)"]


def test_a_sample_without_a_name_goes_by_its_pid() -> None:
    """The name is known from other lines of that pid."""
    named = series([100] * 3, process="web-1", pid=[7] * 3)
    bare = [dataclasses.replace(s, t=s.t + 600, process="") for s in named]
    assert {name: len(members) for name, members in lineages([*named, *bare]).items()} == {"web-1": 6}
    assert list(lineages(bare)) == ["7"]
