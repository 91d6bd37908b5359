"""Resolve the widget's settings for one image. No Qt, and no torch before it is needed."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from swin2sr_ops import ModelSpec, Restorer
from swin2sr_ops.hosting import (
    CHUNK,
    MEMORY_SHARE,
    Job,
    RestoreRequest,
    choose_device,
    free_memory,
    prepare,
    resolve_model,
    tile_size,
)
from swin2sr_ops_napari.layers import LayerImage

__all__ = ["Request"]

#: Side of a tile on a CPU, in input pixels: small enough to see it come and to stop it, see `Request.tile`.
_TILE = 256


@dataclass(frozen=True)
class Request(RestoreRequest):
    """The form's settings, and the share of the device's free memory for tiles."""

    memory_share: float = MEMORY_SHARE

    def spec(self, image: LayerImage) -> ModelSpec:
        """Return the model without loading it."""
        return resolve_model(self.model, channels=image.order().model_channels)

    def restorer(self, image: LayerImage) -> Restorer:
        """Return the restorer of single tiles.

        Raises
        ------
        RequestError
            If the model takes neighbouring planes that the image lacks.
        """
        restorer = Restorer.at(self.spec(image), self.placement)
        restorer.check_axes(image.order())
        return restorer

    def seen(self, image: LayerImage) -> LayerImage:
        """Return the levels of ``image`` that the model may see: those with all planes, if it takes neighbours."""
        return image if self.spec(image).planes == 1 else image.with_all_planes()

    def job(self, source: str, image: LayerImage) -> Job:
        """Resolve the request for ``source``: an address that `offer` gave, or a file."""
        return prepare(source, replace(self, tile=self.responsive_tile(image)), memory=self.memory())

    def memory(self) -> int:
        """Bytes to plan tiles for, in the words of `swin2sr_ops.run.job.prepare`; loads torch."""
        return int(free_memory(choose_device(self.device)) * self.memory_share / MEMORY_SHARE)

    def responsive_tile(self, image: LayerImage) -> int | None:
        """Input pixels along the side of a tile; None where the largest that fits is best.

        A CPU works seconds on the largest tile: with small ones, results come and Cancel acts within a
        moment. They become whole output chunks of the usual size, so the command line, with tiles of
        its own, resumes a run that began here.
        """
        if choose_device(self.device).type != "cpu":
            return None
        side, _ = tile_size(self.chunks or CHUNK)
        step = side // math.gcd(side, self.spec(image).scale)
        return -(-_TILE // step) * step

    def command(
        self, source: str, output: str, image: LayerImage, beside: Mapping[str, Any] = MappingProxyType({})
    ) -> str:
        """Return the command that does the same on a file, or resumes it; ``beside`` are options of the output."""
        words = ["swin2sr-ops", "restore", source, output, "--model", str(self.model)]
        for name in ("halo", "range", "device", "precision", "engine", "ensemble", "consistent", "along", "chunks"):
            value = getattr(self, name)
            if value != getattr(Request, name):
                words += [f"--{name}", str(value)]
        for name, value in beside.items():
            words += [f"--{name}"] if value is True else [f"--{name}", f"{value:g}" if name != "calibration" else value]
        tile = self.responsive_tile(image)
        if tile is not None:
            words += ["--tile", str(tile)]  # larger ones would compute again what small ones have begun
        return shlex.join(words)
