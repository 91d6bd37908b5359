"""A request, resolved: source, model, tiles and output chunks, before anything is computed."""

from __future__ import annotations

import math
from builtins import range as range_of  # `range` is a keyword of the public functions
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from os import PathLike

import numpy as np

from swin2sr_ops.axes import AxisOrder
from swin2sr_ops.io.base import ImageInfo, ImageSource, Region
from swin2sr_ops.plan import Halo, Tile, TilePlan
from swin2sr_ops.plugins import open_source, resolve_model
from swin2sr_ops.restorer import Restorer
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.tiling import tile_region
from swin2sr_ops.values import RangeRequest, check_dtype

__all__ = ["Job", "Piece", "prepare"]

#: Side of an output chunk in pixels, where the tile allows it.
CHUNK = 512


@dataclass(frozen=True)
class Piece:
    """One tile of one plane: where it is read, where it is written, which channel it is."""

    tile: Tile
    read: Region
    write: Region
    channel: int


@dataclass(frozen=True)
class Job:
    """A request, resolved: what is restored, by what, cut how. Nothing is computed yet."""

    source: ImageSource
    order: AxisOrder
    restorer: Restorer
    plan: TilePlan
    request: RangeRequest
    nodata: float | None
    chunk: tuple[int, int]  # of the output, along Y and X

    @property
    def planes(self) -> int:
        """How many planes there are; each has all tiles of the plan."""
        return math.prod(self.order.shape[a] for a in self.order.planes)

    @property
    def output(self) -> ImageInfo:
        """What will be written."""
        return replace(self.source.info.scaled(self.restorer.spec.scale), nodata=self.nodata)

    @property
    def count(self) -> int:
        """Tiles of all planes."""
        return self.planes * len(self.plan)

    @property
    def pixels(self) -> int:
        """Output values: pixels of all planes, times colour samples."""
        scale = self.restorer.spec.scale
        return self.planes * self.order.colours * self.plan.height * self.plan.width * scale**2

    def each_plane(self) -> Iterator[tuple[dict[int, slice], int]]:
        """For every plane, its place along the axes that are not spatial, and its channel."""
        order = self.order
        for index in product(*(np.arange(order.shape[a]).tolist() for a in order.planes)):
            chosen = {a: slice(i, i + 1) for a, i in zip(order.planes, index, strict=True)}
            yield chosen, 0 if order.channel is None else chosen[order.channel].start

    def pieces(self) -> Iterator[Piece]:
        """All tiles of all planes, in the order in which they are written."""
        order = self.order
        for chosen, channel in self.each_plane():
            for tile in self.plan:
                write = [chosen.get(a, slice(0, n)) for a, n in enumerate(order.shape)]
                write[order.y], write[order.x] = slice(*tile.y.write), slice(*tile.x.write)
                yield Piece(tile, tile_region(order, tile, chosen), tuple(write), channel)


def prepare(
    src: str | PathLike[str],
    *,
    model: str | PathLike[str] | ModelSpec = "auto",
    axes: str | None = None,
    scale: int | None = None,
    halo: Halo = "exact",
    tile: int | tuple[int, int] | None = None,
    range: str | Sequence[float] = "auto",
    device: str = "auto",
    precision: str = "auto",
    nodata: float | None = None,
    level: int | None = None,
    series: int | None = None,
    array: str | None = None,
) -> Job:
    """Resolve a request: open the source, choose the model, plan the tiles. See `restore_image`."""
    source = open_source(src, axes=axes, level=level, series=series, array=array)
    info = source.info
    check_dtype(info.dtype)
    order = AxisOrder.of(info.shape, info.axes, last_c_is_colour=axes is not None)
    request = RangeRequest.parse(range)
    spec = resolve_model(model, scale=scale, channels=order.model_channels)
    restorer = Restorer(spec, halo=halo, device=device, precision=precision)
    plan = restorer.plan(info.size("Y"), info.size("X"), tile)
    rows, chunk_y = _align(plan.tile[0], plan.height, spec.scale, adjust=tile is None)
    columns, chunk_x = _align(plan.tile[1], plan.width, spec.scale, adjust=tile is None)
    plan = restorer.plan(plan.height, plan.width, (rows, columns))
    nodata = info.nodata if nodata is None else nodata
    return Job(source, order, restorer, plan, request, nodata, (chunk_y, chunk_x))


def _align(tile: int, size: int, scale: int, *, adjust: bool) -> tuple[int, int]:
    """Tile and output chunk that fit: every tile then owns whole chunks (law 2)."""
    if tile >= size:
        return size, CHUNK
    step = CHUNK // math.gcd(CHUNK, scale)
    if adjust and tile >= step:
        return tile // step * step, CHUNK
    out = tile * scale
    divisors = [d for d in range_of(128, CHUNK + 1) if out % d == 0]
    return tile, max(divisors, default=out)
