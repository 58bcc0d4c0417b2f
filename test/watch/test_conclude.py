"""What is concluded from a process's history."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.conclude import _seconds_to_limit, conclude, conclude_all
from cubicweb_leakwatch.watch.finding import LEAKS, Event
from cubicweb_leakwatch.watch.kinds import judge
from cubicweb_leakwatch.watch.meters import Meters
from cubicweb_leakwatch.watch.series import history_of

from .traces import BASE, MIB, START, line, samples, saturating

N = 300
HOURS = N * 60 / 3600


def grown(total: float, **more: float) -> dict[str, np.ndarray]:
    """Return meters in which RSS grows by ``total`` bytes and others by so much of a unit a byte."""
    return {"rss": line(N, total), **{name: line(N, total * each) for name, each in more.items()}}


@pytest.mark.parametrize(
    ("kind", "meters"),
    [
        ("steady", {}),
        ("python-objects", grown(60 * MIB, gc_objects=1 / 400, python_blocks=1 / 90, malloc_used=0.1)),
        ("uncollectable", grown(60 * MIB, gc_objects=1 / 400, garbage=1 / 4000, python_blocks=1 / 90)),
        ("python-memory", grown(60 * MIB, python_blocks=1 / 90)),
        ("native", grown(60 * MIB, malloc_used=1.0)),
        ("fragmentation", grown(60 * MIB, malloc_free=1.0)),
        ("fragmentation", grown(60 * MIB)),
        ("file-descriptors", {"fds": line(N, 200), "rss": line(N, 2 * MIB)}),
        ("threads", {"threads": line(N, 100), "rss": line(N, 10 * MIB), "malloc_used": line(N, 10 * MIB)}),
    ],
)
def test_the_meter_that_grows_tells_the_kind(kind: str, meters: dict[str, np.ndarray]) -> None:
    """Each kind shows in its own meter."""
    finding = conclude(samples(N, **meters))
    assert finding.kind == kind, finding.evidence
    assert finding.advice


def test_the_true_rate_lies_in_the_interval() -> None:
    """Sixty MiB in five hours are twelve an hour."""
    finding = conclude(samples(N, **grown(60 * MIB, gc_objects=1 / 400)))
    assert finding.rate_low is not None and finding.rate_high is not None and finding.rate_bytes_per_h is not None
    assert finding.rate_low <= 60 * MIB / HOURS <= finding.rate_high
    assert math.isclose(finding.rate_bytes_per_h, 60 * MIB / HOURS, rel_tol=0.05)


def test_connections_of_requests_that_wait_are_no_leak_of_descriptors() -> None:
    """A worker that cannot keep up has more and more of them, one for each request in flight."""
    waiting = [int(each) for each in line(N, 60)]
    assert conclude(samples(N, fds=np.array(waiting), in_flight=waiting)).kind == "steady"
    assert conclude(samples(N, fds=line(N, 60), in_flight=[3] * N)).kind == "file-descriptors"


def test_a_filled_cache_is_a_plateau_with_its_ceiling() -> None:
    """Growth that came to an end is no leak, and one is told where it ends."""
    more = saturating(N, 60 * MIB, 0.12)
    finding = conclude(samples(N, rss=more, gc_objects=more / 400, python_blocks=more / 90))
    assert finding.kind == "plateau" and not finding.leak
    assert finding.ceiling is not None and math.isclose(finding.ceiling, BASE + 60 * MIB, rel_tol=0.03)


def test_a_cache_still_filling_is_warming_up() -> None:
    """Growth that slows down without an end in sight is neither a plateau nor a leak."""
    more = saturating(N, 120 * MIB, 0.7)
    assert conclude(samples(N, rss=more, gc_objects=more / 400, python_blocks=more / 90)).kind == "warming-up"


def test_a_start_long_over_is_steady() -> None:
    """Imports of the first minutes are forgotten after hours."""
    more = saturating(N, 60 * MIB, 0.01)
    assert conclude(samples(N, rss=more, gc_objects=more / 400, python_blocks=more / 90)).kind == "steady"


def test_a_high_water_mark_is_no_leak() -> None:
    """A batch used much memory once; the allocator keeps it, free."""
    kept = 80 * MIB * (np.arange(N) > 140)
    assert conclude(samples(N, rss=kept, malloc_free=kept)).kind == "fragmentation"


def test_a_collector_that_runs_rarely_makes_no_leak() -> None:
    """What is given back each time has not leaked, even at the end of a tooth."""
    tooth = 40 * MIB * ((np.arange(N) / 70) % 1)
    finding = conclude(samples(N, rss=tooth, gc_objects=tooth / 400, python_blocks=tooth / 90))
    assert not finding.leak


def test_sawteeth_after_a_start_much_higher_than_they_are_make_no_leak() -> None:
    """A process grows to three times its size, and from then on rises and falls by a sixth of that."""
    n = 60
    teeth = np.arange(n) % 9 / 9 * 40 * MIB
    start = np.minimum(1.0, np.arange(n) / 5) * 170 * MIB
    objects, blocks = start / 400 + teeth / 100, start / 90 + teeth / 40
    assert conclude(samples(n, rss=start + teeth, gc_objects=objects, python_blocks=blocks)).kind == "steady"


def test_a_rise_as_those_given_back_before_the_restart_is_no_leak() -> None:
    """The newest life has only risen so far; the one before it rose as far, time and again."""
    tooth = np.arange(240) % 60 * (80 * MIB / 60)
    pid = [1] * 180 + [2] * 60
    rise = samples(240, rss=tooth, gc_objects=tooth / 400, python_blocks=tooth / 90, pid=pid)
    assert not conclude(rise).leak
    assert conclude(rise[180:]).leak


def test_a_leak_under_a_sawtooth_is_found() -> None:
    """The floor rises although every tooth falls back."""
    more = 40 * MIB * ((np.arange(N) / 17) % 1) + line(N, 80 * MIB)
    finding = conclude(samples(N, rss=more, gc_objects=more / 400, python_blocks=more / 90))
    assert finding.kind == "python-objects"


def test_a_start_within_one_sample_hides_no_leak() -> None:
    """Imports between the first two samples, then strings that leak: the blocks tell, the start does not bend them."""
    n = 80
    start = np.minimum(np.arange(n), 1)
    leak = line(n, 30.0) * MIB
    found = conclude(
        samples(n, rss=start * 40 * MIB + leak, python_blocks=start * 200_000 + leak / 500, gc_objects=start * 60_000)
    )
    assert found.kind == "python-memory"


def test_restarts_of_a_cache_that_fills_each_time_are_how_a_process_starts() -> None:
    """The newest life has only just filled it: those before it tell that it always does."""
    lives = [saturating(length, 30 * MIB, 12 / length) for length in (150, 150, 70)]
    rss = np.concatenate(lives)
    pids = [number for number, life in enumerate(lives, 1) for _ in life]
    found = conclude(samples(len(rss), rss=rss, gc_objects=rss / 300, python_blocks=rss / 80, pid=pids))
    assert found.kind == "steady"


def test_a_daily_wave_is_no_leak() -> None:
    """Not on the rising side of the last day either."""
    n = 700
    wave = 30 * MIB * np.sin(np.arange(n) * 300 / 86400 * 2 * np.pi)
    assert not conclude(samples(n, 300.0, rss=wave, gc_objects=wave / 400, python_blocks=wave / 90)).leak


def test_growth_over_restarts_is_one_leak() -> None:
    """Each life starts small again and grows as the one before."""
    more = np.concatenate([line(75, 40 * MIB)] * 4)
    pids = np.repeat([11, 12, 13, 14], 75).tolist()
    finding = conclude(samples(N, rss=more, gc_objects=more / 400, python_blocks=more / 90, pid=pids))
    assert finding.kind == "python-objects"
    assert finding.rate_bytes_per_h is not None
    assert math.isclose(finding.rate_bytes_per_h, 40 * MIB / (75 / 60), rel_tol=0.1)


def test_a_leak_goes_on_over_a_restart_of_just_now() -> None:
    """The newest life is so short that its growth may be a start: those before it tell that it is the leak."""
    more = np.concatenate([line(100, 60 * MIB), line(100, 60 * MIB), line(25, 15 * MIB)])
    pids = [*[1] * 100, *[2] * 100, *[3] * 25]
    assert conclude(samples(225, rss=more, gc_objects=more / 400, pid=pids)).kind == "python-objects"


@pytest.mark.parametrize("events", [(), (Event(START + 3.5 * 60, "deployment", "1.0 → 1.1"),)])
def test_a_life_of_a_few_samples_says_nothing_of_the_next(events: tuple[Event, ...]) -> None:
    """A process replaced three samples after its start, by hand or by a deployment, is nothing to compare with."""
    trace = samples(150, pid=[1] * 4 + [2] * 146)
    assert conclude(trace, events=events).kind == "steady"


def test_a_deployment_that_fixed_the_leak_is_told() -> None:
    """Only what came after it counts, and before and after are compared."""
    more = np.concatenate([line(150, 60 * MIB), np.zeros(150)])
    trace = samples(N, rss=more, gc_objects=more / 400, pid=[1] * 150 + [2] * 150)
    finding = conclude(trace, events=[Event(START + 149.5 * 60, "deployment", "mercurial 6.9.5 → 7.2.4")])
    assert finding.kind == "steady" and finding.evidence["deployment"]["effect"] == "fixed"
    assert finding.evidence["deployment"]["rate_before_bytes_per_h"] > 20 * MIB


def test_a_fix_is_seen_without_being_told_of_the_deployment() -> None:
    """A long flat life after a leaking one settles it."""
    more = np.concatenate([line(150, 60 * MIB), np.zeros(150)])
    assert not conclude(samples(N, rss=more, gc_objects=more / 400, pid=[1] * 150 + [2] * 150)).leak


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_is_said_within_twenty_samples_of_its_bend(seed: int) -> None:
    """One MiB a sample, under noise of five, after a quiet history; and not before it begins."""
    n = 120
    noise = np.random.default_rng(seed).normal(0, 5 * MIB, n)
    leak = np.maximum(0, np.arange(n) - 99) * MIB
    trace = samples(n, rss=noise + leak, gc_objects=leak / 400, python_blocks=leak / 90)
    assert conclude(trace).leak and conclude(trace).confidence > 0.9
    assert not conclude(trace[:100]).leak


def test_rss_alone_is_enough_to_find_a_leak() -> None:
    """Without any other meter the kind is a guess, and the confidence says so."""
    finding = conclude(samples(N, rss=line(N, 60 * MIB), only=()))
    assert finding.leak and finding.confidence < 0.7
    assert "gc_objects" in str(finding.evidence["notes"])


def test_the_owner_comes_before_its_containers() -> None:
    """Three dictionaries an object do not make the dictionary the culprit, nor does what grew only at the start."""
    more = line(N, 60 * MIB)
    owned = (more / 2000).astype(int)
    start = np.minimum(5000, np.arange(N) * 500)
    types = [
        {"shop.Handler": int(o), "builtins.dict": 9000 + 3 * int(o), "shop.Page": int(s), "builtins.list": 500}
        for o, s in zip(owned, start, strict=True)
    ]
    finding = conclude(samples(N, rss=more, gc_objects=more / 500, types=types))
    assert finding.culprits[0].type == "shop.Handler"
    assert math.isclose(finding.culprits[0].objects_per_h, 60 * MIB / 2000 / HOURS, rel_tol=0.05)


def test_the_view_that_leaks_is_named_with_its_bytes() -> None:
    """Two other views run side by side with it and keep nothing."""
    rng = np.random.default_rng(3)
    mix = np.cumsum(rng.poisson(rng.uniform(5, 60, (N, 3))), axis=0)
    more = mix[:, 0] * 8192.0
    views = [{"report": int(a), "index": int(b), "edit": int(c)} for a, b, c in mix]
    requests = mix.sum(axis=1).tolist()
    finding = conclude(samples(N, rss=more, gc_objects=more / 400, views=views, requests=requests))
    assert [view.view for view in finding.views] == ["report"]
    assert finding.views[0].low <= 8192 <= finding.views[0].high and finding.views[0].share > 0.9


def test_the_view_is_named_by_the_culprits_own_count() -> None:
    """A quarter of all requests all the time, under what other pages leave behind for a while: still told from time."""
    rng = np.random.default_rng(4)
    mix = np.cumsum(rng.multinomial(30, (0.25, 0.35, 0.4), 80), axis=0)
    owned = 200 * mix[:, 0] + rng.integers(0, 400, 80)
    waiting = np.abs(rng.normal(0, 12_000, 80))
    finding = conclude(
        samples(
            80,
            rss=owned * 500.0 + waiting * 100,
            gc_objects=3 * owned + waiting,
            types=[{"shop.Entry": int(each), "builtins.dict": 9000 + int(each)} for each in owned],
            views=[{"report": int(a), "index": int(b), "edit": int(c)} for a, b, c in mix],
            requests=mix.sum(axis=1).tolist(),
        )
    )
    assert [view.view for view in finding.views] == ["report"]
    assert finding.views[0].low <= 200 * 500 <= finding.views[0].high


def test_no_view_is_named_that_may_as_well_be_another() -> None:
    """Two views that are always asked for together: which of them leaks nobody can tell."""
    rng = np.random.default_rng(5)
    asked = np.cumsum(rng.poisson(20, N))
    more = asked * 8192.0
    views = [{"report": int(each), "its picture": int(each), "index": 3 * i} for i, each in enumerate(asked)]
    finding = conclude(samples(N, rss=more, gc_objects=more / 400, views=views, requests=(2 * asked).tolist()))
    assert finding.leak and finding.views == ()


def test_the_time_left_follows_from_level_and_rate() -> None:
    """Twelve MiB an hour reach a limit sixty above the last level in five hours."""
    finding = conclude(samples(N, **grown(60 * MIB, gc_objects=1 / 400)), limit=BASE + 120 * MIB)
    assert finding.seconds_to_limit is not None and math.isclose(finding.seconds_to_limit, 5 * 3600, rel_tol=0.1)
    earliest, latest = finding.evidence["seconds_to_limit_95"]
    assert earliest < 5 * 3600 < latest


def test_a_plateau_under_the_limit_never_reaches_it() -> None:
    """No time is predicted for what does not happen."""
    more = saturating(N, 60 * MIB, 0.12)
    assert conclude(samples(N, rss=more, gc_objects=more / 400), limit=BASE + 90 * MIB).seconds_to_limit is None


def test_a_plateau_above_the_limit_has_reached_it() -> None:
    """Now, even where nothing at all is still to come (which was a division by zero)."""
    more = saturating(N, 60 * MIB, 0.12)
    assert conclude(samples(N, rss=more, gc_objects=more / 400), limit=BASE + 30 * MIB).seconds_to_limit == 0
    over = SimpleNamespace(growth=0.0, left=0.0, since=0.0, until=60.0, end_share=1.0)
    meters: Any = SimpleNamespace(by_name={"rss": SimpleNamespace(level=2.0 * MIB, trend=over)})
    plateau: Any = SimpleNamespace(kind="plateau")
    assert _seconds_to_limit(meters, meters.by_name["rss"].trend, MIB, plateau) == 0


def test_pythonmalloc_is_noticed() -> None:
    """Without blocks of its own, Python's memory shows in malloc's figures."""
    more = line(N, 60 * MIB)
    trace = samples(N, rss=more, gc_objects=more / 400, malloc_used=more, python_blocks=-400_000)
    trace = [dataclasses.replace(sample, python_blocks=0) for sample in trace]
    finding = conclude(trace)
    assert finding.kind == "python-objects" and "PYTHONMALLOC" in finding.evidence["notes"][0]
    untracked = [dataclasses.replace(sample, gc_objects=200_000 + i % 7) for i, sample in enumerate(trace)]
    assert conclude(untracked).confidence < 0.8, "strings or a C extension: nothing recorded tells"


def test_blocks_that_grow_beside_a_native_leak_do_not_stand_for_it() -> None:
    """CubicWeb's caches fill while an extension leaks: malloc accounts for nine tenths of the memory."""
    more = line(N, 60 * MIB)
    finding = conclude(samples(N, rss=more, malloc_used=0.9 * more, python_blocks=0.1 * more / 250))
    assert finding.kind == "native"


def test_an_allocator_that_is_not_glibcs_is_no_evidence() -> None:
    """Under jemalloc glibc's figures are all zero: a native leak is not called holes in its memory."""
    trace = samples(N, rss=line(N, 80 * MIB))
    found = conclude([dataclasses.replace(sample, malloc_used=0, malloc_free=0) for sample in trace])
    assert found.kind == "native" and found.confidence < 0.8
    assert any("jemalloc" in note for note in found.evidence["notes"])


@pytest.mark.parametrize("n", [0, 1, 2, 5, 9])
def test_too_few_samples_are_not_enough(n: int) -> None:
    """Nothing is concluded from a handful."""
    assert conclude(samples(max(n, 2))[:n]).kind == "not-enough-data"


def test_two_processes_are_two_findings() -> None:
    """Each is judged for itself, whatever the order of the samples."""
    leaking = samples(N, process="web-2", pid=2, **grown(60 * MIB, gc_objects=1 / 400))
    both = [s for pair in zip(samples(N, process="web-1", pid=1), leaking, strict=True) for s in pair]
    assert [(f.process, f.kind) for f in conclude_all(both)] == [("web-1", "steady"), ("web-2", "python-objects")]
    assert [(f.process, f.kind) for f in conclude_all(both[::-1])] == [("web-1", "steady"), ("web-2", "python-objects")]


def test_garbage_that_grows_more_slowly_is_still_a_leak() -> None:
    """Nothing fills gc.garbage as a cache is filled: a quiet evening is all that slows it."""
    more = saturating(N, 60 * MIB, 0.9)
    finding = conclude(samples(N, rss=more, gc_objects=more / 400, garbage=(more / 4000).astype(int)))
    assert finding.kind == "uncollectable"


def life_of(n: int, start_s: float, pid: int, rate: float, warm: float = 0.0) -> list[Sample]:
    """Return a life that grows by so many bytes a sample, after a start of ``warm`` bytes."""
    rng, age = np.random.default_rng(pid), np.arange(n)
    grown = rate * age + warm * (1 - np.exp(-age / 3))
    rss = 100 * MIB + grown + rng.normal(0, 0.2 * MIB, n)
    return [
        Sample(start_s + 5.0 * i, int(rss[i]), "w", pid, python_blocks=int(5e5 + grown[i] / 80),
               gc_objects=int(2e5 + grown[i] / 400), malloc_used=3 * 10**7)
        for i in range(n)
    ]  # fmt: skip


@pytest.mark.parametrize("n", [12, 20, 28])
def test_a_young_life_that_grows_as_none_before_it_is_not_called_calm(n: int) -> None:
    """However long all was flat before the restart: it is too soon to say, until it is a leak."""
    before = life_of(300, 0.0, 1, 0.0)
    assert conclude(before + life_of(n, 1600.0, 2, 4 * MIB)).kind == "not-enough-data"
    assert conclude(before + life_of(45, 1600.0, 2, 4 * MIB)).kind == "python-objects"


def test_a_young_life_that_starts_as_those_before_it_is_calm() -> None:
    """A restart is nothing new: each process warms up."""
    lives = life_of(300, 0.0, 1, 0.0, 30 * MIB) + life_of(20, 1600.0, 2, 0.0, 30 * MIB)
    assert conclude(lives).kind in ("steady", "plateau")


@pytest.mark.parametrize(("flat", "kind"), [(0.0, "python-objects"), (0.37, "steady")])
def test_what_surely_grew_is_not_called_steady_for_doubt_about_its_end(flat: float, kind: str) -> None:
    """Bursts fit no shape well: that it may slow down as well is no reason to say nothing, that it may be flat is."""
    grown = np.linspace(0, 100 * MIB, 120)
    meters = Meters(history_of([samples(120, rss=grown, gc_objects=grown / 400, python_blocks=grown / 90)]))
    weights = {"flat": flat, "step": 0.0, "ending": 0.0, "slowing": 0.37 - flat, "growing": 0.63}
    for name, meter in meters.by_name.items():
        if name in ("rss", "held", "gc_objects", "python_blocks"):
            doubted = dataclasses.replace(meter.trend, growing=0.63, weights=weights)
            meters.by_name[name] = dataclasses.replace(meter, trend=doubted)
    verdict = judge(meters)
    assert (verdict.kind, round(verdict.confidence, 2)) == (kind, 0.63 if kind != "steady" else 0.5)


def test_a_slight_rise_since_the_start_is_no_leak_yet() -> None:
    """Four per cent in a hundred samples may be the start; twice as much, or for twice as long, is a leak."""
    few, many = np.linspace(0, 8 * MIB, 100), np.linspace(0, 16 * MIB, 200)
    for grown, kind in ((few, "not-enough-data"), (2 * few, "python-memory"), (many, "python-memory")):
        assert conclude(samples(len(grown), rss=grown, python_blocks=grown / 90)).kind == kind


def test_descriptors_that_leak_are_said_however_slight_their_memory_is() -> None:
    """They are counted one by one: nothing of a start is in doubt."""
    assert conclude(samples(100, fds=np.arange(100))).kind == "file-descriptors"


def test_where_memory_itself_may_all_be_given_back_no_other_meter_says_leak() -> None:
    """Objects and blocks that grow for sure are a leak only where RSS is known well enough to tell."""
    grown = line(120, 100 * MIB)
    meters = Meters(history_of([samples(120, gc_objects=grown / 400, python_blocks=grown / 90)]))
    assert judge(meters).kind == "python-objects"
    rss = meters.by_name["rss"]
    meters.by_name["rss"] = dataclasses.replace(rss, proof=np.where(np.arange(len(rss.proof)) < 7, 1.0, 0.0))
    assert judge(meters).kind not in LEAKS
