"""A second set of traces, from formulas: each meter is a level, a shape and noise, drawn apart from one another.

The first set (``watch_traces``) is made from requests and allocators; this one is what somebody would write down who
knows only the published series (white and autoregressive noise, day cycle, purged cache, high-water mark, filled cache,
linear leak). Nothing in ``watch`` was made with the seeds the results are given for.
"""

from typing import Any

import numpy as np
from watch_traces import Trace

from cubicweb_leakwatch.probe.sample import Sample

MIB = 1024.0**2
GROWS = {
    "python-objects": {"gc_objects": 1 / 300, "python_blocks": 1 / 80, "malloc_used": 0.1},
    "uncollectable": {"gc_objects": 1 / 300, "garbage": 1 / 3000, "python_blocks": 1 / 80, "malloc_used": 0.1},
    "python-memory": {"python_blocks": 1 / 300, "malloc_used": 0.02},
    "native": {"malloc_used": 1.0},
    "file-descriptors": {},
    "threads": {"malloc_used": 0.5},
    "fragmentation": {},
    "plateau": {"gc_objects": 1 / 300, "python_blocks": 1 / 80, "malloc_used": 0.1},
    "warming-up": {"gc_objects": 1 / 300, "python_blocks": 1 / 80, "malloc_used": 0.1},
}
CASES = (
    *[("steady", how) for how in ("white", "ar", "ar-long", "daily", "sawtooth", "pulses", "start")],
    *[("plateau", how) for how in ("exp", "linear", "exp")],
    *[("warming-up", "exp"), ("fragmentation", "free"), ("fragmentation", "nothing"), ("fragmentation", "high-water")],
    *[
        (kind, how)
        for kind in ("python-objects", "python-memory", "native")
        for how in ("plain", "daily", "ar", "bend")
    ],
    *[("python-objects", how) for how in ("sawtooth", "restarts", "start", "noisy", "pulses")],
    *[("native", "restarts"), ("native", "start"), ("python-memory", "sawtooth"), ("python-memory", "noisy")],
    *[("uncollectable", "plain"), ("uncollectable", "daily"), ("file-descriptors", "plain"), ("threads", "plain")],
)
LEVELS = {"python_blocks": 5e5, "gc_objects": 3e5, "fds": 20, "threads": 8, "garbage": 0}


def make_formula_trace(seed: int) -> Trace:
    """Return the trace of one seed; consecutive seeds go through all cases."""
    kind, how = CASES[seed % len(CASES)]
    rng = np.random.default_rng([seed, 77])
    dt = float(rng.choice([10, 60, 300, 300]))
    n = int(rng.choice([100, 144, 288, 600, 2016]))
    if how == "daily":
        dt, n = 300.0, int(rng.choice([864, 1440, 2016]))
    t = 1.7e9 + rng.integers(0, 86400) + np.arange(n) * dt
    base = rng.uniform(80, 500) * MIB
    grown, rate, lives = _growth(rng, kind, how, n, dt, base)
    around = _around(rng, how, t, n, base)
    noise = base * rng.choice([0.002, 0.005, 0.01])
    if how == "noisy":
        noise = 0.1 * float(np.ptp(grown))
    rss = base + grown + around + rng.normal(0, noise, n)
    meters = _meters(rng, kind, how, grown, around, base, noise)
    meters["rss"] = rss
    served = np.cumsum(
        rng.poisson(rng.uniform(0.5, 5) * dt * (1 + 0.6 * (how != "high-water") * around / max(np.ptp(around), 1)), n)
    )
    if rng.random() < 0.6:
        meters["requests"] = served - served[[int(np.flatnonzero(lives == life)[0]) for life in lives]]
    culprit = "app.models.Leaked" if kind in ("python-objects", "uncollectable") and rng.random() < 0.7 else None
    samples = _samples(rng, t, lives, meters, grown if culprit else None, n)
    return Trace(f"formula/{kind}/{how}/{seed}", kind, samples, culprit, rate)


def _growth(rng: np.random.Generator, kind: str, how: str, n: int, dt: float, base: float) -> tuple[Any, Any, Any]:
    """Return bytes grown at each sample, the rate in bytes an hour (leaks of memory), and the life of each sample."""
    x, lives = np.arange(n) / n, np.zeros(n, int)
    size = rng.uniform(0.15, 1.0) * base
    if kind == "steady" or how == "high-water":
        return size * (1 - np.exp(-x / 0.01)) * 0.3 if how == "start" else np.zeros(n), None, lives
    if kind == "plateau":
        shape = (
            np.minimum(1, x / rng.uniform(0.25, 0.7)) if how == "linear" else 1 - np.exp(-x / rng.uniform(0.07, 0.3))
        )
        return size * shape, None, lives
    if kind == "warming-up":
        return size * (1 - np.exp(-x / rng.uniform(0.5, 0.9))), None, lives
    onset = rng.uniform(0.3, 0.6) if how == "bend" else 0.0
    line = size * np.maximum(0, x - onset) / (1 - onset)
    rate = size / ((1 - onset) * n * dt / 3600)
    if how == "restarts":
        cuts = np.sort(rng.integers(n // 6, n - n // 6, rng.integers(1, 4)))
        lives = np.searchsorted(cuts, np.arange(n), side="right")
        line = line - line[[int(np.flatnonzero(lives == life)[0]) for life in lives]]
    if how == "start":
        line = line + 0.1 * base * (1 - np.exp(-x / 0.02))
    if kind in ("file-descriptors", "threads"):
        return line * 0.02, None, lives
    return line, (rate if kind != "fragmentation" else None), lives


def _around(rng: np.random.Generator, how: str, t: Any, n: int, base: float) -> Any:
    """Return bytes that come and go."""
    amount = rng.uniform(0.02, 0.12) * base
    if how == "daily":
        return amount * (1 + np.sin(2 * np.pi * t / 86400 + rng.uniform(0, 6.3)))
    if how in ("ar", "ar-long"):
        phi = 0.98 if how == "ar-long" else 0.9
        out = np.zeros(n)
        for i in range(1, n):
            out[i] = phi * out[i - 1] + rng.normal(0, np.sqrt(1 - phi**2))
        return 0.3 * amount * out
    if how == "sawtooth":
        return 2 * amount * ((np.arange(n) / n * rng.uniform(4, 25) + rng.uniform()) % 1)
    if how == "pulses":
        return sum(3 * amount * (np.abs(np.arange(n) - c) < max(1, n // 100)) for c in rng.integers(0, n, 5))
    if how == "high-water":
        return 3 * amount * (np.arange(n) > rng.uniform(0.2, 0.9) * n)
    return np.zeros(n)


def _meters(rng: np.random.Generator, kind: str, how: str, grown: Any, around: Any, base: float, noise: float) -> Any:
    n = len(grown)
    in_use = around if how != "high-water" else np.zeros(n)
    meters: dict[str, Any] = {}
    for name, each in (("gc_objects", 1 / 300), ("python_blocks", 1 / 80), ("malloc_used", 0.2)):
        level = LEVELS.get(name, 0.2 * base)
        grows = GROWS.get(kind, GROWS["plateau"]).get(name, 0.0)
        meters[name] = level + grown * grows + 0.8 * in_use * each + rng.normal(0, 0.002 * level, n)
    free = (
        around * rng.integers(0, 2)
        if how == "high-water"
        else grown
        if kind == "fragmentation" and how == "free"
        else 0
    )
    meters["malloc_free"] = 0.03 * base + free + np.abs(rng.normal(0, 0.1 * noise, n))
    for name in ("fds", "threads"):
        counted = {"file-descriptors": "fds", "threads": "threads"}.get(kind) == name
        more = grown / max(np.max(grown), 1) * rng.uniform(50, 500) if counted else 0
        meters[name] = LEVELS[name] + more + rng.integers(0, 3, n)
    meters["garbage"] = grown / 3000 if kind == "uncollectable" else np.zeros(n)
    return meters


def _samples(rng: np.random.Generator, t: Any, lives: Any, meters: Any, owned: Any, n: int) -> list[Sample]:
    types: list[dict[str, int]] | None = None
    if owned is not None:
        each, load = rng.uniform(500, 5000), rng.normal(0, 0.05, n)
        rows = {
            "app.models.Leaked": owned / each,
            "builtins.dict": 40_000 + 2 * owned / each + 500 * load,
            "builtins.list": 20_000 + owned / each,
            "app.views.View": 800 * (1 + load),
            "app.cache.Entry": 3000 * (1 - np.exp(-np.arange(n) / n / 0.03)),
            "builtins.function": np.full(n, 50_000.0),
        }
        types = [{name: int(row[i]) for name, row in rows.items()} for i in range(n)]
    return [
        Sample(
            t=float(t[i]),
            process="web-1",
            pid=100 + int(lives[i]),
            types=types[i] if types else None,
            **{name: max(0, int(row[i])) for name, row in meters.items()},
        )
        for i in range(n)
    ]
