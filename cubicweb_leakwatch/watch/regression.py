"""Least squares of all shapes at once: each is one or two columns, so every solution is written out, none iterated."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.watch.noise import Noise
from cubicweb_leakwatch.watch.shapes import Shapes

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Fit:
    """All models under one noise, one entry a model.

    ``first`` and ``second`` are the coefficients of their columns, ``slope`` that of the last one and ``slope_sd`` its
    deviation; ``spread`` is the deviation of points; ``log_likelihood`` is restricted, with Schwarz's price of the
    parameters off, and minus infinity where the fit makes no sense.
    """

    log_likelihood: Array
    first: Array
    second: Array
    slope: Array
    slope_sd: Array
    spread: Array

    def curve(self, model: int, shapes: Shapes, known: NDArray[np.bool_], jumps: Array) -> Array:
        """Return what a model adds to the level of each known point."""
        total = np.zeros(int(known.sum()))
        for column, coefficient in zip(shapes.models[model].columns, (self.first, self.second), strict=False):
            values = jumps if column == shapes.jumps else shapes.basis[known, column]
            total = total + coefficient[model] * values
        return total


def tempered(fit: Fit, share: float) -> Fit:
    """Return what a fit says where its points prove only a share of what as many independent ones would."""
    return dataclasses.replace(
        fit, log_likelihood=share * fit.log_likelihood, slope_sd=fit.slope_sd / np.sqrt(max(share, 1e-9))
    )


def fit_all(
    noise: Noise, basis: Array, shapes: Shapes, life: NDArray[np.int64], y_and_jumps: Array, resolution: float
) -> Fit:
    """Fit every model, with a level of its own for each life; ``basis`` holds the columns as whitened by ``noise``."""
    levels = (life[:, None] == np.unique(life)[None, :]).astype(float)
    white = noise.whiten(np.column_stack([levels, y_and_jumps]))
    q = levels.shape[1]
    ortho, upper = np.linalg.qr(white[:, :q])
    columns = basis.copy()
    columns[:, shapes.jumps] = white[:, q + 1]
    columns -= ortho @ (ortho.T @ columns)
    target = white[:, q] - ortho @ (ortho.T @ white[:, q])
    freedom = max(len(life) - q, 3)
    first, second, unexplained, inverses = _least_squares(columns, target, shapes)
    left = np.maximum(unexplained, 0.0) + freedom * resolution**2
    two = shapes.second >= 0
    order = (shapes.first >= 0).astype(float) + two
    volume = noise.log_scale + float(np.sum(np.log(np.abs(np.diag(upper)))))
    log_likelihood = -volume - 0.5 * freedom * np.log(left) - 0.5 * order * np.log(freedom)
    spread = np.sqrt(left / np.maximum(freedom - order, 1))
    slope_sd = spread * np.sqrt(np.where(two, inverses[1], inverses[0]))
    possible = np.where(shapes.rises & (first < 0) | shapes.fills & (second < 0), -np.inf, log_likelihood)
    return Fit(possible, first, second, np.where(two, second, first), slope_sd, spread)


def _least_squares(columns: Array, target: Array, shapes: Shapes) -> tuple[Array, Array, Array, tuple[Array, Array]]:
    """Return the coefficients, the squares left, and the diagonals of the inverse of each model's normal equations."""
    gram, with_y = columns.T @ columns, columns.T @ target
    i, j = shapes.first, shapes.second
    one, two = i >= 0, j >= 0
    # what is all but nothing after the levels are taken out must not blow up
    tiny = 1e-12
    a = np.where(one, gram[i, i], 1.0) + tiny
    d = np.where(two, gram[j, j], 1.0) + tiny
    c = np.where(two, gram[i, j], 0.0)
    u = np.where(one, with_y[i], 0.0)
    v = np.where(two, with_y[j], 0.0)
    determinant = np.maximum(a * d - c * c, 1e-9 * a * d)
    first = (d * u - c * v) / determinant
    second = (a * v - c * u) / determinant
    left = np.asarray(float(target @ target) - first * u - second * v, float)
    return first, second, left, (d / determinant, a / determinant)
