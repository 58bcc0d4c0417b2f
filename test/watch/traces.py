"""Samples made for tests: a process at rest, to which a test adds what it is about."""

from typing import Any

import numpy as np

from cubicweb_leakwatch.probe.sample import Sample

MIB = 1024 * 1024
BASE = 200 * MIB
START = 1_790_000_000.0


def samples(n: int = 300, step_s: float = 60.0, seed: int = 1, **meters: Any) -> list[Sample]:
    """Return ``n`` samples; each meter given is an array of ``n`` (or a number) added to the usual level and noise."""
    rng = np.random.default_rng(seed)
    noisy = {
        "rss": BASE + rng.normal(0, 0.5 * MIB, n),
        "python_blocks": 400_000 + rng.normal(0, 300, n),
        "malloc_used": 40 * MIB + rng.normal(0, 0.1 * MIB, n),
        "malloc_free": 5 * MIB + rng.normal(0, 0.1 * MIB, n),
        "gc_objects": 200_000 + rng.uniform(0, 1000, n),
        "garbage": np.zeros(n),
        "fds": 12 + rng.integers(0, 3, n),
        "threads": np.full(n, 6.0),
    }
    only = meters.pop("only", tuple(noisy))
    names = {
        key: meters.pop(key) for key in ("process", "pid", "types", "views", "requests", "in_flight") if key in meters
    }
    for name, more in meters.items():
        noisy[name] = noisy[name] + more
    rows = {name: np.broadcast_to(noisy[name], n).round().astype(int).tolist() for name in ("rss", *only)}
    fixed: dict[str, list[Any]] = {name: _column(value, n) for name, value in names.items()}
    return [
        Sample(
            t=START + i * step_s, **{name: row[i] for name, row in rows.items()}, **{k: v[i] for k, v in fixed.items()}
        )
        for i in range(n)
    ]


def _column(value: Any, n: int) -> list[Any]:
    return [value] * n if isinstance(value, str | int | None) else list(value)


def line(n: int, total: float, start: float = 0.0) -> np.ndarray:
    """Return growth to ``total`` at the end, from the share ``start`` of the history on."""
    x = np.arange(n) / (n - 1)
    return total * np.maximum(0.0, x - start) / (1 - start)


def saturating(n: int, total: float, folding: float) -> np.ndarray:
    """Return growth to ``total`` with an e-folding of a share of the history."""
    return total * (1 - np.exp(-np.arange(n) / n / folding))
