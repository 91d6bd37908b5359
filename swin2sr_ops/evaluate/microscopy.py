"""Compute figures for images of arbitrary brightness, as in microscopy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError

__all__ = ["frc", "frc_cutoff", "si_psnr"]


def si_psnr(result: NDArray[Any], truth: NDArray[Any], *, peak: float | None = None) -> float:
    """Compute the scale-invariant PSNR in dB, independent of gain and offset of the result.

    ``10 log10(peak^2 / min over a, b of mean((a result + b - truth)^2))``: the result is first fitted to the
    truth by least squares, since a restoration's gain and offset are arbitrary. After Weigert et al.,
    "Content-aware image restoration", Nature Methods 2018. ``peak`` is the width of the data range, by
    default that of the truth's values.
    """
    x, y = result.astype(np.float64).ravel(), truth.astype(np.float64).ravel()
    if x.shape != y.shape:
        raise RequestError(f"The images to compare have the shapes {result.shape} and {truth.shape}: they must agree.")
    peak = float(np.ptp(y)) if peak is None else peak
    if peak <= 0:
        raise RequestError("The truth has one value only, so it has no data range: give `peak`.")
    x, y = x - x.mean(), y - y.mean()
    power = float(x @ x)
    gain = float(x @ y) / power if power else 0.0
    mse = float(np.mean((gain * x - y) ** 2))
    # Differences of the size of rounding errors do not count.
    return math.inf if mse <= 1e-28 * float(np.mean(y**2)) else 10 * math.log10(peak**2 / mse)


def frc(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the Fourier ring correlation of two one-channel images.

    ``FRC(r) = Re sum F_a conj(F_b) / sqrt(sum |F_a|^2 sum |F_b|^2)``, sums over the ring of spatial
    frequencies r, after Saxton and Baumeister 1982, and Nieuwenhuizen et al., Nature Methods 2013. A Hann
    window is applied first, since the image's edges are no structure. Each ring is as wide as one frequency
    of the shorter side.

    Returns
    -------
    frequency, correlation : ndarray
        The rings' centres in cycles per pixel, up to 0.5; and for each a value from -1 to 1.
    """
    if a.shape != b.shape or a.ndim != 2 or min(a.shape) < 16:
        raise RequestError(f"FRC compares two images of one channel, at least 16 px; these are {a.shape}, {b.shape}.")
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in a.shape))
    spectra = [np.fft.rfft2((x.astype(np.float64) - x.mean()) * window) for x in (a, b)]
    steps = min(a.shape) // 2
    radius = np.hypot(np.fft.fftfreq(a.shape[0])[:, None], np.fft.rfftfreq(a.shape[1])[None])
    ring = np.rint(radius * 2 * steps).astype(np.intp)
    twice = np.full(radius.shape, 2.0)  # `rfft2` returns one of each pair of conjugates
    twice[:, 0] = 1.0
    if a.shape[1] % 2 == 0:
        twice[:, -1] = 1.0

    def summed(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(ring.ravel(), (x * twice).ravel(), steps + 1)[1 : steps + 1].astype(np.float64)

    cross = summed((spectra[0] * spectra[1].conj()).real)
    powers = [summed(np.abs(s) ** 2) for s in spectra]
    norm = np.sqrt(powers[0] * powers[1])
    correlation = np.divide(cross, norm, out=np.zeros_like(cross), where=norm > 0)
    return np.arange(1, steps + 1) / (2 * steps), correlation


def frc_cutoff(a: NDArray[Any], b: NDArray[Any], threshold: float = 1 / 7) -> float:
    """Find the spatial frequency, in cycles per pixel, up to which two images agree; 0.5 is full agreement.

    It is the frequency at which the Fourier ring correlation first falls below ``threshold``, interpolated
    between rings. Its inverse is a resolution in pixels. 1/7 is the usual threshold for two independent
    images; for a restoration and its truth it gives the limit up to which details are right.
    """
    frequency, correlation = frc(a, b)
    below = np.flatnonzero(correlation < threshold)
    if not below.size:
        return 0.5
    i = int(below[0])
    if i == 0:
        return 0.0
    high, low = correlation[i - 1], correlation[i]
    part = (high - threshold) / (high - low)
    return float(frequency[i - 1] + part * (frequency[i] - frequency[i - 1]))
