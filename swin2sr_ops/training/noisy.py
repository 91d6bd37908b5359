"""Learn to denoise from noisy images alone: batches, losses and held-out parts.

With ``y = x + n`` the recorded and ``x`` the unknown clean image, f the network:

==============  =====================================================================================
``blind``       mean over some pixels of ``(f(y') - y)^2``, in y' each of them holds a neighbour's value (Krull et
                al., "Noise2Void", CVPR 2019): noise of a pixel must not depend on that of others. A model of several
                planes sees their pixels at the same place, which must not share that noise either
``repeats``     mean ``(f(y1) - y2)^2`` of two recordings of the same place (Lehtinen et al., "Noise2Noise", ICML
                2018): any noise of mean zero that the two do not share
``neighbours``  the same with adjacent frames or planes: what moves between them is blurred
``sure``        Stein's unbiased estimate of ``mean (f(y) - x)^2`` for noise of variance ``gain y + offset``, measured
                in the image: ``mean (f(y) - y)^2 - mean v + 2 mean v df/dy``, the derivative by one random probe
                (Ramani et al., IEEE TIP 2008; Soltanayev and Chun, NeurIPS 2018). The line is read where the
                estimate is exact to second order, and clipped pixels do not count, see `swin2sr_ops.training.risk`
==============  =====================================================================================

``sure`` estimates the error itself. The others estimate it plus the variance of the noise, a constant. A part of
every image is held out: the run stops and chooses its weights by the risk there (`swin2sr_ops.training.risk`), which
is that of the network in use, whatever the loss is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.pixels.noise import Noise, noise_of
from swin2sr_ops.training.noisy_images import Sequence, find_noisy, load_sequences
from swin2sr_ops.training.planes import digest_of
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.training.risk import (
    STEP,
    Trial,
    clipped_ends,
    counted_of,
    risks,
    share_of,
    trial_of,
    variance_of,
)
from swin2sr_ops.training.volumes import planes_of

__all__ = ["NoisySampler", "noisy_loss"]

Batch = tuple[Tensor, ...]
Function = Callable[[Tensor], Tensor]

#: Share of the pixels that `blind` hides, and how far away the values come from that it shows instead.
_HIDDEN, _REACH = 0.015, 2
#: Held-out patches are these many batches, of other random numbers than the training's.
_HELD_BATCHES, _HELD_SEED = 6, 2**40
#: Number of held-out parts that the risk is measured on, and their side in patches.
_TRIALS, _TRIAL_SIDE = 16, 2
#: Number of them on which the removed noise is measured.
_REMOVED_TRIALS = 4


#: Images without noise, or too small to measure it; and pairs, where it needs no measure.
_UNKNOWN = Noise(0.0, 0.0)


@dataclass(frozen=True)
class _Source:
    """A sequence, the noise measured in it, how its variance is read, and the values at which it is clipped."""

    planes: Sequence
    noise: Noise
    share: float = 0.0
    ends: tuple[float, float] = (-np.inf, np.inf)

    def variance(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the variance of the noise of each pixel of a patch."""
        return variance_of(y, self.noise, self.share)

    def counted(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return 1 for each pixel of a patch whose noise is not clipped, else 0."""
        return counted_of(y, self.noise, self.ends)


class NoisySampler:
    """Draw batches of noisy patches for a recipe with ``noisy``; a batch is a function of seed and step.

    Parameters
    ----------
    recipe : Recipe
    data : path or ImageSource
        A folder with the recipe's folders; or an image, or a Zarr archive.

    Raises
    ------
    RequestError
        If no image is large enough, or the method needs several planes of a place and no image has them.
    """

    def __init__(self, recipe: Recipe, data: Path | ImageSource) -> None:
        self.recipe, self.spec, self.how = recipe, recipe.spec, recipe.noisy
        self.pairs = recipe.noisy in ("repeats", "neighbours")
        images = find_noisy(data, recipe.folders) if isinstance(data, Path) else [data]
        found = [s for image in images for s in load_sequences(image, self.spec.channels, self.spec.along)]
        least = 2 if self.pairs or self.spec.planes > 1 else 1
        sequences = [s for s in found if min(s.shape[-2:]) >= recipe.patch and len(s) >= least]
        if not sequences:
            needed = f"at least {recipe.patch} x {recipe.patch} px with {self.spec.channels} channel(s)"
            if self.spec.planes > 1:
                needed += f" and several planes along {self.spec.along or 'T, Z or another axis'}"
            elif self.pairs and found:
                needed += " and several frames or planes: --noisy blind needs one only"
            place = str(data) if isinstance(data, Path) else data.uri
            raise RequestError(f"{place} contains no image of {needed}.")
        self.count = sum(len(s) for s in sequences)
        # The noise of whole images: a part may be too small for a measure.
        self.trained, self.held = _split([self._source(s) for s in sequences], recipe.patch, self.pairs)

    def __len__(self) -> int:
        return self.count

    def digest(self) -> str:
        """Compute a digest of the images."""
        return digest_of(source.planes for source in (*self.trained, *self.held))

    def _source(self, planes: Sequence) -> _Source:
        if self.pairs:
            return _Source(planes, _UNKNOWN)
        noise = noise_of([p for plane in planes for p in plane], float(planes.min()), float(planes.max()))
        if self.how == "sure" and noise == _UNKNOWN:
            raise RequestError(
                "No noise was measured in an image, which has none or is too small: train with --noisy blind, which"
                " needs no measure."
            )
        return _Source(planes, noise, share_of(planes, noise), clipped_ends(planes, noise))

    def batch(self, step: int) -> Batch:
        """Return the tensors of one step, the network's input first; `noisy_loss` knows the others."""
        return self._batch(self.trained, np.random.default_rng((self.recipe.seed, step)))

    def held_out(self) -> list[Batch]:
        """Return the batches of the risk estimate, the same at every call."""
        seeds = ((self.recipe.seed, _HELD_SEED + i) for i in range(_HELD_BATCHES))
        return [self._batch(self.held, np.random.default_rng(seed)) for seed in seeds]

    @property
    def judged(self) -> list[_Source]:
        """The held-out parts on which a network can be judged in use: pairs, or those whose noise was measured."""
        return [s for s in self.held if self.pairs or s.noise != _UNKNOWN]

    def trials(self) -> Iterator[Trial]:
        """Cut the parts of the risk estimate, the same at every call."""
        rng, judged = np.random.default_rng((self.recipe.seed, _HELD_SEED - 1)), self.judged
        for _ in range(_TRIALS):
            y, other, source = self._cut(judged, rng, _TRIAL_SIDE * self.recipe.patch)
            own = self.spec.channels
            if self.pairs:
                yield Trial(y, other)
            else:
                yield trial_of(y, own, source.variance(y[:own]), rng, source.counted(y[:own]))

    def removed(self, function: Function, device: torch.device) -> float:
        """Return how much a denoiser changes some held-out parts, relative to the variance of the measured noise."""
        changed, measured = 0.0, 0.0
        with torch.no_grad():
            for trial in islice(self.trials(), _REMOVED_TRIALS):
                assert trial.variance is not None
                found = function(torch.from_numpy(trial.shown)[None].to(device))[0].cpu().numpy()
                changed += float((trial.weight * (found - trial.recorded) ** 2).sum())
                measured += float((trial.weight * trial.variance).sum())
        return changed / measured if measured else 0.0

    def risks(self, function: Function, device: torch.device) -> NDArray[np.float64]:
        """Return the risk on each of the held-out parts; without known noise the loss at hidden pixels."""
        if self.judged:
            return risks(function, self.trials(), device)
        with torch.no_grad():
            batches = [tuple(t.to(device) for t in batch) for batch in self.held_out()]
            return np.array([noisy_loss(self.how, function, batch).item() for batch in batches])

    def residuals(self, function: Function, device: torch.device) -> list[NDArray[np.float32]]:
        """Return the noise of held-out patches: differences of pairs, or what the network removes."""
        with torch.no_grad():
            if self.pairs:
                return [(a - b).numpy() for a, b in self.held_out()]
            given = [b[1] if self.how == "blind" else b[0] for b in self.held_out()]
            return [(y[:, : self.spec.channels] - function(y.to(device)).cpu()).numpy() for y in given]

    def _batch(self, sources: list[_Source], rng: np.random.Generator) -> Batch:
        cut = [self._cut(sources, rng, self.recipe.patch) for _ in range(self.recipe.batch)]
        y = np.stack([patch for patch, _, _ in cut])
        if self.pairs:
            return torch.from_numpy(y), torch.from_numpy(np.stack([other for _, other, _ in cut]))
        if self.how == "sure":
            variance = np.stack([source.variance(patch) for patch, _, source in cut])
            counted = np.stack([source.counted(patch) for patch, _, source in cut])
            probe = rng.choice(np.array([-1, 1], "f4"), y.shape)
            return tuple(torch.from_numpy(part) for part in (y, variance, probe, counted))
        shown, hidden = self._hidden(y, rng)
        return torch.from_numpy(shown), torch.from_numpy(y), torch.from_numpy(hidden)

    def _hidden(
        self, y: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Hide pixels of the plane itself, not of its neighbours ``(B, planes, H, W)``."""
        shown, hidden = _hide(y[:, : self.spec.channels], rng)
        beside = y[:, self.spec.channels :]
        # At the ends of a stack, reflection may bring the plane itself again.
        again = (beside == y[:, :1]).all((2, 3), keepdims=True)
        return np.concatenate([shown, np.where(again, shown[:, :1], beside)], 1), hidden

    def _cut(
        self, sources: list[_Source], rng: np.random.Generator, side: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], _Source]:
        """Cut a patch and its partner (the patch itself without pairs) out of one sequence, turned alike."""
        source = sources[rng.integers(len(sources))]
        planes = source.planes
        rows, columns = (min(side, n) for n in planes.shape[-2:])
        first = int(rng.integers(len(planes)))
        second = first
        if self.how == "repeats":
            second = (first + int(rng.integers(1, len(planes)))) % len(planes)
        elif self.how == "neighbours":
            second = first + 1 if first == 0 or (first < len(planes) - 1 and rng.random() < 0.5) else first - 1
        y, x = (int(rng.integers(n - k + 1)) for n, k in zip(planes.shape[-2:], (rows, columns), strict=True))
        part = planes[..., y : y + rows, x : x + columns]
        turns, mirrored = int(rng.integers(4)), rng.integers(2)
        out = []
        for i in (first, second):
            patch = part[i] if self.spec.planes == 1 else planes_of(part[:, 0], i, self.spec.planes)
            patch = np.rot90(patch, turns, (1, 2))
            out.append(np.ascontiguousarray(patch[:, ::-1] if mirrored else patch))
        return out[0], out[1], source


def noisy_loss(how: str, function: Function, batch: Batch) -> Tensor:
    """Compute the loss of one batch of a `NoisySampler`.

    Parameters
    ----------
    how : str
        ``blind``, ``repeats``, ``neighbours`` or ``sure``.
    function : callable
        The network: ``(B, C, H, W)`` to the same shape.
    batch : tuple of Tensor
        ``blind``: input with hidden pixels, recorded image (of several planes the plane itself first), 1 where a
        pixel is hidden. Pairs: both recordings.
        ``sure``: recorded image, variance of its noise, probe of random signs, 1 where the noise is not clipped.
    """
    if how == "blind":
        shown, recorded, hidden = batch
        own = recorded[:, : hidden.shape[1]]
        return ((function(shown) - own) ** 2 * hidden).sum() / hidden.sum()
    if how in ("repeats", "neighbours"):
        one, other = batch
        return ((function(one) - other) ** 2).mean()
    recorded, variance, probe, counted = batch
    result = function(recorded)
    slope = probe * (function(recorded + STEP * probe) - result) / STEP
    errors = (result - recorded) ** 2 - variance + 2 * variance * slope
    return (counted * errors).sum() / counted.sum().clamp(min=1)


def _hide(y: NDArray[np.float32], rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Replace random pixels ``(B, C, H, W)`` by random neighbours; return the result and 1 at these pixels."""
    b, _, h, w = y.shape
    number = max(1, round(_HIDDEN * h * w))
    shown, hidden = y.copy(), np.zeros_like(y)
    steps = np.array([(i, j) for i in range(-_REACH, _REACH + 1) for j in range(-_REACH, _REACH + 1) if i or j])
    for k in range(b):
        rows, columns = np.divmod(rng.choice(h * w, number, replace=False), w)
        ahead = steps[rng.integers(len(steps), size=number)]
        # Beyond the border the step goes the other way, so that no pixel keeps its own value.
        there = [
            np.where((p + d < 0) | (p + d >= n), p - d, p + d)
            for p, d, n in zip((rows, columns), ahead.T, (h, w), strict=True)
        ]
        shown[k, :, rows, columns] = y[k][:, there[0], there[1]].T
        hidden[k, :, rows, columns] = 1
    return shown, hidden


def _split(sources: list[_Source], patch: int, pairs: bool) -> tuple[list[_Source], list[_Source]]:
    """Hold out the last fifth of the rows; of small images every fifth one; of a single small one nothing.

    Patches of the held-out rows share no pixel with those of the training.
    """
    tall = [s for s in sources if s.planes.shape[-2] >= 3 * patch]
    if tall:
        rows = [max(patch, s.planes.shape[-2] // 5) for s in tall]
        above = [replace(s, planes=s.planes[..., :-n, :]) for s, n in zip(tall, rows, strict=True)]
        below = [replace(s, planes=s.planes[..., -n:, :]) for s, n in zip(tall, rows, strict=True)]
        return above + [s for s in sources if s.planes.shape[-2] < 3 * patch], below
    if len(sources) > 1:
        fifth = 5 if len(sources) >= 5 else len(sources)
        held = sources[fifth - 1 :: fifth]
        return [s for i, s in enumerate(sources) if (i + 1) % fifth], held
    planes, least = sources[0].planes, 2 if pairs else 1
    last = max(least, len(planes) // 5)
    if len(planes) - last < least:
        return sources, sources
    return [replace(sources[0], planes=planes[:-last])], [replace(sources[0], planes=planes[-last:])]
