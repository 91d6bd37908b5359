"""Compute all figures of one result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.evaluate.decorrelation import decorrelation_cutoff
from swin2sr_ops.evaluate.degrade import Levels
from swin2sr_ops.evaluate.fidelity import fidelity
from swin2sr_ops.evaluate.metrics import crop, luma, psnr, psnr_b, ssim
from swin2sr_ops.evaluate.microscopy import frc_cutoff, si_psnr
from swin2sr_ops.evaluate.opensr import OPENSR, opensr_scores
from swin2sr_ops.evaluate.squirrel import squirrel
from swin2sr_ops.spec import ModelSpec

__all__ = ["Measured", "scores_of"]


@dataclass
class Measured:
    """One image with all that was made of it; pixels are ``(H, W, C)`` in the unit of the file.

    Attributes
    ----------
    given : ndarray
        The input; float32 where noise was added.
    truth : ndarray or None
        Cropped to what the input shows.
    outputs : dict
        Method -> its result; ``bicubic`` (or ``input``) is the baseline, always there.
    scores : dict
        Method -> figure -> value.
    spreads : dict
        Method -> standard deviation of its ensemble's passes, where there is one, in the unit of the file.
    models : dict
        Method -> `ModelSpec` of the network that restored this image; a word such as ``best`` may name several.
    """

    name: str
    scale: int
    given: NDArray[Any]
    truth: NDArray[Any] | None
    levels: Levels
    degrade: str | None
    outputs: dict[str, NDArray[Any]] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    spreads: dict[str, NDArray[Any]] = field(default_factory=dict)
    models: dict[str, ModelSpec] = field(default_factory=dict)


def scores_of(
    measured: Measured,
    output: NDArray[Any],
    border: int,
    jpeg: bool,
    extra: Sequence[str],
) -> dict[str, float]:
    """Compute PSNR and SSIM of all channels and of Y, PSNR-B with JPEG, and the figures in ``extra``.

    A result of another type than the truth's has another unit: it only gets figures that do not depend on it.
    """
    found: dict[str, float] = {}
    truth, levels = measured.truth, measured.levels
    if truth is not None:
        a, b = (crop(x, border).astype(np.float64) - levels.lo for x in (output, truth))
        if output.dtype == truth.dtype:
            found |= _official(a, b, levels.peak, jpeg or "psnr_b" in extra or "psnr_b_y" in extra)
        if "si_psnr" in extra:
            # The range of `psnr`, so that fitting the brightness can only gain.
            found["si_psnr"] = si_psnr(a, b, peak=levels.peak)
        if "frc" in extra:
            found["frc"] = frc_cutoff(_plane(a, levels.peak), _plane(b, levels.peak))
        if OPENSR.keys() & set(extra):
            lo, peak = levels.lo, levels.peak
            found |= opensr_scores(*((x.astype(np.float64) - lo) / peak for x in (output, measured.given, truth)))
    if "rse" in extra or "rsp" in extra:
        given = measured.given.astype(np.float64) - levels.lo
        shown = squirrel(_plane(output - levels.lo, levels.peak), _plane(given, levels.peak), measured.scale)
        found |= {"rse": shown.rse, "rsp": shown.rsp}
    if "decorrelation" in extra:
        found["decorrelation"] = decorrelation_cutoff(_plane(output.astype(np.float64) - levels.lo, levels.peak))
    if "fidelity" in extra:
        again = (output, measured.given, measured.scale, measured.degrade)
        found["fidelity"] = fidelity(*again, peak=levels.peak)
    return found


def _official(a: NDArray[np.float64], b: NDArray[np.float64], peak: float, blocks: bool) -> dict[str, float]:
    y = [_plane(x, peak) for x in (a, b)]
    found = {
        "psnr": psnr(a, b, peak=peak),
        "ssim": ssim(a, b, peak=peak),
        "psnr_y": psnr(*y, peak=peak),
        "ssim_y": ssim(*y, peak=peak),
    }
    if blocks:
        found |= {"psnr_b": psnr_b(a, b, peak=peak), "psnr_b_y": psnr_b(*y, peak=peak)}
    return found


def _plane(x: NDArray[np.float64], peak: float) -> NDArray[np.float64]:
    return luma(x, peak) if x.shape[-1] == 3 else x[..., 0]
