"""Made traces of web workers with a known truth, to measure the conclusions with.

A trace is made from what happens in a process, not from the shape its meters are to have: requests arrive with a daily
and a random load; each holds memory while it is answered; caches fill; the collector runs now and then; a batch comes
and goes; something leaks, or nothing does. The meters then follow from what is in use, as they do in a real process
(the allocators keep what was freed, in part). ``make_trace(seed)`` draws everything from its seed.
"""

import dataclasses
from typing import Any

import numpy as np

from cubicweb_leakwatch.probe.sample import Sample

MIB = 1024.0**2
LEAKS = ("python-objects", "uncollectable", "python-memory", "native", "file-descriptors", "threads")
CALM = ("noise", "wander", "daily", "sawtooth", "pulses", "warmed-up", "restarts")
SCENARIOS = (
    *[("steady", calm) for calm in CALM],
    *[("plateau", how) for how in ("saturating", "filled", "saturating", "saturating")],
    *[
        ("warming-up", "saturating"),
        ("fragmentation", "malloc"),
        ("fragmentation", "arenas"),
        ("fragmentation", "high-water"),
    ],
    *[("python-objects", how) for how in ("plain", "bend", "sawtooth", "restarts", "pulses", "warm", "daily")],
    *[("python-memory", how) for how in ("plain", "bend", "restarts", "warm")],
    *[("native", how) for how in ("plain", "bend", "warm", "daily")],
    *[("uncollectable", "plain"), ("file-descriptors", "plain"), ("threads", "plain")],
    *[("file-descriptors", "bend"), ("threads", "restarts"), ("python-objects", "malloc-only")],
)
PLUMBING = ("builtins.dict", "builtins.list", "builtins.tuple", "builtins.function", "builtins.cell")
APPLICATION = ("shop.orders.Order", "shop.pages.Page", "cubicweb.rset.ResultSet", "yams.schema.EntitySchema", "lib.Row")


@dataclasses.dataclass(frozen=True)
class Trace:
    """Samples with the truth about them; ``rate`` in bytes an hour where the kind is a leak of memory.

    ``also`` are kinds that are as true of it.
    """

    name: str
    kind: str
    samples: list[Sample]
    culprit: str | None = None
    rate: float | None = None
    view: str | None = None
    also: tuple[str, ...] = ()

    @property
    def leak(self) -> bool:
        """Whether something grows for ever."""
        return self.kind in LEAKS


def make_trace(seed: int) -> Trace:
    """Return the trace of one seed; consecutive seeds go through all scenarios."""
    kind, how = SCENARIOS[seed % len(SCENARIOS)]
    return _Maker(np.random.default_rng([seed, 5]), kind, how, f"{kind}/{how}/{seed}").make()


class _Maker:
    """One process, or one after another in the same slot, sampled at a steady pace."""

    def __init__(self, rng: np.random.Generator, kind: str, how: str, name: str) -> None:
        self.rng, self.kind, self.how, self.name = rng, kind, how, name
        self.dt = float(rng.choice([5, 10, 30, 60, 60, 300, 300, 300]))
        span = rng.uniform(0.5, 7) * 86400 if self.dt == 300 else rng.uniform(80, 1500) * self.dt
        if how == "daily":
            self.dt = 300.0
            span = rng.uniform(2, 7) * 86400
        self.n = int(np.clip(span / self.dt, 60, 2016))
        self.t = 1.79e9 + rng.uniform(0, 86400) + np.arange(self.n) * self.dt
        self.base = rng.uniform(50, 600) * MIB
        self.noise = self.base * rng.choice([0.001, 0.003, 0.01])
        self.x = np.arange(self.n) / self.n
        self.types: dict[str, Any] = {}

    def make(self) -> Trace:
        """Return the finished trace."""
        self._load()
        self.lives = np.unique(self._lives(), return_inverse=True)[1]  # one may have lived between two samples
        used = {"objects": np.zeros(self.n), "python": np.zeros(self.n), "native": np.zeros(self.n)}
        self._fill(used)
        held = self._temporary()
        used["python"] += 0.8 * held
        used["native"] += 0.2 * held
        used["objects"] += held / 800
        extra = self._kept_free()
        leak = self._leak(used)
        return self._trace(used, extra, leak)

    def _load(self) -> None:
        """Requests between two samples: a daily wave of some depth, a weekly nothing, and chance."""
        rng = self.rng
        depth = rng.uniform(0.5, 0.9) if self.how == "daily" else rng.choice([0, 0, 0.3, 0.7])
        wave = 1 + depth * np.sin(2 * np.pi * self.t / 86400 + rng.uniform(0, 6.3))
        slow = np.exp(0.15 * _wander(rng, self.n, 30))
        rate = rng.uniform(0.2, 10) * wave * slow
        self.load = rng.poisson(rate * self.dt).astype(float)
        self.rate = rate / rate.mean()

    def _lives(self) -> np.ndarray:
        """The number of the process life each sample belongs to."""
        if self.how != "restarts":
            return np.zeros(self.n, int)
        cuts = np.sort(self.rng.uniform(0.1, 0.9, self.rng.integers(1, 5)))
        return np.searchsorted(cuts, self.x)

    def _age(self) -> np.ndarray:
        """Samples since the start of the life."""
        starts = np.concatenate([[0], np.flatnonzero(np.diff(self.lives)) + 1])
        return np.arange(self.n) - starts[self.lives]

    def _since_start(self, amount: np.ndarray) -> np.ndarray:
        """Running sum within each life."""
        total = np.cumsum(amount)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(self.lives)) + 1])
        return total - total[starts][self.lives]

    def _fill(self, used: dict[str, np.ndarray]) -> None:
        """A warm-up of every process, and the cache of the plateau scenarios."""
        rng = self.rng
        age = self._age() / self.n
        if self.how in ("warm", "warmed-up", "restarts") or rng.random() < 0.3:
            self._add_python(used, rng.uniform(0.03, 0.15) * self.base * (1 - np.exp(-age / rng.uniform(0.005, 0.04))))
        if self.kind == "plateau" or self.kind == "warming-up":
            size = rng.uniform(0.1, 0.6) * self.base
            requests = self._since_start(self.load)
            part = requests / requests[-1]
            if self.kind == "warming-up":
                grown = 1 - np.exp(-part / rng.uniform(0.45, 0.9))
            elif self.how == "filled":
                grown = np.minimum(1.0, part / rng.uniform(0.25, 0.75))
            else:
                grown = 1 - np.exp(-part / rng.uniform(0.08, 0.33))
            self.types["shop.cache.Entry"] = 500 + grown * size / 900
            self._add_python(used, size * grown)

    def _add_python(self, used: dict[str, np.ndarray], amount: np.ndarray) -> None:
        used["python"] += amount * 0.9
        used["native"] += amount * 0.1
        used["objects"] += amount / 300

    def _temporary(self) -> np.ndarray:
        """Bytes that are held for a while and given back: requests in flight, trash before a collection, batches."""
        rng = self.rng
        held = self.base * rng.uniform(0.005, 0.05) * self.rate
        if self.how == "wander":
            held = held + np.abs(_wander(rng, self.n, self.n / rng.uniform(8, 50))) * self.base * 0.02
        if self.how == "sawtooth":
            period = self.n / rng.uniform(3.5, 40)
            tooth = (np.arange(self.n) / period + rng.uniform()) % 1
            held = held + tooth * self.base * rng.uniform(0.05, 0.3)
        if self.how in ("pulses", "high-water"):
            for centre in rng.uniform(
                0.2 if self.how == "high-water" else 0.05, 0.9, 1 if self.how == "high-water" else rng.integers(1, 8)
            ):
                width = rng.uniform(0.003, 0.03)
                held = held + self.base * rng.uniform(0.2, 0.8) * (np.abs(self.x - centre) < width)
        return held

    def _kept_free(self) -> np.ndarray:
        """Bytes freed and kept by an allocator: the one-off high-water mark and the growing holes."""
        rng, zero = self.rng, np.zeros(self.n)
        self.in_malloc = True
        if self.kind != "fragmentation" or self.how == "high-water":
            return zero  # a high-water mark follows from the pulse, see _trace
        self.in_malloc = self.how == "malloc"
        jumps = rng.gamma(0.4, 1, self.n) if rng.random() < 0.5 else self.load + 1e-9
        return rng.uniform(0.15, 0.8) * self.base * np.cumsum(jumps) / jumps.sum()

    def _leak(self, used: dict[str, np.ndarray]) -> dict[str, Any]:
        """Add what leaks; return its rate, culprit and extra meters."""
        rng, kind = self.rng, self.kind
        if kind not in LEAKS:
            return {}
        total = rng.uniform(0.08, 1.0) * self.base
        onset = rng.uniform(0.2, 0.7) if self.how == "bend" else 0.0
        per = self.load if rng.random() < 0.7 else np.ones(self.n)
        grown = self._since_start(per * (self.x >= onset)) / per[self.x >= onset].sum()
        amount = total * grown
        hours = self.dt * (self.x >= onset).sum() / 3600
        out: dict[str, Any] = {"rate": total / hours}
        if kind == "native":
            used["native"] += amount
        elif kind == "python-memory":
            used["python"] += amount
        elif kind in ("file-descriptors", "threads"):
            out[kind] = grown * rng.uniform(30, 600)
            per_one = rng.uniform(500, 5000) if kind == "file-descriptors" else rng.uniform(30e3, 120e3)
            used["native" if kind == "threads" else "python"] += out[kind] * per_one
            used["objects"] += out[kind] * rng.integers(2, 9)
            out["rate"] = None
        else:
            self._leak_objects(used, amount, out)
        return out

    def _leak_objects(self, used: dict[str, np.ndarray], amount: np.ndarray, out: dict[str, Any]) -> None:
        rng = self.rng
        each = float(np.exp(rng.uniform(np.log(250), np.log(40_000))))
        owners = amount / each
        out["culprit"] = str(rng.choice(["shop.basket.Handler", "mercurial.url.httphandler", "a.B.Session"]))
        self.types[out["culprit"]] = rng.integers(0, 50) + owners
        containers = rng.uniform(1, 4)
        self.extra_dicts = containers * owners
        used["objects"] += owners * (1 + containers)
        used["python"] += amount * 0.85
        used["native"] += amount * 0.15
        if self.kind == "uncollectable":
            out["garbage"] = owners

    def _trace(self, used: dict[str, np.ndarray], free: np.ndarray, leak: dict[str, Any]) -> Trace:
        rng = self.rng
        python, native = used["python"], used["native"]
        live = python + native
        peak = _running_peak(live, self.lives)
        # what was freed stays resident in part, for a while or for good
        kept = rng.uniform(0.9, 1.0) if self.how == "high-water" else rng.uniform(0, 0.5) * (rng.random() < 0.5)
        retained = kept * (peak - live)
        rss = self.base + live + retained + free
        rss = rss + rng.normal(0, self.noise, self.n) + self.noise * _wander(rng, self.n, 10)
        blocks = self.base / 500 + python / 90 + rng.normal(0, 60, self.n)
        meters: dict[str, np.ndarray | None] = {
            "uss": rss * rng.uniform(0.8, 0.95),
            "python_blocks": blocks if self.how != "malloc-only" else np.zeros(self.n),
            "malloc_used": 0.2 * self.base
            + native
            + (python if self.how == "malloc-only" else 0)
            + rng.normal(0, self.noise * 0.1, self.n),
            "malloc_free": 0.02 * self.base
            + (retained + free if self.in_malloc else 0)
            + rng.exponential(self.noise * 0.2, self.n),
            "gc_objects": self.base / 900 + used["objects"] + rng.integers(0, 2000, self.n),
            "garbage": leak.get("garbage", np.zeros(self.n)),
            "fds": 12 + leak.get("file-descriptors", 0) + rng.poisson(2 * self.rate),
            "threads": 6 + leak.get("threads", 0) + rng.integers(0, 2, self.n),
            "requests": self._since_start(self.load),
        }
        self._forget_some(meters)
        samples = self._samples(rss, meters, leak)
        # a batch whose memory the allocators keep leaves the process as a high-water mark does
        kept_for_good = self.kind == "steady" and retained[-1] > 0.05 * rss[-1]
        return Trace(
            self.name,
            "fragmentation" if kept_for_good else self.kind,
            samples,
            leak.get("culprit") if self.with_types else None,
            leak.get("rate"),
        )

    def _forget_some(self, meters: dict[str, np.ndarray | None]) -> None:
        """Some recorders know less: no requests, no USS, no allocator figures."""
        rng = self.rng
        if rng.random() < 0.25:
            meters["requests"] = None
        if rng.random() < 0.3:
            meters["uss"] = None
        if rng.random() < 0.15 and self.kind not in ("native", "fragmentation"):
            meters["malloc_used"] = meters["malloc_free"] = None
        self.with_types = rng.random() < 0.7
        self.with_pid = rng.random() < 0.9 or self.how == "restarts"

    def _type_rows(self) -> dict[str, np.ndarray]:
        rng, n = self.rng, self.n
        rows = {name: np.broadcast_to(count, n).astype(float) for name, count in self.types.items()}
        for name in APPLICATION:
            level = rng.uniform(50, 5000)
            warm = rng.uniform(0, 1) * level * (1 - np.exp(-self.x / rng.uniform(0.01, 0.1)))
            rows[name] = level * (1 + 0.2 * self.rate) + warm + rng.poisson(0.05 * level, n)
        for name, more in zip(PLUMBING, (1.0, 0.4, 0.3, 0.05, 0.05), strict=True):
            growth = getattr(self, "extra_dicts", 0) * more
            rows[name] = self.base / 5000 * rng.uniform(0.2, 1) + growth + rng.poisson(300, n)
        return rows

    def _samples(self, rss: np.ndarray, meters: dict[str, np.ndarray | None], leak: dict[str, Any]) -> list[Sample]:
        columns = {name: np.maximum(0, np.round(m)).astype(int).tolist() for name, m in meters.items() if m is not None}
        if self.with_types:
            rows = {name: np.round(row).astype(int).tolist() for name, row in self._type_rows().items()}
        keep = self.rng.random(self.n) > self.rng.choice([0, 0, 0.03])
        samples = []
        for i in np.flatnonzero(keep):
            values = {name: column[i] for name, column in columns.items()}
            if self.with_types:
                values["types"] = {name: row[i] for name, row in rows.items()}
            pid = 1000 + int(self.lives[i]) if self.with_pid else None
            samples.append(Sample(t=float(self.t[i]), rss=int(rss[i]), process="web-1", pid=pid, **values))
        return samples


def _wander(rng: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """An AR(1) series of variance 1 that forgets over ``memory`` samples."""
    phi = np.exp(-1 / max(memory, 1e-9))
    out = np.empty(n)
    out[0] = rng.normal()
    shocks = rng.normal(0, np.sqrt(1 - phi**2), n)
    for i in range(1, n):
        out[i] = phi * out[i - 1] + shocks[i]
    return out


def _running_peak(live: np.ndarray, lives: np.ndarray) -> np.ndarray:
    """The highest so far within each life."""
    out = live.copy()
    for life in np.unique(lives):
        out[lives == life] = np.maximum.accumulate(live[lives == life])
    return out
