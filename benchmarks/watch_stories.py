"""A third set of traces: what happens to web workers, each story told by other formulas than the first two sets.

Caches fill in six ways, memory is taken and kept in three, load comes by day and by week, batches by night; leaks run
evenly, in bursts, in a stair, late, after a cache has filled, or come with a deployment; and some stopped.
What a kind other than the first of ``kinds`` says of the same trace is as true of it: a cache that is nearly full is a
plateau or warming up.
"""

from collections.abc import Callable

import numpy as np
from watch_traces import LEAKS, MIB, Trace

from cubicweb_leakwatch.probe.sample import Sample

DAY = 86400.0
Array = np.ndarray


class Site:
    """One process under load: times, requests, and what is in use of each sort, in bytes; malloc keeps ``free``."""

    def __init__(self, rng: np.random.Generator, *, days: float | None = None) -> None:
        self.rng = rng
        self.dt = float(rng.choice([10, 15, 60, 60, 120, 300]))
        self.n = int(rng.choice([60, 90, 120, 240, 500, 1000, 2016]))
        if days is not None:
            self.dt, self.n = 300.0, min(2016, int(days * DAY / 300))
        self.x = np.arange(self.n) / self.n
        self.t = 1.8e9 + rng.uniform(0, DAY) + np.arange(self.n) * self.dt + rng.normal(0, 0.02 * self.dt, self.n)
        self.base = float(np.exp(rng.uniform(np.log(40), np.log(900)))) * MIB
        self.lives = np.zeros(self.n, int)
        zero = np.zeros(self.n)
        self.objects, self.text, self.native = zero.copy(), zero.copy(), zero.copy()
        self.free, self.holes = zero.copy(), zero.copy()
        self.fds, self.threads, self.garbage = zero + 14, zero + 5, zero.copy()
        self.load = zero + rng.uniform(0.3, 8)
        self.culprit: Array | None = None
        self.rate: float | None = None
        self.kinds: tuple[str, ...] = ("steady",)

    def by_day(self, depth: float, *, week: bool = False) -> None:
        """Let the load follow the day, as a bell around noon rather than a sine."""
        hour = (self.t % DAY) / 3600
        bell = np.exp(-(((hour - self.rng.uniform(11, 16)) / self.rng.uniform(3, 5)) ** 2))
        self.load = self.load * (1 - depth + depth * bell)
        if week:
            self.load = self.load * np.where((self.t // DAY).astype(int) % 7 >= 5, 0.2, 1.0)

    @property
    def served(self) -> Array:
        """Requests served since the start of each life."""
        return self.since_start(self.rng_served)

    def settle(self) -> None:
        """Draw the requests between two samples."""
        self.rng_served = self.rng.poisson(np.maximum(self.load * self.dt, 0.0)).astype(float)

    def since_start(self, amount: Array) -> Array:
        """Return the running sum within each life."""
        total = np.cumsum(amount)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(self.lives)) + 1])
        return total - total[starts][self.lives]

    def leak(self, where: str, shape: Array, size: float, kind: str, seconds: float) -> None:
        """Add growth of ``size`` bytes in the given shape (0..1), over so many seconds of growing."""
        amount = size * shape
        if where == "objects":
            each = float(np.exp(self.rng.uniform(np.log(300), np.log(20_000))))
            self.objects += amount
            if self.rng.random() < 0.7:
                self.culprit = amount / each
            if kind == "uncollectable":
                self.garbage += amount / each
        else:
            setattr(self, where, getattr(self, where) + amount)
        self.rate = size / (seconds / 3600)
        self.kinds = (kind,)


Story = Callable[[Site], None]


def _even(site: Site) -> Array:
    """Growth by requests or by the clock, from the start on, 0..1."""
    grown = site.served if site.rng.random() < 0.5 else site.since_start(np.ones(site.n))
    return grown / grown.max()


def _span(site: Site) -> float:
    return float(site.t[-1] - site.t[0])


def _size(site: Site, low: float = 0.1, high: float = 0.9) -> float:
    return float(site.rng.uniform(low, high)) * site.base


# --- nothing leaks


def idle(site: Site) -> None:
    """A site nobody visits."""
    site.load *= 0.01
    site.settle()


def busy(site: Site) -> None:
    """Memory that goes up and down with what is in flight, for quarters of an hour."""
    site.settle()
    wander = np.zeros(site.n)
    for i in range(1, site.n):
        wander[i] = 0.93 * wander[i - 1] + site.rng.normal()
    site.objects += np.abs(wander) * 0.008 * site.base


def by_day(site: Site) -> None:
    """More visitors by day, and what they need while they are served."""
    site.by_day(site.rng.uniform(0.4, 0.95), week=site.rng.random() < 0.4)
    site.settle()
    site.objects += 0.2 * site.base * site.load / site.load.max() * site.rng.uniform(0.2, 1)


def sessions(site: Site) -> None:
    """Sessions that pile up over the working day and expire by night."""
    site.by_day(0.9)
    site.settle()
    hour = (site.t % DAY) / 3600
    site.objects += _size(site, 0.05, 0.3) * np.clip((hour - 7) / 12, 0, 1) * (hour < 22)


def collector(site: Site) -> None:
    """Trash that waits for a rare collection."""
    site.settle()
    period = site.n / site.rng.uniform(4, 30)
    where = (np.arange(site.n) + site.rng.uniform(0, period)) % period
    site.objects += _size(site, 0.05, 0.25) * (where / period) ** site.rng.uniform(0.8, 1.2)


def batches(site: Site) -> None:
    """A nightly or an hourly batch that takes much and gives it back."""
    site.settle()
    every = site.n / site.rng.uniform(3, 12)
    where = (np.arange(site.n) + site.rng.uniform(0, every)) % every
    site.objects += _size(site, 0.2, 1.0) * (where < max(2, every / 12))


def started(site: Site) -> None:
    """Imports and first caches, then nothing."""
    site.settle()
    site.objects += _size(site, 0.05, 0.4) * np.minimum(1, np.arange(site.n) * site.dt / (0.06 * _span(site))) ** 0.5


def restarted(site: Site) -> None:
    """Restarts now and then, each with its first minutes."""
    site.lives = np.searchsorted(np.sort(site.rng.uniform(0.1, 0.9, site.rng.integers(1, 6))), site.x)
    site.settle()
    age = site.since_start(np.ones(site.n)) / site.n
    site.objects += _size(site, 0.05, 0.2) * (1 - np.exp(-age / 0.015))


def deployed(site: Site) -> None:
    """A deployment after which everything takes more."""
    site.lives = (site.x > site.rng.uniform(0.3, 0.7)).astype(int)
    site.settle()
    site.objects += _size(site, 0.1, 0.4) * site.lives


def pools(site: Site) -> None:
    """Pools of threads and connections that grow to their size and stay."""
    site.settle()
    site.threads += site.rng.integers(8, 40) * np.minimum(1, site.x / 0.1)
    site.fds += site.rng.integers(8, 60) * np.minimum(1, site.x / 0.12)
    site.native += 2 * MIB * np.minimum(1, site.x / 0.1)


def purged(site: Site) -> None:
    """A cache that is emptied whenever it is full."""
    site.settle()
    full = site.served.max() / site.rng.uniform(3.3, 9)
    site.objects += _size(site) * ((site.served % full) / full)


# --- an end in sight


def _cache(site: Site, part: Array) -> None:
    site.objects += _size(site, 0.15, 0.8) * 0.7 * part
    site.text += _size(site, 0.15, 0.8) * 0.3 * part
    site.kinds = ("plateau", "warming-up")


def coupons(site: Site) -> None:
    """A cache of so many keys, all equally popular."""
    if site.rng.random() < 0.4:
        site.by_day(0.6)
    site.settle()
    _cache(site, 1 - np.exp(-site.served / (site.served[-1] / site.rng.uniform(3.5, 12))))


def lru(site: Site) -> None:
    """A bounded cache under skewed popularity: it fills ever more slowly, and is then full."""
    site.settle()
    keys = 20_000
    chance = 1.0 / np.arange(1, keys + 1) ** site.rng.uniform(0.8, 1.2)
    chance /= chance.sum()
    scale = site.rng.uniform(20_000, 200_000) / site.served[-1]
    seen = np.array([keys - np.exp(-chance * requests * scale).dot(np.ones(keys)) for requests in site.served])
    bound = seen[int(site.rng.uniform(0.15, 0.6) * site.n)]
    _cache(site, np.minimum(seen, bound) / bound)


def hyperbolic(site: Site) -> None:
    """Growth that approaches its end slowly."""
    site.settle()
    half = site.rng.uniform(0.01, 0.05)
    _cache(site, site.x / (site.x + half))


def two_caches(site: Site) -> None:
    """A small cache that fills at once and a large one that takes its time."""
    site.settle()
    _cache(site, 0.3 * (1 - np.exp(-site.x / 0.01)) + 0.7 * (1 - np.exp(-site.x / site.rng.uniform(0.08, 0.2))))


def full(site: Site) -> None:
    """A cache without popularity that fills evenly and is full."""
    site.settle()
    _cache(site, np.minimum(1, site.served / (site.served[-1] * site.rng.uniform(0.2, 0.65))))


def pages(site: Site) -> None:
    """Each page costs something the first time it is shown: a stair that ends."""
    site.settle()
    number = site.rng.integers(15, 60)
    first = site.rng.exponential(site.rng.uniform(0.06, 0.15), number)
    cost = site.rng.gamma(1, 1, number)
    _cache(site, (cost[:, None] * (site.x[None, :] > first[:, None])).sum(axis=0) / cost.sum())


def leaked_once(site: Site) -> None:
    """A leak that stopped: whoever called that page has gone."""
    site.settle()
    _cache(site, np.minimum(1, site.x / site.rng.uniform(0.25, 0.6)))


# --- taken and kept


def high_water(site: Site) -> None:
    """One huge page: the memory is free afterwards, and stays."""
    site.settle()
    at = site.rng.uniform(0.15, 0.85)
    site.free += _size(site, 0.15, 0.8) * (site.x > at)
    site.kinds = ("fragmentation", "plateau", "steady")


def higher_water(site: Site) -> None:
    """A larger batch now and then, each keeping what it needed beyond the last."""
    site.settle()
    marks = np.sort(site.rng.uniform(0.1, 0.85, 3))
    for mark in marks:
        site.free += _size(site, 0.06, 0.3) * (site.x > mark)
    site.kinds = ("fragmentation", "plateau", "steady")


def holes(site: Site) -> None:
    """Holes in the allocators' memory that grow as the mix of sizes does."""
    site.settle()
    part = _even(site) if site.rng.random() < 0.5 else 1 - np.exp(-site.x / site.rng.uniform(0.2, 0.5))
    (site.free if site.rng.random() < 0.6 else site.holes).__iadd__(_size(site, 0.2, 0.8) * part)
    site.kinds = ("fragmentation",)


# --- leaks


def _leaks(where: str, kind: str, how: str) -> Story:
    def story(site: Site) -> None:
        _prepare(site, how)
        shape, seconds = _shape(site, how)
        site.leak(where, shape, _size(site, 0.12, 0.9), kind, seconds)

    story.__name__ = f"{kind}-{how}"
    return story


def _prepare(site: Site, how: str) -> None:
    if how == "by-day":
        site.by_day(site.rng.uniform(0.4, 0.9))
    if how == "restarts":
        site.lives = np.searchsorted(np.sort(site.rng.uniform(0.15, 0.85, site.rng.integers(1, 4))), site.x)
    if how == "deployment":
        site.lives = (site.x > site.rng.uniform(0.3, 0.6)).astype(int)
    site.settle()
    if how == "by-day":
        site.objects += 0.1 * site.base * site.load / site.load.max()
    if how == "after-cache":
        site.objects += _size(site, 0.1, 0.4) * (1 - np.exp(-site.x / site.rng.uniform(0.02, 0.06)))
    if how == "after-step":
        site.free += _size(site, 0.1, 0.5) * (site.x > site.rng.uniform(0.1, 0.4))


def _shape(site: Site, how: str) -> tuple[Array, float]:
    """Return growth from 0 to 1 and the seconds it took."""
    rng, span = site.rng, _span(site)
    if how == "late":
        onset = rng.uniform(0.3, 0.7)
        return np.maximum(0, site.x - onset) / (1 - onset), span * (1 - onset)
    if how == "stair":
        steps = np.floor(site.x * (span / DAY) + rng.uniform())
        return (steps - steps[0]) / max(span / DAY, 1), span
    if how == "bursts":
        bursts = rng.gamma(0.5, 1, site.n) * (rng.random(site.n) < min(1.0, 40 / site.n))
        return np.cumsum(bursts) / bursts.sum(), span
    if how == "deployment":
        grown = site.since_start(site.lives.astype(float))
        return grown / grown.max(), span * float(site.lives.mean())
    if how == "restarts":
        grown = site.since_start(np.ones(site.n))
        return grown / site.n, span
    grown = site.served
    return grown / grown[-1], span


STORIES: tuple[tuple[Story, float | None], ...] = (
    *((story, None) for story in (idle, busy, collector, batches, started, restarted, deployed, pools, purged)),
    *((story, 5.0) for story in (by_day, sessions)),
    *((story, None) for story in (coupons, lru, hyperbolic, two_caches, full, pages, leaked_once, coupons, lru)),
    *((story, None) for story in (high_water, high_water, higher_water, holes, holes)),
    *((_leaks("objects", "python-objects", how), None) for how in ("plain", "late", "after-cache", "after-step")),
    *((_leaks("objects", "python-objects", how), None) for how in ("bursts", "restarts", "deployment")),
    *((_leaks("objects", "python-objects", how), 6.0) for how in ("by-day", "stair")),
    *((_leaks("text", "python-memory", how), None) for how in ("plain", "late", "after-cache", "bursts")),
    *((_leaks("text", "python-memory", how), 6.0) for how in ("by-day",)),
    *((_leaks("native", "native", how), None) for how in ("plain", "late", "after-cache", "restarts")),
    *((_leaks("native", "native", how), 6.0) for how in ("by-day",)),
    *((_leaks("objects", "uncollectable", how), None) for how in ("plain", "late")),
)


def make_story_trace(seed: int) -> Trace:
    """Return the trace of one seed; consecutive seeds go through all stories."""
    story, days = STORIES[seed % len(STORIES)]
    rng = np.random.default_rng([seed, 2010])
    site = Site(rng, days=None if days is None else days * rng.uniform(0.6, 1.4))
    story(site)
    samples = _samples(site)
    culprit = "wiki.history.Revision" if site.culprit is not None and site.kinds[0] in LEAKS else None
    return Trace(f"story/{story.__name__}/{seed}", site.kinds[0], samples, culprit, site.rate, also=site.kinds[1:])


def _samples(site: Site) -> list[Sample]:
    rng, n = site.rng, site.n
    white = rng.normal(0, 1, n)
    noise = site.base * rng.choice([0.0005, 0.002, 0.006])
    live = site.objects + site.text + site.native
    rss = site.base + live + site.free + site.holes + rng.normal(0, noise, n)
    meters = {
        "rss": rss,
        "uss": 0.9 * rss,
        "python_blocks": site.base / 400 + site.objects / 110 + site.text / 250 + rng.normal(0, 150, n),
        "malloc_used": 0.3 * site.base + 0.25 * site.objects + 0.3 * site.text + site.native + 0.2 * noise * white,
        "malloc_free": 0.04 * site.base + site.free + np.abs(rng.normal(0, 0.3 * noise, n)),
        "gc_objects": site.base / 700 + site.objects / 350 + rng.normal(0, 250, n),
        "garbage": site.garbage,
        "requests": site.served,
        "fds": site.fds + rng.poisson(1.5, n),
        "threads": site.threads + rng.integers(0, 2, n),
    }
    columns = {name: np.maximum(0, np.round(values)).astype(int).tolist() for name, values in meters.items()}
    types = _types(site)
    there = rng.random(n) > rng.choice([0.0, 0.0, 0.05])
    if rng.random() < 0.2:  # the collector was away
        gap = rng.uniform(0.2, 0.7)
        there &= (site.x < gap) | (site.x > gap + 0.08)
    return [
        Sample(
            t=float(site.t[i]),
            process="web-2",
            pid=4000 + 13 * int(site.lives[i]),
            types=types[i] if types else None,
            **{name: column[i] for name, column in columns.items()},
        )
        for i in np.flatnonzero(there)
    ]


def _types(site: Site) -> list[dict[str, int]] | None:
    """Return type counts: the culprit's among those of a cache, of plumbing, and of what requests hold."""
    if site.culprit is None and site.rng.random() < 0.5:
        return None
    rng, n = site.rng, site.n
    owned = site.culprit if site.culprit is not None else np.zeros(n)
    rest = np.maximum(site.objects - (owned * 350 if site.culprit is not None else 0), 0)
    rows = {
        "builtins.dict": 30_000 + owned * 2 + rest / 1500 + rng.poisson(40, n),
        "builtins.tuple": 50_000 + owned * 1.5 + rng.poisson(60, n),
        "builtins.list": 12_000 + owned + rng.poisson(40, n),
        "wiki.history.Revision": 20 + owned,
        "cubicweb.rset.ResultSet": 40 + rng.poisson(10, n) + 20 * site.load / max(site.load.max(), 1e-9),
        "wiki.pages.Page": 400 + rng.poisson(20, n),
        "builtins.type": np.full(n, 6_000.0),
    }
    return [{name: int(row[i]) for name, row in rows.items()} for i in range(n)]
