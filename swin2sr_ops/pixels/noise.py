"""Measure the noise of images from the images themselves: variance as a line over the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEW", "SQUARE", "Noise", "diagonal_differences", "noise_of", "squares_of"]

#: Side of the squares for mean and variance; and the first quartile of a variance estimated from the
#: 64 differences in a square, as a fraction of the true variance (chi-square with 64 degrees of freedom).
SQUARE, _QUARTILE = 16, 0.876
#: Number of groups of squares by brightness, and least number of squares per group.
_GROUPS, FEW = 12, 12
#: Largest fraction of pixels at the ends of the range in a measured square.
_CUT_OFF = 0.05


@dataclass(frozen=True)
class Noise:
    """Variance of the noise as ``gain * value + offset``, in stored units.

    ``gain`` is the Poisson part: 0 for Gaussian noise alone. ``offset`` contains the Gaussian part and the constant
    that a camera adds to all pixels.
    """

    gain: float
    offset: float

    def sigma(self, value: float) -> float:
        """Return the standard deviation at ``value``."""
        return float(np.sqrt(max(self.gain * value + self.offset, 0.0)))


def noise_of(samples: Sequence[NDArray[Any]], low: float, high: float, *, rounded: bool = False) -> Noise:
    """Fit variance against mean over small squares, as in a photon transfer measurement of a camera.

    The variance of a square comes from its diagonal differences, which edges along rows and columns and smooth ramps do
    not affect. The lower quartile of each group of squares of similar brightness is used: texture increases variances,
    and never reduces them. After Foi, Trimeche, Katkovnik and Egiazarian, "Practical Poissonian-Gaussian noise
    modeling and fitting for single-image raw-data", IEEE TIP 2008. Noise that adjacent pixels share (from
    demosaicking or enlargement) is underestimated; if no square is flat, texture counts as noise.

    Parameters
    ----------
    samples : sequence of ndarray
    low, high : float
        Squares with many pixels at these values are omitted, because noise is clipped there.
    rounded : bool
        Values are integers: the variance of rounding is subtracted.
    """
    means, variances, ends = np.concatenate([_squares(s.astype(np.float64), low, high) for s in samples], 1)
    kept = ends <= _CUT_OFF
    if kept.sum() < FEW:  # strong noise, or a black-and-white image
        kept = ends <= np.percentile(ends, 50) if ends.size else kept
    means, variances = means[kept], variances[kept]
    if means.size < FEW:
        return Noise(0.0, 0.0)
    order = np.argsort(means)
    groups = [g for g in np.array_split(order, min(_GROUPS, means.size // FEW)) if g.size]
    x = np.array([means[g].mean() for g in groups])
    y = np.array([np.percentile(variances[g], 25) / _QUARTILE for g in groups])
    y = np.maximum(y - (1 / 12 if rounded else 0.0), 0.0)
    if len(x) < 3 or np.ptp(x) == 0:
        return Noise(0.0, float(np.median(y)))
    weight = 1 / np.maximum(y, 0.05 * y.max() if y.max() > 0 else 1.0)  # a variance's error is proportional to it
    gain, offset = np.polyfit(x, y, 1, w=weight)
    if gain <= 0 or gain * np.ptp(x) < 0.2 * y.mean():  # constant noise
        return Noise(0.0, float(np.average(y, weights=weight)))
    return Noise(float(gain), float(offset))


def squares_of(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut a plane into whole squares, ``(N, SQUARE, SQUARE)``; a plane narrower than a square has none."""
    rows, columns = (n // SQUARE for n in plane.shape)
    part = plane[: rows * SQUARE, : columns * SQUARE]
    split = part.reshape(rows, SQUARE, columns, SQUARE).swapaxes(1, 2)
    return split.reshape(rows * columns, SQUARE, SQUARE)


def diagonal_differences(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the diagonal difference of each 2 x 2 pixels of the last two axes.

    White noise keeps its variance in it; edges along rows and columns, and smooth ramps, leave nothing.
    """
    upper, lower = squares[..., ::2, :], squares[..., 1::2, :]
    return (upper[..., ::2] - lower[..., ::2] - upper[..., 1::2] + lower[..., 1::2]) / 2


def _squares(plane: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Return mean, noise variance and fraction of pixels at ``low`` or ``high``, for each square of valid pixels."""
    squares = squares_of(plane)
    mean, variance = squares.mean((-1, -2)), (diagonal_differences(squares) ** 2).mean((-1, -2))
    ends = ((squares <= low) | (squares >= high)).mean((-1, -2))
    inside = np.isfinite(mean)
    return np.stack([mean[inside], variance[inside], ends[inside]])
