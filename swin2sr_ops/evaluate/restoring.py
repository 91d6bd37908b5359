"""Restore the images of an evaluation with one model, through the public operator."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate.degrade import Given, Levels
from swin2sr_ops.evaluate.resize import imresize
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.lazy.restore import restore
from swin2sr_ops.spec import ModelSpec

__all__ = ["Restoring", "interpolated"]


@dataclass(frozen=True)
class Restoring:
    """A model with its options; ``channels`` is 0 if the model is chosen per image (``auto``)."""

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
        if isinstance(model, str) and model == "auto":
            return cls("auto", model, scale, padding, 0, options)
        spec = resolve_model(model if isinstance(model, ModelSpec) else fspath(model), scale=scale)
        return cls(_called(model, spec), spec, scale, padding, spec.channels, options)

    def __call__(self, given: Given, levels: Levels, kind: np.dtype[Any]) -> NDArray[Any]:
        """Restore the image in storage type ``kind``."""
        height, width, colours = given.pixels.shape
        spec = self.model
        if not isinstance(spec, ModelSpec):
            spec = resolve_model(spec, scale=self.scale, channels=colours)
        pixels = _padded(given.pixels, spec.window) if self.padding == "official" else given.pixels
        options = self.options | ({"range": (0.0, 1.0)} if given.unit else {})
        lone = colours == 1
        lazy = restore(pixels[..., 0] if lone else pixels, axes="YX" if lone else "YXS", model=spec, **options)
        out: NDArray[Any] = lazy.compute()
        out = (out[..., None] if lone else out)[: height * self.scale, : width * self.scale]
        return levels.stored(out, kind) if given.unit else out


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
