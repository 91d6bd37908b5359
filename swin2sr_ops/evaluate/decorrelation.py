"""Resolution of one image by decorrelation analysis: up to which spatial frequency it holds signal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError

__all__ = ["decorrelation_cutoff"]

_RADII = 50
#: Standard deviations of the Gaussians that high-pass filters subtract, in pixels.
_FILTERS = (0.0, *np.geomspace(0.5, 16.0, 12))
#: A peak is one where the curve falls by so much behind it, and is at least so high.
_FALL, _HEIGHT = 1e-3, 0.05


def decorrelation_cutoff(image: NDArray[Any]) -> float:
    """Find the highest spatial frequency with signal, in cycles per pixel: 0.5 is all that pixels can hold.

    The image is correlated with itself after its Fourier transform was divided by its modulus and cut to a circle. As
    the circle grows, the correlation rises while there is signal, and falls where there is noise alone. This is
    repeated after high-pass filters; the farthest peak counts. After Descloux, Grussmayer and Radenovic,
    "Parameter-free image resolution estimation based on decorrelation analysis", Nature Methods 2019. The inverse is
    a resolution in pixels. 0 means that no peak was found: noise alone, or no structure.

    Parameters
    ----------
    image : ndarray
        One channel, at least 32 x 32 px.
    """
    if image.ndim != 2 or min(image.shape) < 32:
        raise RequestError(f"Decorrelation analysis needs one channel of at least 32 x 32 px, not {image.shape}.")
    window = np.outer(*(_edges(n) for n in image.shape))
    pixels = image.astype(np.float64)
    spectrum = np.abs(np.fft.fft2((pixels - pixels.mean()) * window))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(image.shape[0]), np.fft.fftfreq(image.shape[1]), indexing="ij"))
    inside = (frequency > 0) & (frequency <= 0.5)
    radius, modulus = frequency[inside], spectrum[inside]
    if not modulus.any():
        return 0.0
    ring = np.minimum((radius * 2 * _RADII).astype(np.intp), _RADII - 1)
    number = np.cumsum(np.bincount(ring, minlength=_RADII))
    found = 0.0
    for sigma in _FILTERS:
        kept = modulus if not sigma else modulus * (1 - np.exp(-2 * (np.pi * sigma * radius) ** 2))
        power = float(np.sum(kept**2))
        if power > 0:
            curve = np.cumsum(np.bincount(ring, kept, _RADII)) / np.sqrt(power * np.maximum(number, 1))
            found = max(found, _peak(curve))
    return found


def _peak(curve: NDArray[np.float64]) -> float:
    """Frequency of the highest point that the curve falls behind; 0 where it only rises or only falls."""
    end = len(curve)
    while end > 1:
        top = int(np.argmax(curve[:end]))
        if curve[top] < _HEIGHT:
            return 0.0
        if top < end - 1 and curve[top] - curve[top:end].min() >= _FALL:
            return (top + 1) / (2 * len(curve)) if top else 0.0
        end = top
    return 0.0


def _edges(length: int) -> NDArray[np.float64]:
    """A window that is 1 but for an eighth of the length at either end: borders are no structure."""
    ramp = max(length // 8, 1)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / ramp)
    return np.concatenate([rise, np.ones(length - 2 * ramp), rise[::-1]])
