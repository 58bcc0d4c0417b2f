"""A fourth set of traces: everything that may grow, crossed with everything that may go on beside it.

The other sets give each kind of growth the surroundings it usually has. Here both are drawn apart: a leak amid
restarts, a collector's sawtooth and a daily load at once, a cache that fills while batches come and go, stairs on a
noisy host, samples taken at uneven times, types in every tenth of them. What an object and a block cost follows what
was measured on real processes.
"""

from collections.abc import Callable

import numpy as np
from watch_traces import Trace

from cubicweb_leakwatch.probe.sample import Sample

MIB = 1024.0**2
DAY = 86400.0
Array = np.ndarray
# Bytes of RSS for a tracked object with what it holds, and for a Python block.
PER_OBJECT, PER_BLOCK = 195.0, 56.0
CALM = ("nothing", "nothing", "nothing", "start", "high-water", "batch-kept", "pool")
FILLS = ("exp", "exp", "even", "two", "skewed", "stair")
WARMS = ("slow",)
WAYS = ("time", "requests", "late", "stair", "bursts", "view")
GROWTHS = (
    *[("calm", how) for how in CALM],
    *[("fills", how) for how in FILLS],
    *[("warms", how) for how in WARMS],
    *[("holes", how) for how in ("malloc", "arenas")],
    *[(kind, how) for kind in ("python-objects", "python-memory", "native") for how in WAYS],
    *[("large-objects", how) for how in ("time", "requests", "late")],
    *[(kind, how) for kind in ("uncollectable", "file-descriptors", "threads") for how in ("time", "late")],
    *[("calm", how) for how in CALM],
    *[("fills", how) for how in FILLS],
)


def make_crossed_trace(seed: int) -> Trace:
    """Return the trace of one seed; consecutive seeds go through all growths, the surroundings are drawn."""
    kind, how = GROWTHS[seed % len(GROWTHS)]
    return _Worker(np.random.default_rng([seed, 1848]), kind, how).trace(f"crossed/{kind}/{how}/{seed}")


class _Worker:
    """One slot: bytes in use by sort, what the allocators keep, and the counts."""

    def __init__(self, rng: np.random.Generator, kind: str, how: str) -> None:
        self.rng, self.kind, self.how = rng, kind, how
        self.dt = float(rng.choice([2, 10, 60, 60, 300, 300, 900]))
        self.n = int(rng.choice([80, 150, 300, 700, 1500, 2016]))
        uneven = rng.random() < 0.3
        self.t = (
            1.75e9
            + rng.uniform(0, DAY)
            + self.dt * np.cumsum(rng.uniform(0.3, 1.7, self.n) if uneven else np.ones(self.n))
        )
        self.x = (self.t - self.t[0]) / (self.t[-1] - self.t[0])
        self.base = float(np.exp(rng.uniform(np.log(60), np.log(900)))) * MIB
        self.lives = self._lives()
        zero = np.zeros(self.n)
        self.objects, self.blocks, self.native, self.free, self.holes = (zero.copy() for _ in range(5))
        self.fds, self.threads, self.garbage, self.owners = (zero.copy() for _ in range(4))
        self.noise = self.base * float(rng.choice([0.0005, 0.002, 0.006, 0.015]))
        self.beside = 0.0
        self.load = self._load()
        self.per_sample = rng.poisson(self.load * np.gradient(self.t)).astype(float)
        self.served = self.since_start(self.per_sample)
        self.rate: float | None = None
        self.kinds: tuple[str, ...] = ("steady",)
        self.culprit = False

    def _lives(self) -> Array:
        few = self.rng.choice([0, 0, 0, 1, 3])
        if self.how in ("late", "high-water", "batch-kept", "even", "pool", "stair", "slow") or self.kind in (
            "fills",
            "holes",
        ):
            few = 0
        lives = np.searchsorted(np.sort(self.rng.uniform(0.12, 0.88, few)), self.x)
        return np.unique(lives, return_inverse=True)[1]  # one may have lived between two samples

    def _load(self) -> Array:
        rng = self.rng
        load = np.full(self.n, float(np.exp(rng.uniform(np.log(0.05), np.log(20)))))
        if self.t[-1] - self.t[0] > DAY / 2 and rng.random() < 0.6:
            hour = (self.t % DAY) / 3600
            depth = rng.uniform(0.3, 0.95)
            load = load * (1 - depth + depth * np.exp(-(((hour - 14) / 4) ** 2)))
        return load

    def since_start(self, amount: Array) -> Array:
        """Return the running sum within each life."""
        total = np.cumsum(amount)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(self.lives)) + 1])
        return total - total[starts][self.lives]

    def python(self, amount: Array, *, tracked: float = 1.0) -> None:
        """Add bytes of Python objects, a share of them of objects that the collector tracks."""
        self.objects += amount * tracked
        self.blocks += amount * (1 - tracked)

    def surround(self) -> None:
        """Add what comes and goes: up to three things at once."""
        rng = self.rng
        ways: list[Callable[[], Array]] = [self._in_flight, self._wander, self._batches, self._collector, self._purged]
        for number in rng.permutation(len(ways))[: rng.choice([0, 1, 1, 2, 3])]:
            amount = ways[number]()
            self.beside = max(self.beside, float(np.quantile(amount, 0.98) - np.quantile(amount, 0.02)))
            self.python(amount, tracked=rng.uniform(0.5, 1))
        if rng.random() < 0.5:
            age = self.since_start(np.gradient(self.x))
            amount = rng.uniform(0.03, 0.2) * self.base * (1 - np.exp(-age / rng.uniform(0.003, 0.03)))
            self.python(amount, tracked=0.7)

    def _in_flight(self) -> Array:
        return np.asarray(self.rng.uniform(0.02, 0.15) * self.base * self.load / self.load.max())

    def _wander(self) -> Array:
        phi = np.exp(-1 / self.rng.uniform(3, 30))
        out = np.zeros(self.n)
        for i in range(1, self.n):
            out[i] = phi * out[i - 1] + self.rng.normal() * np.sqrt(1 - phi**2)
        return self.rng.uniform(0.003, 0.015) * self.base * np.abs(out)

    def _batches(self) -> Array:
        every = self.n / self.rng.uniform(2.5, 15)
        where = (np.arange(self.n) + self.rng.uniform(0, every)) % every
        return self.rng.uniform(0.1, 0.8) * self.base * (where < max(1, every * self.rng.uniform(0.02, 0.1)))

    def _collector(self) -> Array:
        every = self.n / self.rng.uniform(6, 60)
        return (
            self.rng.uniform(0.02, 0.15)
            * self.base
            * ((np.arange(self.n) + self.rng.uniform(0, every)) % every)
            / every
        )

    def _purged(self) -> Array:
        full = max(self.served.max() / self.rng.uniform(4, 12), 1.0)
        return self.rng.uniform(0.05, 0.4) * self.base * ((self.served % full) / full)

    def size(self, low: float = 0.08, high: float = 1.0) -> float:
        """Return how much grows in all: enough to be seen amid the rest."""
        share = float(np.exp(self.rng.uniform(np.log(low), np.log(high))))
        return max(share * self.base, 4 * self.noise, 1.5 * self.beside)

    def trace(self, name: str) -> Trace:
        """Let it happen, and return the samples with the truth."""
        self.surround()
        {"calm": self._calm, "fills": self._fills, "warms": self._warms, "holes": self._holes}.get(
            self.kind, self._leaks
        )()
        samples = self._samples()
        culprit = "forge.tickets.Ticket" if self.culprit and any(sample.types for sample in samples) else None
        return Trace(name, self.kinds[0], samples, culprit, self.rate, also=self.kinds[1:])

    def _calm(self) -> None:
        rng, how = self.rng, self.how
        if how == "start":
            self.python(self.size(0.1, 0.6) * np.minimum(1, self.x / rng.uniform(0.01, 0.08)), tracked=0.8)
        elif how in ("high-water", "batch-kept"):
            at = rng.uniform(0.1, 0.9)
            size = self.size(0.12, 0.8)
            if how == "batch-kept":
                self.python(0.5 * size * (np.abs(self.x - at) < 0.01), tracked=0.9)
            (self.free if rng.random() < 0.6 else self.holes).__iadd__(size * (self.x > at))
            self.kinds = ("fragmentation", "plateau", "steady")
        elif how == "pool":
            full = rng.uniform(0.03, 0.12)
            self.threads += np.floor(rng.integers(6, 40) * np.minimum(1, self.x / full))
            self.fds += np.floor(rng.integers(10, 80) * np.minimum(1, self.x / full))

    def _fills(self) -> None:
        rng, x = self.rng, self.x
        by = self.served / self.served[-1] if rng.random() < 0.5 and self.served[-1] > 50 else x
        if self.how == "exp":
            part = 1 - np.exp(-by / rng.uniform(0.05, 0.25))
        elif self.how == "even":
            part = np.minimum(1, by / rng.uniform(0.2, 0.7))
        elif self.how == "two":
            part = 0.35 * np.minimum(1, by / 0.03) + 0.65 * (1 - np.exp(-by / rng.uniform(0.06, 0.2)))
        elif self.how == "skewed":
            part = np.minimum(np.log1p(by / 0.01), np.log1p(rng.uniform(0.2, 0.6) / 0.01))
            part = part / part[-1]
        else:
            first = rng.exponential(rng.uniform(0.06, 0.15), rng.integers(12, 50))
            part = np.mean(x[None, :] > first[:, None], axis=0)
        self.python(self.size(0.12, 1.0) * part, tracked=rng.uniform(0.4, 1))
        self.kinds = ("plateau", "warming-up")

    def _warms(self) -> None:
        self.python(self.size(0.2, 1.0) * (1 - np.exp(-self.x / self.rng.uniform(0.5, 0.9))), tracked=0.8)
        self.kinds = ("warming-up", "plateau")

    def _holes(self) -> None:
        where = self.free if self.how == "malloc" else self.holes
        where += self.size(0.2, 0.8) * (self.x if self.rng.random() < 0.5 else np.sqrt(self.x))
        self.kinds = ("fragmentation",)

    def _leaks(self) -> None:
        rng = self.rng
        grown, share = self._way()
        size = self.size()
        amount = size * grown
        hours = (self.t[-1] - self.t[0]) * share / 3600
        kind = "python-objects" if self.kind == "large-objects" else self.kind
        self.kinds = (kind,)
        if kind in ("file-descriptors", "threads"):
            count = np.floor(rng.uniform(25, 800) * grown)
            setattr(self, "fds" if kind == "file-descriptors" else "threads", count)
            self.native += count * (2e3 if kind == "file-descriptors" else 60e3)
            self.python(count * 2000)
            return
        self.rate = size / hours
        if kind == "native":
            self.native += amount
        elif kind == "python-memory":
            self.python(amount, tracked=0.0)
        else:
            self.culprit = True
            each = float(np.exp(rng.uniform(np.log(400), np.log(8000))))
            if self.kind == "large-objects":
                each = rng.uniform(20e3, 100e3)
            self.owners = np.floor(amount / each)
            self.python(self.owners * min(each, 1200))
            self._payload(self.owners * max(each - 1200, 0.0))
            if kind == "uncollectable":
                self.garbage = self.owners * rng.integers(1, 4)

    def _payload(self, amount: Array) -> None:
        if self.rng.random() < 0.5:
            self.python(amount, tracked=0.0)
        else:
            self.native += amount

    def _way(self) -> tuple[Array, float]:
        """Return growth from 0 to 1 and the share of the time in which that much would grow."""
        rng, x = self.rng, self.x
        if self.how == "late":
            onset = rng.uniform(0.2, 0.75)
            return np.maximum(0, x - onset) / (1 - onset), 1 - onset
        if self.how == "stair":
            number = rng.integers(8, 25)
            return np.floor(x * number + rng.uniform()) / number, 1.0
        if self.how == "bursts":
            size = rng.gamma(1, 1, self.n) * (rng.random(self.n) < 60 / self.n)
            return np.cumsum(size) / size.sum(), 1.0
        per = self.per_sample if self.how in ("requests", "view") else np.gradient(x)
        if self.how == "view":
            per = rng.binomial(self.per_sample.astype(int), rng.uniform(0.05, 0.5)).astype(float)
            self.view = per
        if per.sum() < 20:
            per = np.gradient(x)
        grown = self.since_start(per)
        return grown / per.sum(), 1.0

    def _samples(self) -> list[Sample]:
        rng, n = self.rng, self.n
        live = self.objects + self.blocks + self.native
        rss = self.base + live + self.free + self.holes + rng.normal(0, self.noise, n)
        meters: dict[str, Array] = {
            "rss": rss,
            "python_blocks": self.base / 300
            + self.objects / PER_BLOCK
            + self.blocks / rng.uniform(60, 600)
            + rng.normal(0, 200, n),
            "gc_objects": self.base / 900 + self.objects / PER_OBJECT + rng.uniform(0, 1500, n),
            "malloc_used": 0.25 * self.base + self.native + 0.03 * self.objects + rng.normal(0, 0.1 * self.noise, n),
            "malloc_free": 0.03 * self.base + self.free + np.abs(rng.normal(0, 0.3 * self.noise, n)),
            "garbage": self.garbage,
            "fds": 20 + self.fds + rng.poisson(1 + self.load / self.load.max()),
            "threads": 7 + self.threads + rng.integers(0, 2, n),
            "requests": self.served,
        }
        if rng.random() < 0.6:
            meters["uss"] = rss * 0.9
        if rng.random() < 0.2:
            del meters["requests"]
        if (
            rng.random() < 0.15
            and self.kind in ("calm", "fills", "python-objects")
            and self.how not in ("high-water", "batch-kept")
        ):
            del meters["malloc_used"], meters["malloc_free"]
        columns = {name: np.maximum(0, np.round(values)).astype(int).tolist() for name, values in meters.items()}
        every = int(rng.choice([0, 1, 1, 5, 10]))
        rows = self._types() if every and n >= 15 * every else {}
        there = rng.random(n) > rng.choice([0.0, 0.0, 0.05])
        if rng.random() < 0.2:
            gap = rng.uniform(0.15, 0.7)
            there &= (self.x < gap) | (self.x > gap + 0.1)
        with_pid = rng.random() < 0.85
        return [
            Sample(
                t=float(self.t[i]),
                process="web-3",
                pid=700 + int(self.lives[i]) if with_pid else None,
                types={name: int(row[i]) for name, row in rows.items()} if rows and i % every == 0 else None,
                **{name: column[i] for name, column in columns.items()},
            )
            for i in np.flatnonzero(there)
        ]

    def _types(self) -> dict[str, Array]:
        rng, n = self.rng, self.n
        rest = np.maximum(self.objects - self.owners * 1200, 0) / PER_OBJECT
        return {
            "builtins.dict": 25_000 + 1.5 * self.owners + 0.2 * rest + rng.poisson(50, n),
            "builtins.tuple": 40_000 + self.owners + 0.3 * rest + rng.poisson(80, n),
            "builtins.list": 9_000 + 0.5 * self.owners + rng.poisson(30, n),
            "builtins.function": np.full(n, 60_000.0),
            "forge.tickets.Ticket": rng.integers(0, 30) + self.owners,
            "forge.cache.Page": 200 + 0.05 * rest * (self.kind == "fills") + rng.poisson(10, n),
            "cubicweb.entity.Entity": 150 + 100 * self.load / self.load.max() + rng.poisson(12, n),
            "logging.LogRecord": rng.poisson(6, n).astype(float),
        }
