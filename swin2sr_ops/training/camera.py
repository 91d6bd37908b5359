"""Record a clean patch with the model of a microscope and its camera: the input and the target of an x1 model.

A recipe's ``[camera]`` names quantities, each with two ends. Every patch draws its own values:

==============  =======================  ================================================================
quantity        example                  effect
==============  =======================  ================================================================
``psf``         ``[0.5, 2.5]``           blur by optics, sigma in pixels: a Gaussian or an Airy disk as wide
``photons``     ``[1, 1000]``            photons at the brightest pixel of the patch, uniform in the logarithm
``background``  ``[0, 0.5]``             light everywhere, relative to ``photons``
``read``        ``[0.5, 6]``             read noise, electrons
``rows``        ``[0, 0.5]``             noise that the pixels of a row (or a column) share, relative to ``read``
``hot``         ``[0, 0.001]``           share of hot pixels
``offset``      ``[0, 30]``              offset in electrons; what lies below zero is clipped
``gain``        ``[0.2, 5]``             stored levels per electron, uniform in the logarithm; then rounded
==============  =======================  ================================================================

With signal ``s`` in 0..1 (after the blur), photons ``p``, background ``b``, read noise ``r`` and row noise ``q r``, the
stored value has the mean ``gain (p (s + b) + offset)`` and the variance ``gain^2 (p (s + b) + r^2 + (q r)^2) + 1/12``.

The target is the blurred signal in the same units: a model learns to remove the camera, not the optics. Both are
then mapped to 0..1 as restoration maps an image, from the recorded values alone: from the smallest (or from zero, as
for 8-bit images) up to the largest or beyond it, since an image may have brighter places than this patch.

``em = 0.3`` gives that share of these patches an EMCCD: ``n`` electrons become a number with the gamma distribution of
shape ``n`` (Basden, Haniff & Mackay, "Photon counting strategies with low-light-level CCDs", 2003), in units of the
register's gain, so that the variance of ``n`` doubles (Hynecek & Nishiwaki, 2003), and read noise is a tenth.

``share = 0.8`` lets only that share of the patches go through the camera; the others go through ``[degrade]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

__all__ = ["CAMERA_MARGIN", "Camera"]

#: Input pixels around a patch that the widest ``psf`` needs: three sigma.
CAMERA_MARGIN = 12
#: What remains of the read noise of an EMCCD, whose signal is multiplied before it is read.
_EM_READ = 0.1

Patch = NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """Record patches with the quantities of a recipe's ``[camera]``.

    Parameters
    ----------
    table : mapping
        The recipe's ``camera``, validated by `camera_table.camera_problems`.
    planes : bool
        The channels of a patch are planes of one stack: hot pixels are the same in all of them.
    """

    table: Mapping[str, Any]
    planes: bool = False

    def takes(self, rng: np.random.Generator) -> bool:
        """Draw whether the next patch goes through the camera."""
        return bool(rng.random() < self.table.get("share", 1.0))

    def apply(self, patch: Patch, rng: np.random.Generator) -> tuple[Patch, Patch]:
        """Return a model's input and target in 0..1 for a clean patch ``(C, H, W)`` in 0..1."""
        truth, recorded = self.record(patch, rng)
        low = float(recorded.min()) if rng.random() < 0.5 else 0.0
        high = float(recorded.max())
        high += 2 * (high - low) * rng.random() ** 2
        width = max(high - low, 1.0)
        return ((recorded - low) / width).astype(np.float32), ((truth - low) / width).astype(np.float32)

    def record(self, patch: Patch, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the expected and the recorded levels of a patch, before they are mapped to 0..1."""
        signal = _optics(patch.clip(0, 1), self._drawn("psf", rng), rng).astype(np.float64)
        photons, gain = self._drawn("photons", rng, log=True), self._drawn("gain", rng, log=True)
        background, read = self._drawn("background", rng), self._drawn("read", rng)
        rows, hot = self._drawn("rows", rng) * read, self._drawn("hot", rng)
        offset = self._drawn("offset", rng)
        light = photons * (signal / max(float(signal.max()), 0.05) + background)
        multiplied = "em" in self.table and rng.random() < self.table["em"]
        if multiplied:
            read, rows = read * _EM_READ, rows * _EM_READ
        electrons = rng.poisson(light).astype(np.float64)
        if multiplied:
            electrons = rng.standard_gamma(electrons)  # of no electron: none
        electrons += read * rng.standard_normal(light.shape)
        electrons += rows * _shared(light.shape, rng)
        sensor = (1, *light.shape[1:]) if self.planes else light.shape
        burnt = rng.random(sensor) < hot
        electrons += burnt * rng.exponential(photons + 10 * read, sensor)
        recorded = electrons + offset if gain == 0 else np.rint(gain * (electrons + offset))
        return (gain or 1.0) * (light + offset), recorded.clip(0, None) if "offset" in self.table else recorded

    def _drawn(self, name: str, rng: np.random.Generator, *, log: bool = False) -> float:
        low, high = self.table.get(name, (0.0, 0.0))
        share = rng.random()  # also for what is not named: the other quantities must not change with it
        if log:
            return float(low * (high / low) ** share) if low else 0.0
        return float(low + (high - low) * share)


def _shared(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw noise of unit variance that the pixels of each row share, or for half of the patches of each column."""
    lines = (*shape[:-1], 1) if rng.random() < 0.5 else (*shape[:-2], 1, shape[-1])
    return rng.standard_normal(lines)


def _optics(patch: Patch, sigma: float, rng: np.random.Generator) -> Patch:
    """Blur by a point spread function of width ``sigma``: Gaussian, or an Airy disk for half of the patches."""
    airy = rng.random() < 0.5
    if sigma < 0.2:  # narrower than a pixel can show
        return patch
    reach = min(CAMERA_MARGIN, min(patch.shape[1:]) - 1)
    ahead = torch.arange(-reach, reach + 1, dtype=torch.float64)
    radius = torch.hypot(ahead[:, None], ahead[None])
    kernel = _airy(radius / sigma) if airy else torch.exp(-0.5 * (radius / sigma) ** 2)
    kernel = (kernel / kernel.sum()).float()
    x = F.pad(torch.from_numpy(np.ascontiguousarray(patch))[:, None], (reach,) * 4, mode="reflect")
    return np.asarray(F.conv2d(x, kernel[None, None])[:, 0].numpy())


def _airy(radius: torch.Tensor) -> torch.Tensor:
    """Compute the Airy disk ``(2 J1(v) / v)^2`` whose centre has the curvature of a Gaussian of sigma 1."""
    v = (radius * 2**0.5).clamp(min=1e-6)  # (2 J1(v) / v)^2 = 1 - v^2 / 4 + ...
    disk: torch.Tensor = (2 * torch.special.bessel_j1(v) / v) ** 2
    return disk
