"""Restore the images of an evaluation with one model, through the public operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import dask
import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate.degrade import Given, Levels
from swin2sr_ops.evaluate.resize import imresize
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.lazy.restore import restore
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.qualities import is_quality, views_of

__all__ = ["Restoring", "interpolated"]


@dataclass(frozen=True)
class Restoring:
    """A model with its options; ``channels`` is 0 if the model is chosen per image (``good``, ...)."""

    name: str
    model: str | ModelSpec
    scale: int
    padding: str
    channels: int
    options: dict[str, Any]

    @classmethod
    def of(cls, model: str | PathLike[str] | ModelSpec, scale: int, padding: str, options: dict[str, Any]) -> Restoring:
        """Resolve the model, and reject one of another scale before anything is measured."""
        if padding not in ("official", "model"):
            raise RequestError(f"padding={padding!r} is not valid: choose official or model.")
        options = options | ({"ensemble": views_of(model)} if views_of(model) > 1 else {})
        if isinstance(model, str) and is_quality(model):
            return cls(model, model, scale, padding, 0, options)
        spec = resolve_model(model if isinstance(model, ModelSpec) else fspath(model), scale=scale)
        return cls(_called(model, spec), spec, scale, padding, spec.channels, options)

    def spec(self, colours: int) -> ModelSpec:
        """Return the model for an image of ``colours`` channels."""
        if isinstance(self.model, ModelSpec):
            return self.model
        return resolve_model(self.model, scale=self.scale, channels=colours)

    def __call__(
        self, given: Given, levels: Levels, kind: np.dtype[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Restore an image in storage type ``kind``, with the spread of an ensemble where there is one."""
        height, width, colours = given.pixels.shape
        spec = self.spec(colours)
        pixels = _padded(given.pixels, spec.window) if self.padding == "official" else given.pixels
        options = self.options | ({"range": (0.0, 1.0)} if given.unit else {})
        lone = colours == 1
        several = options.get("ensemble", 1) > 1
        asked = {"axes": "YX" if lone else "YXS", "model": spec, "spread": several, **options}
        lazy = restore(pixels[..., 0] if lone else pixels, **asked)
        found: Sequence[NDArray[Any]] = dask.compute(*lazy) if several else (lazy.compute(),)
        out, *rest = ((x[..., None] if lone else x)[: height * self.scale, : width * self.scale] for x in found)
        spread = rest[0] * np.float32(levels.peak if given.unit else 1) if rest else None
        return (levels.stored(out, kind) if given.unit else out), spread


def _called(model: str | PathLike[str] | ModelSpec, spec: ModelSpec) -> str:
    """Return the user's name for the model, for a path its last part: checkpoints may share the name in the spec."""
    if isinstance(model, ModelSpec):
        return spec.name
    path = Path(model)
    return path.stem if path.is_file() else path.name


def _padded(image: NDArray[Any], window: int) -> NDArray[Any]:
    """Pad to the next multiple of the window, mirrored with the edge repeated: 1 to ``window`` pixels more."""
    more = [(0, (n // window + 1) * window - n) for n in image.shape[:2]]
    return np.pad(image, [*more, (0, 0)], mode="symmetric")


def interpolated(given: Given, scale: int, levels: Levels, kind: np.dtype[Any]) -> NDArray[Any]:
    """Make the baseline: the input enlarged bicubically, or unchanged at scale 1."""
    pixels = given.pixels
    if scale > 1:
        pixels = imresize(pixels, (pixels.shape[0] * scale, pixels.shape[1] * scale))
    return levels.stored(pixels, kind) if given.unit else pixels
