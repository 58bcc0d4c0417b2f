"""Whatever is recorded, there is an answer and no exception; and the answer is never a leak of a flat line."""

import random
import warnings

import pytest

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.conclude import conclude, conclude_all


def odd_samples(seed: int) -> list[Sample]:
    """Return samples with gaps, repeats, jumps, pids that change and meters that come and go."""
    rng = random.Random(seed)
    t, found, pid = 1000.0, [], 1
    for _ in range(rng.choice([0, 1, 9, 12, 30, 70, 150])):
        t += rng.choice([0, 1, 1, 60, 60, 60, 86400, -500])
        pid += rng.random() < 0.05
        meters = {
            name: rng.choice([None, 0, 7, 10**6]) for name in ("python_blocks", "gc_objects", "malloc_used", "fds")
        }
        served = rng.choice([None, 0, 10**9])
        types = rng.choice([None, {}, {"a.B": rng.randrange(9)}])
        rss = rng.choice([1, 4096, 10**8, 10**12])
        found.append(
            Sample(t=t, rss=rss, pid=rng.choice([pid, None]), requests=served, types=types, views=types, **meters)
        )
    return found


@pytest.mark.parametrize("seed", range(25))
def test_odd_histories_get_an_answer(seed: int) -> None:
    """No exception, no warning from the arithmetic, a known kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for finding in [conclude(odd_samples(seed)), *conclude_all(odd_samples(seed))]:
            assert finding.advice and 0 <= finding.confidence <= 1


@pytest.mark.parametrize("n", [10, 20, 60, 500])
def test_a_flat_line_is_steady(n: int) -> None:
    """Every meter constant: nothing grows."""
    still = {"rss": 10**8, "gc_objects": 10**5, "python_blocks": 10**6, "malloc_used": 10**7, "fds": 9, "threads": 4}
    finding = conclude([Sample(t=60.0 * i, pid=1, requests=i, **still) for i in range(n)])
    assert finding.kind == "steady" and finding.rate_bytes_per_h == 0


def test_one_moment_repeated_is_not_enough() -> None:
    """A thousand lines of the same second say nothing about growth."""
    assert conclude([Sample(t=5.0, rss=i) for i in range(1, 1000)]).kind == "not-enough-data"


def test_a_gap_of_a_month_is_a_gap() -> None:
    """Growth before and after it, at the same pace in samples, is still found."""
    times = [60.0 * i + (30 * 86400 if i >= 100 else 0) for i in range(200)]
    trace = [Sample(t=t, pid=1 if i < 100 else 2, rss=10**8 + (i % 100) * 10**6) for i, t in enumerate(times)]
    assert conclude(trace).leak
