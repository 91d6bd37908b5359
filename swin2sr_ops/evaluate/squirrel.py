"""SQUIRREL's error map: where a super-resolved image, blurred as the microscope does it, contradicts its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError

__all__ = ["Squirrel", "squirrel"]

#: Standard deviations of the blur that are tried, in pixels of the input.
_NARROW, _WIDE, _STEPS = 0.05, 6.0, 24
_GOLDEN = (np.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Squirrel:
    """Result of `squirrel`.

    Attributes
    ----------
    error : ndarray
        Absolute difference at each pixel of the input, in its unit.
    rse : float
        Resolution-scaled error: the root mean square of it.
    rsp : float
        Resolution-scaled Pearson correlation of input and blurred result, -1 to 1.
    sigma, gain, offset : float
        The blur that fits best, in pixels of the input, and the brightness that does.
    """

    error: NDArray[np.float32]
    rse: float
    rsp: float
    sigma: float
    gain: float
    offset: float


def squirrel(result: NDArray[Any], reference: NDArray[Any], scale: int) -> Squirrel:
    """Blur a result by the Gaussian that fits best, fit its brightness, and compare it with the input.

    After Culley et al., "Quantitative mapping and minimization of super-resolution optical imaging artifacts", Nature
    Methods 2018. Unlike `swin2sr_ops.evaluate.fidelity_map` it knows neither the degradation nor the unit of the
    result: blur, gain and offset are fitted, as for an image of another modality.

    Parameters
    ----------
    result : ndarray
        One channel, ``scale`` times as many rows and columns as ``reference``.
    reference : ndarray
        The input.
    scale : int

    Raises
    ------
    RequestError
        The shapes do not belong to each other, or an image has one value only.
    """
    if result.ndim != 2 or result.shape != tuple(n * scale for n in reference.shape):
        raise RequestError(
            f"A result of shape {result.shape} does not belong to an input of shape {reference.shape} at scale {scale}:"
            " give one channel of both."
        )
    target = reference.astype(np.float64)
    if np.ptp(target) == 0 or np.ptp(result) == 0:
        raise RequestError("An image with one value only has no structure to compare.")
    low, high = np.log(_NARROW), np.log(_WIDE)
    blur = _Blur(result.astype(np.float64), scale)
    for _ in range(_STEPS):  # golden section: the error has one minimum
        step = _GOLDEN * (high - low)
        if _fit(blur(np.exp(high - step)), target)[0] < _fit(blur(np.exp(low + step)), target)[0]:
            high = low + step
        else:
            low = high - step
    sigma = float(np.exp((low + high) / 2))
    again = blur(sigma)
    rse, gain, offset = _fit(again, target)
    error = np.abs(gain * again + offset - target).astype(np.float32)
    rsp = float(np.corrcoef(again.ravel(), target.ravel())[0, 1])
    return Squirrel(error, rse, rsp, sigma, gain, offset)


class _Blur:
    """A Gaussian blur of one image, then the mean of each pixel of the input; mirrored at the borders."""

    def __init__(self, image: NDArray[np.float64], scale: int) -> None:
        self.scale, self.shape = scale, image.shape
        mirrored = np.concatenate([image, image[::-1]])
        mirrored = np.concatenate([mirrored, mirrored[:, ::-1]], 1)
        self.spectrum = np.fft.rfft2(mirrored)
        y, x = np.fft.fftfreq(mirrored.shape[0])[:, None], np.fft.rfftfreq(mirrored.shape[1])[None]
        self.squares = y**2 + x**2
        self.size = mirrored.shape

    def __call__(self, sigma: float) -> NDArray[np.float64]:
        transfer = np.exp(-2 * (np.pi * sigma * self.scale) ** 2 * self.squares)
        rows, columns = self.shape
        blurred = np.fft.irfft2(self.spectrum * transfer, self.size)[:rows, :columns]
        s = self.scale
        means: NDArray[np.float64] = blurred.reshape(rows // s, s, columns // s, s).mean((1, 3))
        return means


def _fit(image: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, float, float]:
    """Root mean square difference after the best gain and offset, and these two."""
    x, y = image - image.mean(), target - target.mean()
    power = float((x**2).sum())
    gain = float((x * y).sum()) / power if power > 0 else 0.0
    return float(np.sqrt(np.mean((gain * x - y) ** 2))), gain, float(target.mean() - gain * image.mean())
