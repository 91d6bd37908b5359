"""Make training patches of neighbouring planes: from stacks and time series, or from pictures that have none.

A recipe's ``[volume]`` turns a picture into planes, for data without stacks. Every patch draws its own values:

=========  ============  =============================================================================
quantity   example       effect
=========  ============  =============================================================================
``shift``  ``[0, 2]``    pixels by which the picture moves from one plane to the next, in any direction
``blur``   ``[0, 1]``    growth of a Gaussian blur's sigma per plane away from a focus near the middle
``other``  ``0.3``       share of patches with other content beside the plane, on either side or on both: wholly in
                         half of them, else blended in
``fade``   ``0.3``       share of patches whose content turns into another one from plane to plane
=========  ============  =============================================================================

Without ``other`` and ``fade`` all planes show the same, and a network learns to rely on that. The other content comes
from another place or image. Real volumes change in more ways. So stacks are better, and a stack among the images is
used as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate.data import find_cases
from swin2sr_ops.geometry.neighbours import Depth, reflected
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.training.degrade import blurred
from swin2sr_ops.training.images import Pair, find_images
from swin2sr_ops.training.noisy_images import extent, read_sequences
from swin2sr_ops.training.planes import ends_of, reduced, unit

__all__ = ["MadeVolume", "planes_of", "stacks"]


@dataclass(frozen=True)
class MadeVolume:
    """Make the planes of a patch with the quantities of a recipe's ``[volume]``."""

    table: Mapping[str, Any]

    @property
    def mixes(self) -> bool:
        """Return True if planes may show other content: then `apply` needs some."""
        return bool(self.table.get("other") or self.table.get("fade"))

    def apply(
        self, patch: NDArray[Any], planes: int, rng: np.random.Generator, other: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Turn ``(1, H, W)`` into ``(planes, H, W)``: the plane itself first, as a network expects them.

        ``other`` is a patch of the same size with other content, for the shares of the table that need it.
        """
        angle, step = rng.uniform(0, 2 * np.pi), self._drawn("shift", rng)
        growth, focus = self._drawn("blur", rng), rng.uniform(-1, 1)
        distances = _distances(planes)
        shown = [patch] * planes if other is None or not self.mixes else self._mixed(patch, other, distances, rng)
        made = []
        for distance, content in zip(distances, shown, strict=True):
            rows, columns = (round(distance * step * f(angle)) for f in (np.sin, np.cos))
            plane = _moved(_moved(content, 1, rows), 2, columns).astype(np.float32)
            made.append(blurred(plane, growth * abs(distance - focus)))
        return np.concatenate(made)

    def _mixed(
        self, patch: NDArray[Any], other: NDArray[Any], distances: list[int], rng: np.random.Generator
    ) -> list[NDArray[Any]]:
        """Return the content at each distance from the plane.

        The random numbers are the same for any number of planes, so that models of one and of several see the same
        patches.
        """
        kind, amount, side, alike = rng.random(), min(1.0, 2 * rng.random()), rng.integers(-1, 2), rng.random() < 0.5
        start, step = rng.uniform(0, 0.5), rng.uniform(-0.5, 0.5)
        changed, fading = self.table.get("other", 0.0), self.table.get("fade", 0.0)
        if kind < changed:
            weights = [amount if d * (side or d) > 0 else 0.0 for d in distances]
        elif kind < changed + fading:
            weights, alike = [min(1.0, max(0.0, start + d * step)) for d in distances], True
        else:
            return [patch] * len(distances)
        # Two neighbours that differ from the plane may or may not agree with each other.
        beyond = other if alike else other[:, ::-1, ::-1]
        return [(1 - w) * patch + w * (beyond if d < 0 else other) for w, d in zip(weights, distances, strict=True)]

    def reach(self, planes: int) -> int:
        """Return by how many pixels the farthest of so many planes can move."""
        most = float(self.table.get("shift", (0.0, 0.0))[1])
        return math.ceil(most * (planes // 2))

    def _drawn(self, name: str, rng: np.random.Generator) -> float:
        low, high = self.table.get(name, (0.0, 0.0))
        return float(rng.uniform(low, high))


def _distances(planes: int) -> list[int]:
    return [0, *(side * step for step in range(1, planes // 2 + 1) for side in (-1, 1))]


def _moved(patch: NDArray[Any], axis: int, by: int) -> NDArray[Any]:
    size = patch.shape[axis]
    return patch.take([reflected(i + by, size) for i in range(size)], axis)


def planes_of(stack: NDArray[Any], plane: int, planes: int) -> NDArray[Any]:
    """Return ``(planes, H, W)`` of a stack ``(N, H, W)``: plane number ``plane`` first, then its neighbours."""
    depth = Depth(0, plane, plane + 1, len(stack), planes // 2)
    return stack[[depth.read[0] + z for z in depth.entering(0)]]


def stacks(folder: Path, spec: ModelSpec, *, paired: bool, made: bool) -> list[Pair]:
    """Load the stacks of a folder, ``(N, H, W)`` each: those along the model's axis, and single planes if ``made``.

    Raises
    ------
    RequestError
        If the stacks of a pair do not fit each other.
    """
    found: list[Pair] = []
    if paired:
        for case in find_cases(folder, spec.scale):
            found += _pair(case.name, case.given, case.truth, spec)
    else:
        for path in find_images(folder):
            for group in read_sequences(path, 1, spec.along).values():
                ends = ends_of(str(path), group)
                found += [(None, unit(one[:, 0], ends)) for one in group]
    return [(given, target) for given, target in found if made or len(target) > 1]


def _pair(name: str, given: Path | None, truth: Path | None, spec: ModelSpec) -> list[Pair]:
    if given is None or truth is None:
        raise RequestError(f"The case {name!r} has no pair of input and target: see the names that pairs have.")
    s = spec.scale
    ((planes, height, width), _), (size, window) = (extent(path, spec.along, s) for path in (given, truth))
    misfit = RequestError(
        f"The stacks of the pair {name!r} do not fit a model of scale {s}: they need as many planes, rows and columns."
    )
    if (planes, height * s, width * s) != size:
        raise misfit
    inner = window[0], reduced(window[1], s), reduced(window[2], s)  # the place of the target's part in the input
    inputs, targets = read_sequences(given, 1, spec.along, inner), read_sequences(truth, 1, spec.along, window)
    if {k: len(group) for k, group in inputs.items()} != {k: len(group) for k, group in targets.items()}:
        raise misfit
    pairs: list[Pair] = []
    for channel, group in inputs.items():
        ends = ends_of(str(given), group)  # in restoration, the range is known from the input only
        ends_of(str(truth), targets[channel])  # refuses values that are not finite
        pairs += [(unit(a[:, 0], ends), unit(b[:, 0], ends)) for a, b in zip(group, targets[channel], strict=True)]
    return pairs
