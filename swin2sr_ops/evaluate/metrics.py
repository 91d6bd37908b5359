"""Compute the figures of merit of papers on image restoration, as the official scripts do.

Images are ``(H, W)`` or ``(H, W, C)``; ``peak`` is the width of the data range, in the images' unit.
All sums are taken in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError

__all__ = ["crop", "luma", "psnr", "psnr_b", "ssim"]

_KERNEL = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_BLOCK = 8  # side of a JPEG block

Pixels = NDArray[Any]


def crop(image: Pixels, border: int) -> Pixels:
    """Remove ``border`` pixels at each edge."""
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def luma(rgb: Pixels, peak: float = 255.0) -> NDArray[np.float64]:
    """Compute Y of BT.601 in the range of television, 16 to 235 of 255, not rounded; ``(H, W)``.

    An image without three channels is returned unchanged.
    """
    x = rgb.astype(np.float64)
    if x.ndim != 3 or x.shape[2] != 3:
        return x
    y: NDArray[np.float64] = x @ (np.array([65.481, 128.553, 24.966]) / 255) + 16 * peak / 255
    return y


def psnr(result: Pixels, truth: Pixels, *, peak: float = 255.0, border: int = 0) -> float:
    """Compute the peak signal-to-noise ratio in dB, ``10 log10(peak^2 / MSE)``; infinite for equal images."""
    a, b = _pair(result, truth, border)
    mse = float(np.mean((a - b) ** 2))
    return math.inf if mse == 0 else 10 * math.log10(peak**2 / mse)


def ssim(result: Pixels, truth: Pixels, *, peak: float = 255.0, border: int = 0) -> float:
    """Compute the structural similarity: 11 x 11 Gaussian, sigma 1.5, valid region; mean over channels.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, with
    its constants 0.01 and 0.03.
    """
    a, b = _pair(result, truth, border)
    if min(a.shape[:2]) < len(_KERNEL):
        raise RequestError(f"SSIM needs at least 11 x 11 px; the image has {a.shape[0]} x {a.shape[1]}.")
    channels = a.shape[2] if a.ndim == 3 else 1
    planes = zip(*(np.split(x.reshape(*x.shape[:2], -1), channels, 2) for x in (a, b)), strict=True)
    return float(np.mean([_ssim(p[..., 0], q[..., 0], peak) for p, q in planes]))


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64], peak: float) -> float:
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def _blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = _KERNEL / _KERNEL.sum()
    rows, columns = (n - len(kernel) + 1 for n in x.shape)
    x = sum((w * x[i : i + rows] for i, w in enumerate(kernel)), np.zeros((rows, x.shape[1])))
    return sum((w * x[:, i : i + columns] for i, w in enumerate(kernel)), np.zeros((rows, columns)))


def psnr_b(result: Pixels, truth: Pixels, *, peak: float = 255.0, border: int = 0) -> float:
    """Compute the PSNR with visible JPEG blocks in ``result`` counted as error; mean over channels, in dB.

    Yim and Bovik, "Quality assessment of deblocked images", 2011: ``10 log10(peak^2 / (MSE + BEF))``.
    BEF is the squared step across block boundaries minus that between all other neighbours, times
    ``log2(8) / log2(min(H, W))``, and zero instead of negative values. The counts are those of the official
    scripts, which count one boundary too few if the last block is not complete.
    """
    a, b = _pair(result, truth, border)
    if min(a.shape[:2]) < 2 * _BLOCK:
        raise RequestError(f"PSNR-B needs at least 16 x 16 px; the image has {a.shape[0]} x {a.shape[1]}.")
    channels = a.shape[2] if a.ndim == 3 else 1
    found = []
    for p, q in zip(*(np.split(x.reshape(*x.shape[:2], -1), channels, 2) for x in (a, b)), strict=True):
        error = float(np.mean((p - q) ** 2)) + _blocking(p[..., 0])
        found.append(math.inf if error == 0 else 10 * math.log10(peak**2 / error))
    return float(np.mean(found))


def _blocking(x: NDArray[np.float64]) -> float:
    """Compute the blocking effect factor of one channel."""
    edge = other = 0.0
    edges = others = 0
    for plane in (x, x.T):  # steps along the last axis: first between columns, then between rows
        steps = np.diff(plane, axis=1) ** 2
        boundary = np.zeros(steps.shape[1], bool)
        boundary[_BLOCK - 1 :: _BLOCK] = True
        edge += float(steps[:, boundary].sum())
        other += float(steps[:, ~boundary].sum())
        counted = plane.shape[0] * (plane.shape[1] // _BLOCK - 1)
        edges += counted
        others += steps.size - counted
    excess = edge / edges - other / others
    return max(excess, 0.0) * math.log2(_BLOCK) / math.log2(min(x.shape))


def _pair(result: Pixels, truth: Pixels, border: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if result.shape != truth.shape:
        raise RequestError(f"The images to compare have the shapes {result.shape} and {truth.shape}: they must agree.")
    if min(result.shape[:2]) <= 2 * border:
        raise RequestError(f"An image of shape {result.shape} has no pixel left without a border of {border} px.")
    return crop(result, border).astype(np.float64), crop(truth, border).astype(np.float64)
