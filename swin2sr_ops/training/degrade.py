"""Degrade a clean patch to a model's input: blur, reduction, noise, JPEG, in order or shuffled.

A recipe's ``[degrade]`` holds one table per step, in the order in which they are applied. Each step draws
its strength anew for every patch, uniformly between two ends:

=============  ======================  ====================================================================
step           strength                effect
=============  ======================  ====================================================================
``blur``       ``sigma = [0.2, 2.0]``  Gaussian blur, in pixels of the image at this step
``bicubic``    none                    reduction by the model's scale, antialiased; first if it is not named
``poisson``    ``photons = [5, 500]``  shot noise with that many photons at full range, uniform in its logarithm
``noise``      ``sigma = [0, 50]``     Gaussian noise, in 255ths of the range; after ``poisson``: a camera's noise
``jpeg``       ``quality = [10, 95]``  JPEG, colour with or without halved chroma, block grid at any offset
``quantise``   ``bits = [8, 8]``       clipped to 0..1 and rounded, like stored images
``coarse``     none                    ``bands = [3, 4]``, ``ratio = 2``: these bands (the first one is 0) come from
                                       pixels of ``ratio`` times the size: means, enlarged by cubic convolution as
                                       GDAL does when it joins bands of different pixel size in a VRT
=============  ======================  ====================================================================

``share = 0.5`` in a table: only half of the patches go through that step. ``shuffle = true`` in
``[degrade]`` itself: the steps are applied in random order, as in real images (after Zhang et al.,
BSRGAN, ICCV 2021; ``quantise`` stays last).

Every random number comes from the given generator: a patch is a function of its seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from swin2sr_ops.evaluate.degrade import jpeg
from swin2sr_ops.training.degrade_table import STRENGTHS

__all__ = ["Degrade", "bicubic_reduce", "bicubic_resize", "blurred"]

Patch = NDArray[np.float32]


@dataclass(frozen=True)
class Degrade:
    """Apply the steps of a recipe's ``[degrade]`` for a model of scale ``scale``.

    Parameters
    ----------
    table : mapping
        The recipe's ``degrade``, validated by `degrade_table.degrade_problems`.
    scale : int
        Scale of the model, by which ``bicubic`` reduces.
    """

    table: Mapping[str, Any]
    scale: int

    def apply(self, patch: Patch, rng: np.random.Generator) -> Patch:
        """Degrade ``(C, H scale, W scale)`` in 0..1 to ``(C, H, W)``; noise may leave 0..1."""
        for name, values in self._steps(rng):
            # Draw for skipped steps too: skipping a step must not change the random numbers of the later ones.
            taken, seed = rng.random() < values.get("share", 1.0), int(rng.integers(2**63))
            if taken:
                patch = self._step(name, values, patch, np.random.default_rng(seed))
        return patch

    def _steps(self, rng: np.random.Generator) -> list[tuple[str, Mapping[str, Any]]]:
        steps = [(name, values) for name, values in self.table.items() if name != "shuffle"]
        if self.scale > 1 and "bicubic" not in self.table:
            steps.insert(0, ("bicubic", {}))
        if self.table.get("shuffle"):
            last = [step for step in steps if step[0] == "quantise"]
            rest = [step for step in steps if step[0] != "quantise"]
            steps = [rest[i] for i in rng.permutation(len(rest))] + last
        return steps

    def _step(self, name: str, values: Mapping[str, Any], patch: Patch, rng: np.random.Generator) -> Patch:
        low, high = values.get(STRENGTHS[name][0], (0.0, 0.0)) if name in STRENGTHS else (0.0, 0.0)
        if name in ("bicubic", "coarse"):
            return _coarse(patch, **values) if name == "coarse" else _reduced(patch, self.scale)
        if name == "poisson":
            photons = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            return (rng.poisson(patch.clip(0, None).astype(np.float64) * photons) / photons).astype(np.float32)
        strength = rng.uniform(low, high)
        if name == "noise":
            return patch + rng.standard_normal(patch.shape, np.float32) * np.float32(strength / 255)
        if name == "blur":
            return blurred(patch, strength)
        if name == "jpeg":
            return _through_jpeg(patch, round(strength), rng)
        top = np.float32(2 ** round(strength) - 1)
        rounded: Patch = (patch.clip(0, 1) * top).round() / top
        return rounded


def bicubic_reduce(x: torch.Tensor, scale: int) -> torch.Tensor:
    """Reduce ``(B, C, H, W)`` by ``scale``: bicubic with antialiasing (A = -0.5), like MATLAB's ``imresize``.

    MATLAB mirrors the image at its border and torch renormalises the kernel there, so the outer
    two pixels differ slightly; inside, the numbers agree.
    """
    if scale == 1:
        return x
    return bicubic_resize(x, (x.shape[-2] // scale, x.shape[-1] // scale))


def bicubic_resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize ``(B, C, H, W)`` to another height and width, as `bicubic_reduce` does."""
    return F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)


def blurred(patch: Patch, sigma: float) -> Patch:
    """Apply a Gaussian blur up to three sigma, with a mirrored border."""
    reach = min(int(np.ceil(3 * sigma)), min(patch.shape[1:]) - 1)
    if reach < 1:
        return patch
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    x = F.pad(torch.from_numpy(patch)[:, None], (reach,) * 4, mode="reflect")
    x = F.conv2d(F.conv2d(x, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return np.asarray(x[:, 0].numpy())


def _reduced(patch: Patch, scale: int) -> Patch:
    return np.asarray(bicubic_reduce(torch.from_numpy(patch)[None], scale)[0].numpy())


def _coarse(patch: Patch, bands: list[int], ratio: int) -> Patch:
    """Give some bands of ``(C, H, W)`` the detail of pixels ``ratio`` times as large, on the grid of the first one."""
    height, width = patch.shape[1:]
    chosen = torch.from_numpy(patch[bands])[None]
    beyond = (0, -width % ratio, 0, -height % ratio)
    small = F.avg_pool2d(F.pad(chosen, beyond, mode="replicate"), ratio)
    large = bicubic_resize(small, (small.shape[-2] * ratio, small.shape[-1] * ratio))
    out = patch.copy()
    out[bands] = large[0, :, :height, :width].numpy()
    return out


def _through_jpeg(patch: Patch, quality: int, rng: np.random.Generator) -> Patch:
    """Apply JPEG with a grid of 8 x 8 blocks that starts at one of the first eight rows and columns.

    Half of the images start with a complete block, like files that were never cropped. Rows and
    columns before the grid stay unchanged: they belong to the margin that is removed later.
    """
    cropped, halved = rng.integers(2, size=2)
    y, x = rng.integers(8, size=2) * cropped
    out = patch.copy()
    stored = (patch[:, y:, x:].transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)
    decoded = jpeg(stored, quality, "4:2:0" if halved else "4:4:4")
    out[:, y:, x:] = decoded.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return out
