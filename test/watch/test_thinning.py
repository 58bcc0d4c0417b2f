"""Which snapshots are kept, merged and deleted."""

import pytest

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.watch.thinning import DAY_S, HOUR_S, Keep, Spread, parse_keep, spread, thin

KEEP = Keep(7 * DAY_S, 90 * DAY_S, 730 * DAY_S)
NOW = 20_000 * DAY_S + 1234


def test_the_option_is_read() -> None:
    """The default of leakwatch-keep means seven days, ninety days, two years."""
    assert parse_keep("fine=7d,hourly=90d,daily=2y") == KEEP


def test_a_level_left_out_ends_with_the_one_before() -> None:
    """Without coarse levels, what is older than the fine one goes."""
    assert parse_keep("fine=7d") == Keep(7 * DAY_S, 7 * DAY_S, 7 * DAY_S)


@pytest.mark.parametrize("text", ["", "7d", "fine=", "weekly=7d", "fine=7d,fine=8d", "fine=7d,hourly=1d", "fine=soon"])
def test_a_bad_option_is_refused(text: str) -> None:
    """Nothing is deleted on a guess."""
    with pytest.raises(ConfigurationError):
        parse_keep(text)


def test_recent_snapshots_stay_as_they_are() -> None:
    """Within the fine level nothing is touched."""
    plan = thin([NOW - n * 60 for n in range(7 * 1440)], NOW, KEEP)
    assert plan.delete == () and plan.merges == ()


def test_older_ones_become_one_an_hour_then_one_a_day_then_nothing() -> None:
    """Each level begins where the one before ends."""
    times = [NOW - n * 600.0 for n in range(int(800 * DAY_S / 600))]
    plan = thin(times, NOW, KEEP)
    lengths = [merge.length_s for merge in plan.merges]
    assert abs(lengths.count(HOUR_S) - 83 * 24) <= 24 and abs(lengths.count(DAY_S) - 640) <= 1
    assert all(times[index] < NOW - 730 * DAY_S for index in plan.delete)
    assert len(plan.delete) == sum(t < NOW - 730 * DAY_S for t in times)


def test_every_snapshot_goes_to_one_place_at_most() -> None:
    """Nothing is merged twice, nor merged and deleted."""
    plan = thin([NOW - n * 3000.0 for n in range(30_000)], NOW, KEEP)
    moved = [index for merge in plan.merges for index in merge.indexes] + list(plan.delete)
    assert len(moved) == len(set(moved))


def test_a_second_run_has_nothing_to_do() -> None:
    """Thinning its own result changes nothing."""
    times = [NOW - n * 600.0 for n in range(100_000)]
    plan = thin(times, NOW, KEEP)
    gone = {index for merge in plan.merges for index in merge.indexes} | set(plan.delete)
    left = [t for index, t in enumerate(times) if index not in gone] + [merge.start for merge in plan.merges]
    again = thin(left, NOW, KEEP)
    assert again.merges == () and {left[index] for index in again.delete} <= {min(left)}


def test_a_merge_keeps_lowest_mean_and_highest() -> None:
    """A peak of ten minutes is still there after a year."""
    assert spread([1.0, None, 2.0, 9.0]) == Spread(4.0, 1.0, 9.0, 3)


def test_merged_ones_are_merged_by_their_weight() -> None:
    """The mean of a day is the mean of its snapshots, not of its hours."""
    assert spread([Spread(10.0, 5.0, 20.0, 3), 2.0]) == Spread(8.0, 2.0, 20.0, 4)


def test_nothing_known_stays_unknown() -> None:
    """No zero is invented."""
    assert spread([None, None]) is None
