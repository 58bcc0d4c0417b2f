"""What has been given back is not leaked."""

import numpy as np
import pytest

from cubicweb_leakwatch.watch.arithmetic import least_ahead, normal_below, sen_slope
from cubicweb_leakwatch.watch.conclude import conclude
from cubicweb_leakwatch.watch.givenback import floor_of
from cubicweb_leakwatch.watch.load import without_load

from .traces import MIB, line, samples, saturating

N = 400
NOISE = np.random.default_rng(1).normal(0, 1, N)
MINUTES = np.arange(N) * 60.0
ONE_LIFE = np.zeros(N, np.int64)


def test_a_quiet_meter_stays_as_it_is() -> None:
    """Nothing fell, so nothing is changed and all is proven."""
    floor, proven = floor_of(1000 + NOISE, 1.0)
    assert (proven == 1).all() and np.allclose(floor, 1000 + NOISE)


def test_a_leak_is_not_cut() -> None:
    """What only rises has not been given back."""
    rising = 1000 + NOISE + np.arange(N)
    floor, proven = floor_of(rising, 1.0)
    assert (proven == 1).all() and np.allclose(floor, rising, atol=5)


def test_a_sawtooth_has_a_flat_floor() -> None:
    """And the tooth that has not fallen yet proves nothing."""
    tooth = 1000 + 200 * ((np.arange(N) / 90) % 1) + NOISE
    floor, proven = floor_of(tooth, 1.0)
    assert np.ptp(floor[proven > 0]) < 30 and not proven[-20:].any()


def test_the_floor_under_a_sawtooth_rises_with_a_leak() -> None:
    """By as much as leaks."""
    tooth = 1000 + 200 * ((np.arange(N) / 40) % 1) + np.arange(N) + NOISE
    floor, proven = floor_of(tooth, 1.0)
    assert abs(sen_slope(np.flatnonzero(proven > 0).astype(float), floor[proven > 0]) - 1) < 0.15


def test_the_floor_under_teeth_on_a_leak_is_no_stair() -> None:
    """Between two bottoms nothing is known, so the way is straight, and few points stand for it."""
    tooth = 1000 + 200 * ((np.arange(N) / 40) % 1) + np.arange(N) + NOISE
    floor, proven = floor_of(tooth, 1.0)
    at = np.flatnonzero((proven > 0) & (np.arange(N) > 40))
    line = np.polyfit(at, floor[at], 1)
    assert len(at) < N / 4 and np.abs(floor[at] - np.polyval(line, at)).max() < 5


def test_a_rise_far_above_all_before_counts_at_once() -> None:
    """One need not wait until it might have fallen."""
    rise = 1000 + 100 * ((np.arange(N) / 40) % 1) + np.maximum(0, np.arange(N) - 350) * 20.0 + NOISE
    _, proven = floor_of(rise, 1.0)
    assert proven[-1]


def test_a_glitch_of_a_sample_is_smoothed_away() -> None:
    """One wild number is no measurement of memory."""
    glitch = 1000 + NOISE
    glitch[100] = 9000
    assert floor_of(glitch, 1.0)[0].max() < 1010


def test_the_least_ahead_looks_as_far_as_told() -> None:
    """Against the plain definition."""
    for ahead in (1, 2, 5, 17, 500):
        expected = [NOISE[i : i + ahead + 1].min() for i in range(N)]
        assert np.allclose(least_ahead(NOISE, ahead), expected)


def test_what_follows_the_load_is_taken_out_and_the_trend_left() -> None:
    """A meter of load and leak becomes one of the leak."""
    rng = np.random.default_rng(2)
    rate = 100 + 50 * np.sin(np.arange(N) / 15)
    requests = np.cumsum(rng.poisson(rate)).astype(float)
    leak = 2.0 * np.arange(N)
    adjusted = without_load(MINUTES, ONE_LIFE, requests, 1000 + 3 * rate + leak + NOISE)
    assert np.std(adjusted - leak) < 0.35 * np.std(3 * rate)
    assert abs(sen_slope(np.arange(N) * 1.0, adjusted) - 2) < 0.1


def test_a_load_that_explains_nothing_changes_nothing() -> None:
    """Not even when it rises as the leak does."""
    requests = np.cumsum(np.arange(N)).astype(float)
    leak = 1000 + 2.0 * np.arange(N) + NOISE
    assert abs(sen_slope(np.arange(N) * 1.0, without_load(MINUTES, ONE_LIFE, requests, leak)) - 2) < 0.2


def test_the_normal_distribution_is_the_normal_distribution() -> None:
    """At the points every table has."""
    assert np.allclose(
        normal_below(np.array([-1.959964, 0.0, 1.0, 1.959964])), [0.025, 0.5, 0.841345, 0.975], atol=1e-6
    )


def test_a_lone_high_value_at_the_end_is_no_growth() -> None:
    """A batch may just have begun, as those before it, which came back."""
    batches = np.zeros(144)
    batches[[51, 60, 85, 135, 143]] = 100 * MIB
    assert conclude(samples(144, rss=batches, gc_objects=batches / 400, python_blocks=batches / 90)).kind == "steady"


def test_a_leak_that_begins_after_a_batch_is_said() -> None:
    """How long a batch took does not depend on when, long after it, memory happened to be lowest."""
    grown = line(1000, 50 * MIB, 0.78)
    for first in (40, 390, 740):
        grown[first : first + 30] += 80 * MIB
    grown[150:300] -= 0.5 * MIB
    assert conclude(samples(1000, rss=grown, gc_objects=grown / 400, python_blocks=grown / 90)).kind == "python-objects"


@pytest.mark.parametrize("n", [40, 52, 60, 90])
def test_memory_that_the_teeth_of_a_collector_take_is_no_free_memory(n: int) -> None:
    """RSS went up with the first of them and stayed, and objects come back to it again and again."""
    in_teeth = 180 * MIB * ((np.arange(n) / 10) % 1)
    kept = np.where(np.arange(n) < 10, in_teeth, 162 * MIB + 0.1 * in_teeth)
    said = conclude(samples(n, rss=kept, gc_objects=in_teeth / 200, python_blocks=in_teeth / 90))
    assert said.kind in (("steady", "plateau") if n < 60 else ("steady",))


def test_a_leak_beneath_teeth_of_a_few_samples_is_said() -> None:
    """Their height is no noise: from one sample to the next little changes, but for the falls."""
    more = 100 * MIB * ((np.arange(150) / 7.3) % 1) + line(150, 80 * MIB)
    assert conclude(samples(150, rss=more, gc_objects=more / 2000, python_blocks=more / 90)).kind == "python-objects"


def test_a_cache_that_fills_beneath_teeth_is_a_plateau() -> None:
    """What stayed of the first rise is more than what comes and goes since."""
    teeth = 40 * MIB * ((np.arange(300) / 60) % 1)
    more = teeth + saturating(300, 90 * MIB, 0.06)
    assert conclude(samples(300, rss=more, gc_objects=more / 400, python_blocks=more / 90)).kind == "plateau"


def test_growth_within_the_teeth_goes_on_at_no_rate() -> None:
    """RSS creeps up for sure, by less than it falls again and again."""
    in_teeth = 180 * MIB * ((np.arange(45) / 10) % 1)
    kept = np.where(np.arange(45) < 10, in_teeth, 162 * MIB + 0.25 * in_teeth) + line(45, 9 * MIB)
    said = conclude(samples(45, rss=kept, gc_objects=in_teeth / 200, python_blocks=in_teeth / 90))
    assert (said.kind, said.rate_bytes_per_h) == ("steady", 0.0) and said.rate_low <= 0
