"""Restore tiles of the levels of an image by the run's own code, and encode them as write units."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from os import PathLike, fspath
from typing import Any

from numpy.typing import NDArray

from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.io.base import ImageInfo, ImageSource, Region
from swin2sr_ops.io.zarr.image_documents import stored
from swin2sr_ops.io.zarr.ngff import stored_axes
from swin2sr_ops.io.zarr.sides import SIDE_ARRAYS
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import Job
from swin2sr_ops.run.pipeline import TileWork
from swin2sr_ops.run.sides import Sides
from swin2sr_ops.serve.codec import ChunkCodec, Unit
from swin2sr_ops.serve.layers import Box, Cell, Layer
from swin2sr_ops.serve.levels import NoSink, RestoredTile
from swin2sr_ops.serve.limits import Values
from swin2sr_ops.serve.source_levels import SourceLevels

__all__ = ["LevelRestorer", "open_level"]


class LevelRestorer:
    """Restore level 0 as a run does, and levels that would cost too much from a smaller copy of the source.

    Parameters
    ----------
    job : Job
        Restores level 0.
    codec : ChunkCodec
        With the output's layout.
    sides : Sides
        Arrays beside the pixels of level 0.
    affordable : int
        Input pixels that one chunk of a smaller level may cost.
    maps : tuple of IntensityMap
    source_levels : SourceLevels
        Smaller copies of the source.
    fixed : bool
        Whether the result depends on the tiles, so that they must be those of a run.
    """

    def __init__(
        self,
        job: Job,
        codec: ChunkCodec,
        sides: Sides,
        affordable: int,
        maps: tuple[IntensityMap, ...],
        source_levels: SourceLevels,
        *,
        fixed: bool,
    ) -> None:
        self.job, self.codec, self.sides, self.maps = job, codec, sides, maps
        self._affordable = affordable
        self.source_levels, self._fixed = source_levels, fixed
        self.info: ImageInfo = job.output
        self._layers: dict[int, Layer] = {}
        self._works: dict[int, TileWork] = {}
        self._lock = threading.RLock()

    @property
    def lanes(self) -> int:
        """Tiles in hand at once."""
        return self._work(0).lanes

    def is_exact(self, level: int) -> bool:
        """Tell whether ``level`` is the run's own, made of level 0; else it is restored from a smaller source."""
        if level == 0:
            return True
        order, scale, shape = self.job.order, self.job.plan.spec.scale, self.codec.shapes[level]
        axes = stored_axes(self.info.axes)
        sides = []
        for axis, full in (("Y", order.shape[order.y]), ("X", order.shape[order.x])):
            at = axes.index(axis)
            unit = min(self.codec.units[level][at], shape[at])
            sides.append(min(unit * 2**level // scale, full))
        return bool(sides[0] * sides[1] <= self._affordable)

    def state_of(self, level: int) -> str:
        """Return what identifies ``level`` beside the run's fingerprint: the smaller images that it is made of."""
        return "" if self.is_exact(level) else self.source_levels.state(level)

    @property
    def is_small(self) -> bool:
        """Tell whether all of the image is affordable, as one chunk of it is."""
        order, levels = self.job.order, range(len(self.codec.shapes))
        pixels = self.job.planes * order.shape[order.y] * order.shape[order.x]
        return pixels <= self._affordable and all(map(self.is_exact, levels))

    # --- cells ------------------------------------------------------------------------------------

    def has_layer(self, level: int) -> bool:
        """Tell whether `layer` answers at once; else it may open a file."""
        return level in self._layers

    def layer(self, level: int) -> Layer:
        """Return what restores ``level``."""
        with self._lock:
            if level not in self._layers:
                job = self.job if level == 0 else self._smaller(level)
                axes = stored_axes(self.info.axes)
                unit = self.codec.units[level][axes.index("Y")], self.codec.units[level][axes.index("X")]
                shape = tuple(self.codec.shapes[level][axes.index(a)] for a in self.info.axes)
                self._layers[level] = Layer.of(level, job, shape, unit, fixed=self._fixed and level == 0)
            return self._layers[level]

    def cells_of(self, unit: Unit) -> set[Cell]:
        """Find the cells that a write unit is made of."""
        return self.layer(unit.level).cells_of(self._image_region(self.codec.region(unit)))

    def choose(self, first: Cell, waiting: Collection[Cell]) -> Box:
        """Choose the cells around ``first`` that one tile restores."""
        return self.layer(first.level).best_box(first, waiting)

    def _smaller(self, level: int) -> Job:
        """The job that restores the source at ``1 / 2**level`` of its size."""
        source = self.source_levels.level(level)
        order = AxisOrder(self.job.order.axes, source.info.shape, self.job.order.colour)
        height, width = order.shape[order.y], order.shape[order.x]
        parts = tuple(
            replace(part, plan=replace(part.plan, height=height, width=width, tile=_within(part.plan.tile, order)))
            for part in self.job.parts
        )
        return replace(self.job, source=source, order=order, parts=parts, mask=None)

    def _work(self, level: int) -> TileWork:
        with self._lock:
            if level not in self._works:
                sides = self.sides if level == 0 else Sides()
                self._works[level] = TileWork(self.layer(level).job, self.maps, NoSink(self.info), sides)
            return self._works[level]

    # --- tiles ------------------------------------------------------------------------------------

    def compute(self, box: Box) -> RestoredTile:
        """Restore a tile; regions are those of the level, in the image's axes."""
        layer, work = self.layer(box.level), self._work(box.level)
        piece = layer.piece(box)
        computed = work.compute(piece, work.read(piece))
        return RestoredTile([_cropped(layer.shape, *block) for block in work.blocks(piece, computed)], computed.origin)

    def encode(self, box: Box, restored: RestoredTile) -> dict[Unit, Values]:
        """Encode a tile as write units."""
        order = [self.info.axes.index(a) for a in stored_axes(self.info.axes)]
        units: dict[Unit, Values] = {}
        for region, block, sides in restored.blocks:
            where = stored(self.info, region)
            encoded = self.codec.encode(str(box.level), box.level, where, block.transpose(order))
            for name, side in sides.items():
                encoded |= self.codec.encode(SIDE_ARRAYS[name].path, box.level, where, side.transpose(order))
            for unit in self.codec.units_in(box.level, where):
                units[unit] = {key: encoded[key] for key in self.codec.keys(unit)}
        return units

    def by_cell(self, box: Box, units: Mapping[Unit, Values]) -> dict[Cell, dict[Unit, Values]]:
        """Sort the units of a tile by its cells."""
        found: dict[Cell, dict[Unit, Values]] = {cell: {} for cell in box.cells()}
        for unit, values in units.items():
            for cell in self.cells_of(unit):
                found[cell][unit] = values
        return found

    def _image_region(self, region: Region) -> Region:
        """``region`` of the file in the order of the image's axes."""
        axes = stored_axes(self.info.axes)
        return tuple(region[axes.index(a)] for a in self.info.axes)


def open_level(src: str | PathLike[str], request: RestoreRequest, k: int) -> ImageSource:
    """Open the level ``k`` steps below the one that is restored."""
    level = (request.level or 0) + k
    return open_source(fspath(src), axes=request.axes, level=level, series=request.series, array=request.array)


def _within(tile: tuple[int, int], order: AxisOrder) -> tuple[int, int]:
    return min(tile[0], order.shape[order.y]), min(tile[1], order.shape[order.x])


def _cropped(
    shape: tuple[int, ...], region: Region, block: NDArray[Any], sides: dict[str, NDArray[Any]]
) -> tuple[Region, NDArray[Any], dict[str, NDArray[Any]]]:
    """Cut off what a copy that was rounded up has too many of."""
    if all(part.stop <= n for part, n in zip(region, shape, strict=True)):
        return region, block, sides
    region = tuple(slice(part.start, min(part.stop, n)) for part, n in zip(region, shape, strict=True))
    inside = tuple(slice(0, part.stop - part.start) for part in region)
    return region, block[inside], {name: side[inside] for name, side in sides.items()}
