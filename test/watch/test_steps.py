"""Growth by steps: a leak in bursts goes on, the pages of a cache that fills come less and less often."""

import numpy as np
import pytest

from cubicweb_leakwatch.watch.conclude import conclude
from cubicweb_leakwatch.watch.steps import Stair, stair_of

from .traces import MIB, samples

N = 140
T = 60.0 * np.arange(N)


def stair(places: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a stair with a step of 1 to 3 MiB at each place (0..1), under noise of 0.05."""
    rng = np.random.default_rng(seed)
    heights = rng.uniform(1, 3, len(places)) * MIB
    return (heights[:, None] * (np.arange(N)[None, :] >= places[:, None] * N)).sum(axis=0) + rng.normal(0, MIB / 20, N)


def judged(y: np.ndarray) -> Stair | None:
    """Return what is said of a meter of one life."""
    return stair_of(T, y, MIB / 100)


@pytest.mark.parametrize("seed", range(4))
def test_steps_at_an_even_pace_go_on(seed: int) -> None:
    """Bursts at any time: the rate is all that they came to, by the time."""
    places = np.random.default_rng(seed).uniform(0.06, 1, 25)
    found = judged(stair(places, seed))
    assert found is not None
    assert found.rate - 2 * found.deviation < 50 * MIB / T[-1] < found.rate + 2 * found.deviation


@pytest.mark.parametrize("seed", range(4))
def test_steps_that_become_rare_have_an_end(seed: int) -> None:
    """Each page of a site costs something the first time it is shown."""
    assert judged(stair(0.05 + np.random.default_rng(seed).exponential(0.12, 25), seed)) is None


def test_steps_that_became_low_or_stopped_have_an_end() -> None:
    """Many more steps of a tenth the height are no leak that goes on; nor is a quiet second half."""
    places = np.linspace(0.06, 0.98, 40)
    falling = np.where(places < 0.4, 1.0, 0.05) * MIB
    assert judged((falling[:, None] * (np.arange(N)[None, :] >= places[:, None] * N)).sum(axis=0)) is None
    assert judged(stair(np.linspace(0.06, 0.5, 30))) is None


def even_stair(places: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Return a stair with steps of so many MiB at these places."""
    noise = np.random.default_rng(3).normal(0, MIB / 50, N)
    return (heights[:, None] * MIB * (np.arange(N)[None, :] >= places[:, None] * N)).sum(axis=0) + noise


def test_few_steps_that_are_all_alike_go_on() -> None:
    """A task that leaks the same each night has done so five times: that is no cache, and no chance."""
    nights = np.linspace(0.12, 0.88, 6)
    found = judged(even_stair(nights, np.full(6, 8.0)))
    assert found is not None
    assert abs(found.rate * 60 * N - 8 * MIB / (nights[1] - nights[0])) < MIB * 8


@pytest.mark.parametrize("change", ["lower", "rarer", "overdue", "fewer"])
def test_few_steps_that_are_not_alike_tell_nothing(change: str) -> None:
    """Steps that become lower or rarer, or have not come for longer than they do, may be over; four may be chance."""
    nights, heights = np.linspace(0.12, 0.88, 6), np.full(6, 8.0)
    if change == "lower":
        heights = np.array([16.0, 12.0, 9.0, 7.0, 5.0, 4.0])
    elif change == "rarer":
        nights = np.array([0.08, 0.14, 0.24, 0.38, 0.58, 0.88])
    elif change == "overdue":
        nights = nights * 0.7
    else:
        nights, heights = np.linspace(0.12, 0.88, 4), np.full(4, 8.0)
    assert judged(even_stair(nights, heights)) is None


def test_what_goes_up_and_down_is_no_stair() -> None:
    """Batches that come and go, a wander, a straight line, a few steps, nothing at all."""
    rng = np.random.default_rng(1)
    batches = 20 * MIB * (np.arange(N) % 14 < 3)
    wander = np.cumsum(rng.normal(0, MIB, N))
    for y in (batches, wander, stair(np.array([0.2, 0.5, 0.8])), np.zeros(N)):
        assert judged(y.astype(float)) is None
    assert stair_of(T[:3], T[:3], 1.0) is None


def test_a_leak_in_bursts_is_said() -> None:
    """No smooth shape fits it; objects and memory go up together, at any time."""
    more = stair(np.random.default_rng(7).uniform(0.06, 1, 30), 7)
    assert conclude(samples(N, rss=more, gc_objects=more / 400, python_blocks=more / 90)).kind == "python-objects"
