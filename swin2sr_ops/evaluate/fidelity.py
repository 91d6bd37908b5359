"""Degrade a restored image again and compare it with the input: does the result contradict it?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate.degrade import Degradation, Levels
from swin2sr_ops.evaluate.metrics import psnr
from swin2sr_ops.evaluate.resize import reduce_by

__all__ = ["fidelity", "fidelity_map"]


def fidelity_map(
    result: NDArray[Any], input: NDArray[Any], scale: int, degrade: str | None = None
) -> NDArray[np.float32]:
    """Map where a restored image contradicts its input: ``|D(result) - input|`` at each pixel of the input.

    D is the degradation that the model undoes. The Swin2SR paper trains with this consistency for a compressed
    input (its auxiliary loss, ``|D(y) - D(y')|``); here it is a check that needs no truth. Small values do not
    prove that details are right, since many images reduce to the same one. Large values prove that they are not.

    Parameters
    ----------
    result, input : ndarray
        ``(H scale, W scale)`` and ``(H, W)``, or both with a last axis of colours, in the same unit.
    scale : int
        Scale of the result.
    degrade : str, optional
        ``"bicubic"`` (the default if ``scale`` is more than 1), ``"jpeg:10"``, ``"bicubic+jpeg:10"``.
        Noise cannot be reproduced: without a degradation, and with one that only adds noise, the map at
        scale 1 is what the model removed. It should look like noise, without structure of the image.

    Returns
    -------
    ndarray
        ``(H, W)``, float32, in the unit of the images; the mean over colours.

    Examples
    --------
    >>> small = np.array([[10, 20], [30, 40]], "uint8")
    >>> float(fidelity_map(np.kron(small, np.ones((2, 2), "uint8")), small, 2).max()) < 3
    True
    """
    again = _again(result, input, scale, degrade)
    gap: NDArray[np.float64] = np.abs(again - input.astype(np.float64))
    return (gap.mean(-1) if gap.ndim == 3 else gap).astype(np.float32)


def fidelity(
    result: NDArray[Any], input: NDArray[Any], scale: int, degrade: str | None = None, *, peak: float = 255.0
) -> float:
    """Return the same as one number: PSNR in dB between the degraded result and the input.

    In super-resolution it is known as LR-PSNR (Lugmayr et al., "NTIRE 2021 learning the super-resolution space
    challenge", which requires 45 dB).
    """
    return psnr(_again(result, input, scale, degrade), input, peak=peak)


def _again(result: NDArray[Any], given: NDArray[Any], scale: int, degrade: str | None) -> NDArray[np.float64]:
    expected = (given.shape[0] * scale, given.shape[1] * scale, *given.shape[2:])
    if result.ndim not in (2, 3) or result.shape != expected:
        raise RequestError(
            f"A result of shape {result.shape} does not belong to an input of shape {given.shape} at scale {scale}: "
            f"expected {expected}, (rows, columns) or (rows, columns, colours)."
        )
    steps = Degradation.parse(degrade).steps if degrade else (("bicubic", 0.0),) if scale > 1 else ()
    kept = Degradation(tuple(step for step in steps if step[0] not in ("noise", "poisson")))
    if kept.has("jpeg"):
        kept.check(scale)
        pixels = result if result.ndim == 3 else result[..., None]
        again = kept.apply(pixels, scale, Levels(0.0, 255.0)).pixels
        return again.reshape(given.shape).astype(np.float64)
    wide = result.astype(np.float64)
    return wide if scale == 1 else reduce_by(wide, scale)
