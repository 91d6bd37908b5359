"""Measure noise, JPEG blocks, sharpness, range and saturation on samples of one channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.evaluate.decorrelation import decorrelation_cutoff
from swin2sr_ops.pixels.noise import FEW, SQUARE, Noise, diagonal_differences, noise_of, squares_of

__all__ = ["Measured", "block_strength", "measure", "shared_detail", "without_shared"]

_JPEG = 8
#: Share of the finest detail from which two channels show the same scene; above the other number they are copies.
_SHARED, _COPIES = 0.5, 0.995


@dataclass(frozen=True)
class Measured:
    """Measurements of one channel.

    Attributes
    ----------
    low, high : float
        Smallest and largest value.
    inner_low, inner_high : float
        The percentiles 0.1 and 99.9.
    noise : Noise
    sigma255 : float
        Noise at the middle of the range, in 1/255 of the range: the unit of the models' training.
    photons : float
        Photons between the darkest and the brightest value, from the Poisson part; infinite without one.
    blocks : float
        Excess of steps at the borders of 8 x 8 blocks over other steps; 0: no blocks.
    cutoff : float
        Highest frequency with signal, in cycles per pixel, at most 0.5; 0 if none was found.
    saturated, black : float
        Fraction of pixels at the largest value, and at the smallest, if values accumulate there.
    shared : float
        Part of what looked like noise that another channel has, too, and that was subtracted; see `shared_detail`.
    """

    low: float
    high: float
    inner_low: float
    inner_high: float
    noise: Noise
    sigma255: float
    photons: float
    blocks: float
    cutoff: float
    saturated: float
    black: float
    shared: float = 0.0

    @property
    def width(self) -> float:
        """Width of the range."""
        return self.high - self.low


def measure(samples: Sequence[NDArray[Any]]) -> Measured | None:
    """Measure planes cut out of one channel at multiples of 8 px; NaN marks invalid pixels.

    Return None if all pixels have one value, or none is valid.
    """
    values = np.concatenate([s.astype(np.float64).ravel() for s in samples])
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        return None
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    whole = np.issubdtype(samples[0].dtype, np.integer) or bool((values == np.rint(values)).all())
    noise = noise_of(samples, low, high, rounded=whole)
    sigma = noise.sigma((inner_low + inner_high) / 2)
    clean = [np.nan_to_num(s.astype(np.float64), nan=float(np.median(values))) for s in samples]
    cutoffs = [decorrelation_cutoff(s) for s in clean if min(s.shape) >= 32 and s.std() > 0]
    return Measured(
        low=low,
        high=high,
        inner_low=inner_low,
        inner_high=inner_high,
        noise=noise,
        sigma255=255 * sigma / (high - low),
        photons=(inner_high - inner_low) / noise.gain if noise.gain > 0 else float("inf"),
        blocks=block_strength(clean),
        cutoff=float(np.percentile(cutoffs, 75)) if cutoffs else 0.0,
        saturated=_piled(values, high, high - low),
        black=_piled(values, low, high - low),
    )


def shared_detail(channels: Sequence[Sequence[NDArray[Any]]]) -> list[float]:
    """Return for each channel how much of its finest detail another channel has, too, in its flattest squares.

    Noise of two channels is independent, and a scene is not: what bands of a satellite share at the scale of a pixel is
    detail, such as that of a scene whose pixels were thinned out. Channels that are copies tell nothing.

    Parameters
    ----------
    channels : sequence of sequences of ndarray
        Samples of the channels, from the same places.

    Returns
    -------
    list of float
        The largest correlation of the diagonal differences with another channel, 0 to 1; 0 below `_SHARED`.
    """
    details = [np.concatenate([_details(s) for s in samples]) for samples in channels]
    found = []
    for i, mine in enumerate(details):
        power = (mine**2).mean(1)
        flat = power <= np.nanpercentile(power, 25) if np.isfinite(power).any() else np.zeros(power.shape, bool)
        shares = [_correlation(mine[flat], other[flat]) for j, other in enumerate(details) if j != i]
        shares = [share for share in shares if share <= _COPIES]
        largest = max(shares, default=0.0)
        found.append(largest if largest >= _SHARED else 0.0)
    return found


def without_shared(measured: Measured, share: float) -> Measured:
    """Subtract the detail that another channel has from the noise: a scene reaches the finest frequencies then."""
    if not share:
        return measured
    noise = Noise(measured.noise.gain * (1 - share), measured.noise.offset * (1 - share))
    return replace(
        measured,
        noise=noise,
        sigma255=measured.sigma255 * float(np.sqrt(1 - share)),
        photons=measured.photons / (1 - share),
        cutoff=0.5,
        shared=share,
    )


def _details(plane: NDArray[Any]) -> NDArray[np.float64]:
    """Return the diagonal differences of each square, one row each."""
    return diagonal_differences(squares_of(plane.astype(np.float64))).reshape(-1, SQUARE**2 // 4)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    x, y = a[both], b[both]
    if x.size < FEW * SQUARE or not x.std() or not y.std():
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def block_strength(samples: Sequence[NDArray[np.float64]]) -> float:
    """Return the excess of steps at the borders of blocks of 8 px over adjacent steps, relative to the mean step.

    The grid of blocks may have any offset; it must be visible along both axes.
    """
    return min(_along([s.T for s in samples]), _along(samples))


def _along(samples: Sequence[NDArray[np.float64]]) -> float:
    """Compute the same for borders between columns."""
    sums, counts, total = np.zeros(_JPEG), np.zeros(_JPEG), []
    for plane in samples:
        step = np.abs(np.diff(plane, axis=1))
        if step.shape[1] < 3 * _JPEG:
            continue
        beyond = step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2
        phase = np.arange(1, step.shape[1] - 1) % _JPEG
        sums += np.bincount(phase, beyond.mean(0), _JPEG)
        counts += np.bincount(phase, minlength=_JPEG)
        total.append(step.mean())
    if not total or not np.mean(total):
        return 0.0
    mean = sums / np.maximum(counts, 1) / np.mean(total)
    top = int(np.argmax(mean))
    others = np.delete(mean, [(top - 1) % _JPEG, top, (top + 1) % _JPEG])
    apart = float(mean[top] - others.mean())
    return apart if apart > 4 * float(others.std()) else 0.0


def _piled(values: NDArray[np.float64], end: float, width: float) -> float:
    """Return the fraction of values at one end of the range, if more lie there than next to it."""
    at = np.abs(values - end) <= 1e-9 * width
    near = (np.abs(values - end) <= 0.01 * width) & ~at
    share = float(at.mean())
    return share if share > 1e-4 and at.sum() > 2 * near.sum() else 0.0
