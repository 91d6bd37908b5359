"""Estimate how far a network's results are from clean images that are unknown, while it sees all pixels as in use.

A loss at hidden pixels is that of another task: a network may become better at it and worse in use. Two recordings of
a place are compared as in training. A single recording ``y``, whose noise has the variance ``v = gain y + offset`` that
was measured in the image, becomes a pair by recorruption (Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021)::

    y1 = y + sqrt(v) z,    y2 = y - sqrt(v) z,    z standard normal

The noises ``n1``, ``n2`` of the pair are uncorrelated, so ``mean (f(y1) - y2)^2`` is the error plus a constant. With
this strength and ``v`` at the recorded pixel, ``E n1^2 n2`` vanishes for Poisson noise, too: a curved network is judged
right with few photons, where Stein's estimate is not. A smoothed ``v`` would lose this.

Like the scale-invariant PSNR, the risk is that of the results after the best scale and shift, one for all images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin2sr_ops.pixels.noise import Noise

__all__ = ["Trial", "recorrupted", "risks"]

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """A part of an image on which a network is judged.

    Attributes
    ----------
    shown : ndarray
        The network's input.
    recorded : ndarray
        What its result is compared with.
    taken : ndarray or float
        Noise that is subtracted from `recorded` before; 0 for a pair of recordings.
    """

    shown: Pixels
    recorded: Pixels
    taken: Pixels | float = 0.0


def recorrupted(y: Pixels, channels: int, noise: Noise, rng: np.random.Generator) -> Trial:
    """Split a recording ``(channels, H, W)`` into two whose noises are uncorrelated.

    Neighbouring planes may follow the channels: the network sees them with the same additional noise.
    """
    added = np.sqrt(np.maximum(noise.gain * y + noise.offset, 0)) * rng.standard_normal(y.shape, np.float32)
    shown = y + added
    # At the ends of a stack, reflection may bring the plane itself again.
    again = (y[channels:] == y[:1]).all((1, 2))
    shown[channels:][again] = shown[0]
    return Trial(shown, y[:channels], added[:channels])


def risks(function: Callable[[Tensor], Tensor], trials: Iterable[Trial], device: torch.device) -> NDArray[np.float64]:
    """Return the risk of a network on each trial: mean square error plus the variance of the noise.

    Parameters
    ----------
    function : callable
        The network: ``(B, C, H, W)`` to the same shape.
    trials : iterable of Trial
    device : torch.device
    """
    trials = list(trials)
    with torch.no_grad():
        found = [
            function(torch.from_numpy(t.shown)[None].to(device))[0].cpu().numpy().astype(np.float64) for t in trials
        ]
    scale, shift = _line(found, [t.recorded - t.taken for t in trials])
    errors = [scale * f + shift - t.recorded for f, t in zip(found, trials, strict=True)]
    # (e + w)^2 without w^2, which is known and no error.
    return np.array([np.mean(e * e + 2 * e * t.taken) for e, t in zip(errors, trials, strict=True)])


def _line(found: list[NDArray[np.float64]], wanted: list[Pixels]) -> tuple[float, float]:
    """Fit ``scale * found + shift`` to ``wanted``."""
    x, y = (np.concatenate([part.ravel() for part in parts]).astype(np.float64) for parts in (found, wanted))
    power = float(x.var())
    scale = float(np.mean((x - x.mean()) * (y - y.mean()))) / power if power else 1.0
    return scale, float(y.mean() - scale * x.mean())
