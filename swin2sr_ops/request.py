"""Hold a request as one value: the keywords that every way to restore an image shares."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any, Literal, TypedDict

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.tiles import tile_size
from swin2sr_ops.io.storage.paths import user_path
from swin2sr_ops.pixels.intensity import RangeRequest
from swin2sr_ops.placement import Halo, Placement, kernel_file
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.qualities import views_of

__all__ = ["ArrayKeywords", "BatchOptions", "OutputOptions", "RestoreRequest"]


class OutputOptions(TypedDict, total=False):
    """Options of the built-in formats; see `swin2sr_ops.restore_image`."""

    ngff: Literal["0.5", "0.4"]
    pyramid: bool
    context: bool
    spread: bool
    interval: float
    calibration: str | PathLike[str]
    limit: float
    noise: float
    labels: Literal["leave", "carry"]
    anywhere: bool
    creation: Mapping[str, Any] | Sequence[str]


class BatchOptions(OutputOptions, total=False):
    """`OutputOptions`, and what only archives have; see `swin2sr_ops.restore_batch`."""

    allow_missing: bool


class ArrayKeywords(TypedDict, total=False):
    """The keywords of `swin2sr_ops.restore`, for its overloads."""

    model: str | PathLike[str] | ModelSpec
    axes: str | None
    scale: int | None
    halo: Halo
    tile: int | tuple[int, int] | None
    range: str | Sequence[float]
    device: str
    precision: str
    nodata: float | None
    ensemble: int
    engine: str
    consistent: str | None
    along: str | None


@dataclass(frozen=True)
class RestoreRequest:
    """The keywords of `swin2sr_ops.restore_image`, without source, destination and the output's options.

    The public functions list these keywords again, with the same defaults; all inner functions pass this value on.
    `swin2sr_ops.run.job.prepare` resolves it for one image.

    Attributes
    ----------
    model, axes, scale, halo, tile, range, device, precision, nodata, level, series, array, mask, chunks, shards, \
ensemble, engine, consistent, along
        See `swin2sr_ops.restore_image`.

    Examples
    --------
    >>> RestoreRequest(model="nano-x2-gray", halo=16).placement
    Placement(device='auto', precision='auto', engine='auto', halo=16, ensemble=1, consistent=None, along=None)
    """

    model: str | PathLike[str] | ModelSpec = "auto"
    axes: str | None = None
    scale: int | None = None
    halo: Halo = "exact"
    tile: int | tuple[int, int] | None = None
    range: str | Sequence[float] = "auto"
    device: str = "auto"
    precision: str = "auto"
    nodata: float | None = None
    level: int | None = None
    series: int | None = None
    array: str | None = None
    mask: str | PathLike[str] | None = None
    chunks: int | tuple[int, int] | None = None
    shards: int | tuple[int, int] | None = None
    ensemble: int = 1
    engine: str = "auto"
    consistent: str | None = None
    along: str | None = None

    @property
    def placement(self) -> Placement:
        """Return the settings that say where and how networks compute; ``model="best"`` asks for an ensemble of 8."""
        asked = self.device, self.precision, self.engine, self.halo, self.ensemble, self.consistent, self.along
        given = Placement(*asked)
        return given.with_views(views_of(self.model))

    @property
    def files(self) -> tuple[str, ...]:
        """Return what the request names beside the source: a mask, a kernel, a finished output, models in files.

        All are inputs, so no output may replace one.
        """
        models = [self.model.weights] if isinstance(self.model, ModelSpec) else fspath(self.model).split(",")
        weights = [name.strip() for name in models if name is not None and os.path.isfile(user_path(name.strip()))]
        others = (self.mask, kernel_file(self.consistent), RangeRequest.parse(self.range).output)
        return (*(fspath(name) for name in others if name), *weights)

    def validated(self) -> RestoreRequest:
        """Run every check that needs no image, and return the request.

        Raises
        ------
        RequestError, PlanError
            If a value is not valid for any image.
        """
        RangeRequest.parse(self.range)
        for name in ("scale", "level", "series"):
            given = getattr(self, name)
            if given is not None and not hasattr(given, "__index__"):
                raise RequestError(f"{name}={given!r} is not understood: give a whole number.")
        for name in ("tile", "chunks", "shards"):
            if getattr(self, name) is not None:
                tile_size(getattr(self, name), name)
        _ = self.placement
        return self

    def for_image(self, **options: Any) -> RestoreRequest:
        """Return the request with options for one image of many: ``axes``, ``level``, ``series``, ``array``."""
        return replace(self, **options)
