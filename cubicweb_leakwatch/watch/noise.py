"""How the noise of a meter hangs together in time, so that a slow wander is not taken for a trend.

Memory meters are autocorrelated: a busy quarter of an hour leaves a bump. An ordinary regression, and a Mann–Kendall
test, then find trends in nothing. Here the noise is white noise plus a first-order autoregression with a memory that
is not known: a grid of them is tried and weighed by the restricted likelihood (Patterson & Thompson 1971; generalised
least squares after Prais & Winsten 1954, in continuous time so that gaps are no harm).
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Memory of the noise as a share of the history, and how likely it is to be so long before anything is seen: noise that
# wanders for half the history could explain everything.
_MEMORIES = ((0.01, 1.0), (0.04, 1.0), (0.15, 0.4), (0.6, 0.1))
# The share of its variance that has a memory.
_SHARES = (0.5, 0.95)
_GRID = ((0.0, 0.0, 1.0), *((memory, share, prior) for memory, prior in _MEMORIES for share in _SHARES))


@dataclasses.dataclass(frozen=True)
class Noise:
    """One assumption about the noise: ``whitener`` is the inverse of its correlation matrix's Cholesky root.

    ``log_scale`` is what the likelihood loses by the size of that root, less the logarithm of the assumption's prior.
    """

    whitener: Array
    log_scale: float

    def whiten(self, columns: Array) -> Array:
        """Return columns (points × any) in which the noise is independent, of equal size."""
        return np.asarray(self.whitener @ columns, float)


def noises(t: Array, life: NDArray[np.int64], counts: Array) -> list[Noise]:
    """Return the assumptions to weigh for points at times ``t`` of lives ``life``, made of ``counts`` samples each."""
    span = max(float(np.max(t) - np.min(t)), 1.0)
    apart = np.abs(t[:, None] - t[None, :]) / span
    same = (life[:, None] == life[None, :]).astype(float)
    # a point made of many samples is less noisy, but not beyond what the noise's memory allows
    own = np.diag(1.0 / np.minimum(counts, 25.0))
    return [
        _noise(same * np.exp(-apart / memory) if memory else None, share, own, prior) for memory, share, prior in _GRID
    ]


def _noise(together: Array | None, share: float, own: Array, prior: float) -> Noise:
    matrix = own if together is None else share * together + (1.0 - share) * own
    root = np.asarray(np.linalg.cholesky(matrix + 1e-9 * np.eye(len(matrix))), float)
    return Noise(np.asarray(np.linalg.inv(root), float), float(np.sum(np.log(np.diag(root))) - np.log(prior)))
