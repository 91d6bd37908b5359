"""Estimate how far a network's results are from clean images that are unknown, while it sees all pixels as in use.

A loss at hidden pixels is that of another task: a network may become better at it and worse in use. Two recordings of
a place are compared as in training. With a single recording ``y``, Stein's estimate of the error plus the variance of
the noise is ``mean (f(y) - y)^2 + 2 mean v df/dy``, where ``v`` is the variance that was measured in the image.

With few photons it matters where the line ``v = gain x + offset`` is read. Let the noise ``n`` have the variance v and
the third moment k. In ``f(y) = f0 + f1 n + f2 n^2 / 2`` the term to estimate is ``E n f = f1 v + f2 k / 2``, and
``E (v + c n) df/dy = f1 v + f2 c v``: equal for ``c = k / 2v``. So the line is read between a smoothed
image (c = 0) and the recorded pixel (c = gain), at the share ``k / (2 gain v)`` of the latter: 1/2 for Poisson noise,
less with much read noise, 3/4 behind a multiplying register. To read it at the recorded pixel, as is usual, misjudges
curved networks. The share is measured, too: the noise of a pixel is what it differs from the mean of its neighbours.

Where a detector is saturated, or an offset is clipped, the noise is smaller than the line says. A network that smooths
such places would be praised for noise that is not there. So pixels whose smoothed value is within three standard
deviations of such an end of the range do not count.

Like the scale-invariant PSNR, the risk is that of the results after the best scale and shift, one for all images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from swin2sr_ops.pixels.noise import Noise
from swin2sr_ops.training.degrade import blurred

__all__ = ["STEP", "Trial", "clipped_ends", "counted_of", "risks", "share_of", "trial_of", "variance_of"]

Pixels = NDArray[np.float32]
Function = Callable[[Tensor], Tensor]

#: Step of the derivative, in units of the range: far below the noise, far above float32's rounding.
STEP = 2e-3
#: Width of the filter that smooths an image to read the variance there.
_SIGMA = 1.5
#: Weights of the neighbours whose mean stands for the unknown pixel.
_RING = torch.tensor([[1.0, 1, 1], [1, 0, 1], [1, 1, 1]])[None, None] / 8

#: Standard deviations from an end of the range, closer to which noise may be clipped; it is if this share of the pixels
#: there lies at the end. Of unclipped noise, few pixels are as small or as large as the last one.
_CLIPPED, _PILED = 3.0, 0.01


def share_of(planes: Pixels, noise: Noise) -> float:
    """Measure at which share of the recorded pixel the variance is read, in 0..1, on planes ``(..., H, W)``."""
    third, scale = 0.0, 0.0
    for plane in planes.reshape(-1, *planes.shape[-2:]):
        around = F.conv2d(torch.from_numpy(np.ascontiguousarray(plane))[None, None], _RING)[0, 0].numpy()
        third += float(np.mean((plane[1:-1, 1:-1] - around) ** 3, dtype=np.float64)) / (1 - _RING.pow(3).sum().item())
        scale += 2 * noise.gain * float(np.maximum(noise.gain * around + noise.offset, 0).mean())
    return min(max(third / scale, 0.0), 1.0) if scale > 0 else 0.0


def variance_of(y: Pixels, noise: Noise, share: float) -> Pixels:
    """Return the variance of the noise of each pixel of planes ``(..., H, W)``."""
    smooth = blurred(y, _SIGMA)
    return np.maximum(noise.gain * (smooth + share * (y - smooth)) + noise.offset, 0).astype(np.float32)


def clipped_ends(planes: Pixels, noise: Noise) -> tuple[float, float]:
    """Return the values at which the noise of planes ``(..., H, W)`` is clipped; infinite where it is not."""
    planes = planes.reshape(-1, *planes.shape[-2:])
    ends, near, piled = (float(planes.min()), float(planes.max())), [0, 0], [0, 0]
    for plane in planes:
        smooth, sigma = _smooth(plane[None], noise)
        for i, (end, sign) in enumerate(zip(ends, (-1, 1), strict=True)):
            close = sign * (end - smooth[0]) <= _CLIPPED * sigma[0]
            near[i] += int(close.sum())
            piled[i] += int((close & (plane == end)).sum())
    low, high = (count > 0 and at_end >= _PILED * count for count, at_end in zip(near, piled, strict=True))
    return ends[0] if low else -np.inf, ends[1] if high else np.inf


def counted_of(y: Pixels, noise: Noise, ends: tuple[float, float]) -> Pixels:
    """Return 1 for each pixel of planes ``(C, H, W)`` whose noise is not clipped at ``ends``, else 0."""
    smooth, sigma = _smooth(y, noise)
    return ((smooth - _CLIPPED * sigma > ends[0]) & (smooth + _CLIPPED * sigma < ends[1])).astype(np.float32)


def _smooth(y: Pixels, noise: Noise) -> tuple[Pixels, Pixels]:
    """Return smoothed planes ``(C, H, W)`` and the standard deviation of the noise there."""
    smooth = blurred(y, _SIGMA)
    return smooth, np.sqrt(np.maximum(noise.gain * smooth + noise.offset, 0))


@dataclass(frozen=True)
class Trial:
    """A part of an image on which a network is judged, ``(channels, H, W)``.

    Attributes
    ----------
    shown : ndarray
        The network's input; neighbouring planes may follow the channels.
    recorded : ndarray
        What its result is compared with.
    variance, probe : ndarray, optional
        Variance of the noise of `recorded`, and random signs of the input's size, if `recorded` was shown; none for a
        pair of recordings.
    counted : ndarray, optional
        1 for pixels of `recorded` that count, else 0; by default all do.
    """

    shown: Pixels
    recorded: Pixels
    variance: Pixels | None = None
    probe: Pixels | None = None
    counted: Pixels | None = None

    @property
    def weight(self) -> Pixels:
        """1 for each pixel of `recorded` that counts, else 0."""
        return np.ones_like(self.recorded) if self.counted is None else self.counted


def trial_of(
    y: Pixels, channels: int, variance: Pixels, rng: np.random.Generator, counted: Pixels | None = None
) -> Trial:
    """Judge on a single recording ``(channels, H, W)``, which neighbouring planes may follow."""
    probe = rng.choice(np.array([-1, 1], np.float32), y.shape)
    # Only noise of the plane itself counts; at the ends of a stack, reflection may bring that plane again.
    again = (y[channels:] == y[:1]).all((1, 2), keepdims=True)
    probe[channels:] = np.where(again, probe[:1], 0)
    return Trial(y, y[:channels], variance, probe, counted)


def risks(function: Function, trials: Iterable[Trial], device: torch.device) -> NDArray[np.float64]:
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
        found, slopes = zip(*(_judged(function, trial, device) for trial in trials), strict=True)
    x, y, w = (
        np.concatenate([part.ravel() for part in parts]).astype(np.float64)
        for parts in (found, [t.recorded for t in trials], [t.weight for t in trials])
    )
    total = max(float(w.sum()), 1.0)
    size = np.array([t.recorded.size for t in trials])
    x_mean, y_mean = w @ x / total, w @ y / total
    # Of the covariance with what was recorded, `slopes` is due to its noise.
    power, common = w @ (x - x_mean) ** 2 / total, (w @ ((x - x_mean) * (y - y_mean)) - size @ slopes) / total
    scale = common / power if power else 1.0
    shift = y_mean - scale * x_mean
    errors = [np.mean(t.weight * (scale * f + shift - t.recorded) ** 2) for f, t in zip(found, trials, strict=True)]
    parts: NDArray[np.float64] = (np.array(errors) + 2 * scale * np.array(slopes)) * (size.sum() / total)
    return parts


def _judged(function: Function, trial: Trial, device: torch.device) -> tuple[NDArray[np.float64], float]:
    """Return the result, and the mean of variance times derivative; pixels that do not count add 0."""

    def result(given: Pixels) -> NDArray[np.float64]:
        return function(torch.from_numpy(given)[None].to(device))[0].cpu().numpy().astype(np.float64)

    found = result(trial.shown)
    if trial.variance is None or trial.probe is None:
        return found, 0.0
    change = (result(trial.shown + np.float32(STEP) * trial.probe) - found) / STEP
    return found, float(np.mean(trial.weight * trial.variance * trial.probe[: len(found)] * change))
