"""One restored image whose chunks are computed when they are read: what a run would have written, key by key."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from swin2sr_ops.errors import OutputError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.io.base import ClosableSource, ImageInfo, ImageSource, Region
from swin2sr_ops.io.output.pyramid import fill_region
from swin2sr_ops.io.storage.files import LocalFiles
from swin2sr_ops.io.zarr.documents import ZARR_FORMATS
from swin2sr_ops.io.zarr.image_documents import (
    CONTEXT,
    SPREAD,
    image_layout,
    needs_pixels,
    root_documents,
    stored,
    value_ranges,
    write_beside,
)
from swin2sr_ops.io.zarr.ngff import stored_axes
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.placement import check_ensemble
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.fingerprint import input_stamp, run_key
from swin2sr_ops.run.input_watch import InputWatch
from swin2sr_ops.run.job import Job, prepare
from swin2sr_ops.run.origin import Origin
from swin2sr_ops.run.outputs import label_options
from swin2sr_ops.run.pipeline import Here, TileWork
from swin2sr_ops.run.ranges import intensity_maps
from swin2sr_ops.run.report import new_report, provenance_of
from swin2sr_ops.serve.chunk_cache import DiskCache, MemoryCache, Values
from swin2sr_ops.serve.codec import ChunkCodec, Unit
from swin2sr_ops.serve.layers import Box, Cell, Layer
from swin2sr_ops.serve.levels import NoLevel, NoSink, RestoredTile, StoredLevel, WholeLevel
from swin2sr_ops.serve.options import Counts, Options
from swin2sr_ops.serve.source_levels import SourceLevels
from swin2sr_ops.serve.tile_queue import TileQueue

__all__ = ["RestoredImage", "is_safe"]

#: Bytes of encoded chunks that are kept in memory, without a cache on disk, and beside one.
MEMORY, BESIDE_DISK = 1 << 30, 256 << 20
#: Seconds between two looks whether the source is still the same.
_STILL = 5.0
#: Threads that read the cache, decode and encode.
_THREADS = 4
_T = TypeVar("_T")


class RestoredImage:
    """A restored image, key by key as `swin2sr_ops.restore_image` would have written it.

    Opening looks at the pixels once where the intensity range needs it; it restores nothing.

    Parameters
    ----------
    src : str or path
        The image.
    options : Options
        Of the output and its cache.
    request : RestoreRequest
        What is asked for.
    tell : callable
        Receives the events of the look at the pixels.
    """

    def __init__(
        self,
        src: str | PathLike[str],
        options: Options,
        request: RestoreRequest,
        tell: Callable[[Any], None] = lambda _: None,
    ) -> None:
        self.options, self.request = options, request.validated()
        self.job: Job = prepare(src, request)
        job = self.job
        check_ensemble(job.restorer.placement.ensemble, options.spread)
        key = run_key(job, options.output)
        self.key = replace(key, stamp=input_stamp(job))
        self.info: ImageInfo = job.output
        sides = {"context": options.context, "spread": options.spread}
        self.codec = ChunkCodec(
            image_layout(
                self.info, chunks=job.chunk, shards=job.shard, ngff=options.ngff, pyramid=options.pyramid, **sides
            )
        )
        _ = self.codec.documents  # here, not in an event loop of zarr-python
        self.labels = label_options(job, options.labels).get("labels")
        self.source_levels = SourceLevels(job.source, partial(_open_level, src, self.request), job.nodata)
        self._identified = time.monotonic()
        self.memory = MemoryCache(BESIDE_DISK if options.cache else options.limit or MEMORY)
        self.disk = None
        if options.cache is not None:
            self.disk = DiskCache(options.cache, self.key, self.codec, job.source.uri, options.limit)
            self._watch().check_resumed()
        self.maps = self._maps(tell)
        self.counts = Counts()
        self._layers: dict[int, Layer] = {}
        self._works: dict[int, TileWork] = {}
        self._lock = threading.RLock()
        self._documents: dict[str, bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._beside: LocalFiles | None = None
        self.changed = ""
        self._pool = ThreadPoolExecutor(_THREADS, "serve-aside")
        work = self._work(0)
        self.queue = TileQueue(self._choose, self._compute, self._finish, work.lanes)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """The run's: with the same one, every key has the same pixels."""
        return self.key.fingerprint

    @property
    def levels(self) -> int:
        """Resolution levels."""
        return len(self.codec.shapes)

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
        return bool(sides[0] * sides[1] <= self.options.affordable)

    @property
    def _is_small(self) -> bool:
        """Tell whether all of the image is affordable, as one chunk of it is."""
        order = self.job.order
        pixels = self.job.planes * order.shape[order.y] * order.shape[order.x]
        return pixels <= self.options.affordable and all(map(self.is_exact, range(self.levels)))

    def _maps(self, tell: Callable[[Any], None]) -> tuple[IntensityMap, ...]:
        """The intensity maps that the cache's run has decided, or a look at the source."""
        noted = self.disk.notes.get("intensity") if self.disk is not None else None
        if noted:
            return tuple(IntensityMap.from_dict(m) for m in noted)
        maps = self._watch().steady(lambda: intensity_maps(self.job, tell, mask=self.job.mask))
        if self.disk is not None:
            self.disk.note(intensity=[m.to_dict() for m in maps])
        return maps

    # --- keys -------------------------------------------------------------------------------------

    def listing(self) -> Iterator[str]:
        """List all keys; chunks that are known to be all fill value are not among them."""
        yield from self.codec.documents
        yield from self._root_keys()
        if self._has_beside:
            yield from self._files_beside().listing()
        for level in range(self.levels):
            for index in product(*map(range, self.codec.grid(level))):
                unit = Unit(level, index)
                empty = {key for key, value in (self.memory.get(unit) or {}).items() if value is None}
                yield from (key for key in self.codec.keys(unit) if key not in empty)

    def _root_keys(self) -> tuple[str, ...]:
        return ("zarr.json",) if ZARR_FORMATS[self.options.ngff] == 3 else (".zattrs", ".zgroup")

    def names_in(self, folder: str) -> set[str]:
        """List what lies directly in ``folder``, folders with a slash at their end; chunks are not among it."""
        keys = [*self.codec.documents, *self._root_keys()]
        if self._has_beside:
            keys += self._files_beside().listing()
        inside = f"{folder}/" if folder else ""
        below = [key.removeprefix(inside) for key in keys if key.startswith(inside)]
        return {name if name == rest else f"{name}/" for rest in below for name in [rest.split("/", 1)[0]]}

    def has(self, key: str) -> bool:
        """Tell whether ``key`` is one of `listing`."""
        if key in self.codec.documents or key in self._root_keys():
            return True
        unit = self.codec.unit_of(key)
        if unit is None:
            return self._is_beside(key) and self._files_beside().read(key) is not None
        known = self.memory.get(unit)
        return known is None or known.get(key) is not None

    async def get(self, key: str, *, urgent: bool = True) -> bytes | None:
        """Return the bytes of ``key``, computed if need be; None where a run would have written nothing."""
        if key in self.codec.documents:
            return self.codec.documents[key]
        if key in self._root_keys():
            return (await self._root())[key]
        unit = self.codec.unit_of(key)
        if unit is None:
            if self._is_beside(key):
                return await self.aside(lambda: self._files_beside().read(key))
            return None
        return (await self.unit(unit, urgent=urgent))[key]

    # --- documents --------------------------------------------------------------------------------

    async def _root(self) -> dict[str, bytes]:
        if self._documents is None:
            ranges, statement = await self._ranges()
            self._documents = await self.aside(self._root_documents, ranges, statement)
        return self._documents

    def _root_documents(self, ranges: list[tuple[float, float]], statement: dict[str, Any]) -> dict[str, bytes]:
        report = new_report(self.job, self.options.name, self.key)
        report.settings["intensity"] = [m.to_dict() for m in self.maps]
        provenance = provenance_of(report) | statement
        name = self.options.name.rsplit("/", 1)[-1].split(".")[0]
        return dict(root_documents(self.info, self.codec.layout, self.options.ngff, name, ranges, provenance))

    async def _ranges(self) -> tuple[list[tuple[float, float]], dict[str, Any]]:
        """Display ranges, as a run finds them where that is affordable; and what is not as a run would have it."""
        smaller = [str(k) for k in range(self.levels) if not self.is_exact(k)]
        stated: dict[str, Any] = {"levels_restored_from_smaller_source": smaller} if smaller else {}
        if not needs_pixels(self.info):
            return value_ranges(self.info, NoLevel()), {"virtual": stated} if stated else {}
        if self._is_small:
            last = self.levels - 1
            whole = await self.block(last, tuple(slice(0, n) for n in self.codec.shapes[last]))
            array = WholeLevel(whole, self.codec.layout.cut(whole.shape)[0])
            return value_ranges(self.info, array), {}
        count = self.info.size("S") if "S" in self.info.axes else self.info.size("C")
        numbers = [0] * count if "S" in self.info.axes else [self.job.map_of(c) for c in range(count)]
        maps = [self.maps[n if len(self.maps) > 1 else 0] for n in numbers]
        stated["display_ranges"] = "of the intensity map, not of the restored pixels"
        return [(m.lo, m.hi) for m in maps], {"virtual": stated}

    @property
    def _has_beside(self) -> bool:
        return self.labels is not None or bool(self.codec.layout.sides)

    def _is_beside(self, key: str) -> bool:
        return self._has_beside and is_safe(key) and key.split("/", 1)[0] in ("labels", SPREAD)

    async def make_beside(self) -> None:
        """Make what `listing` and `has` need, outside of the event loop."""
        if self._has_beside and self._beside is None:
            await self.aside(self._files_beside)

    def _files_beside(self) -> LocalFiles:
        """Groups beside the levels and carried labels, written whole into a folder at the first look."""
        with self._lock:
            if self._beside is None:
                self._folder = tempfile.TemporaryDirectory(prefix="swin2sr-ops-")
                files = LocalFiles(Path(self._folder.name))
                write_beside(files, self.info, self.codec.layout, self.options.ngff, self.labels)
                self._beside = files
            return self._beside

    # --- chunks -----------------------------------------------------------------------------------

    async def unit(self, unit: Unit, *, urgent: bool = True) -> Values:
        """Return the stored bytes of a chunk or shard, and of those beside it, by their keys."""
        found = self.memory.get(unit)
        if found is None and self.disk is not None and self.is_exact(unit.level):
            found = await self.aside(self.disk.get, unit)
        if found is not None:
            self.counts.add("hits")
            return found
        self.counts.add("misses")
        if unit.level and self.is_exact(unit.level):
            return await self._halved(unit, urgent=urgent)
        return await self._restored(unit, urgent=urgent)

    async def _restored(self, unit: Unit, *, urgent: bool) -> Values:
        """Wait for the cells of a unit."""
        self._check_open()
        layer = await self.aside(self.layer, unit.level) if unit.level not in self._layers else self.layer(unit.level)

        def known() -> Mapping[Unit, Values] | None:
            values = self.memory.get(unit)
            return None if values is None else {unit: values}

        cells = sorted(layer.cells_of(self._image_region(self.codec.region(unit))))
        asked = [self.queue.ask(cell, known, urgent=urgent) for cell in cells]
        try:
            results = await asyncio.gather(*(asyncio.wrap_future(future) for future in asked))
        except BaseException:
            for future in asked:
                future.cancel()
            raise
        found: Values = next(result[unit] for result in results if unit in result)
        return found

    async def _halved(self, unit: Unit, *, urgent: bool) -> Values:
        """Make a unit of a smaller level of the one before, as a run does."""
        axes, fine = self.codec.layout.axes, self.codec.shapes[unit.level - 1]
        region = self.codec.region(unit)
        wide = tuple(
            slice(2 * p.start, min(2 * p.stop, n)) if a in "YX" else p
            for p, n, a in zip(region, fine, axes, strict=True)
        )
        values = await self._values(unit.level - 1, wide, urgent=urgent)
        made = await self.aside(self._halve, unit, region, values)
        self._keep({unit: made})
        self.counts.add("halved")
        return made

    def _halve(self, unit: Unit, region: Region, values: Values) -> Values:
        layout, path = self.codec.layout, str(unit.level - 1)
        fine = StoredLevel(self.codec, path, values, self.codec.shapes[unit.level - 1])
        block = fill_region(fine, region, fine_shape=fine.shape, axes=layout.axes, nodata=layout.nodata)
        return self.codec.encode(str(unit.level), unit.level, region, block)

    async def _values(self, level: int, region: Region, *, urgent: bool = True) -> Values:
        """The stored bytes of all units in ``region``."""
        units = list(self.codec.units_in(level, region))
        tasks = [asyncio.ensure_future(self.unit(unit, urgent=urgent)) for unit in units]
        try:
            found = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        return {key: value for values in found for key, value in values.items()}

    async def block(self, level: int, region: Region, *, urgent: bool = True) -> NDArray[Any]:
        """Return restored pixels of a level, axes in the order of the file."""
        values = await self._values(level, region, urgent=urgent)
        return await self.aside(self.codec.decode, str(level), region, values)

    async def aside(self, function: Callable[..., _T], *given: Any) -> _T:
        """Call ``function`` in a thread of this image's own.

        zarr-python decodes in the threads of the event loop: one of them may not wait for it.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *given)

    def _keep(self, units: Mapping[Unit, Values], origin: Origin | None = None) -> None:
        for unit, values in units.items():
            self.memory.put(unit, values)
        if self.disk is not None:
            exact = {unit: values for unit, values in units.items() if self.is_exact(unit.level)}
            if exact:
                self.disk.put(exact, None if origin is None else origin.to_json())

    # --- tiles ------------------------------------------------------------------------------------

    def layer(self, level: int) -> Layer:
        """Return what restores ``level``."""
        with self._lock:
            if level not in self._layers:
                job = self.job if level == 0 else self._smaller(level)
                axes = stored_axes(self.info.axes)
                unit = self.codec.units[level][axes.index("Y")], self.codec.units[level][axes.index("X")]
                shape = tuple(self.codec.shapes[level][axes.index(a)] for a in self.info.axes)
                fixed = "tile" in self.key.settings and level == 0
                self._layers[level] = Layer.of(level, job, shape, unit, fixed=fixed)
            return self._layers[level]

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
                job, options = self.layer(level).job, self.options
                self._works[level] = TileWork(
                    job.source,
                    job.order,
                    job.parts,
                    self.maps,
                    job.nodata,
                    NoSink(self.info),
                    job.mask,
                    context=options.context and level == 0,
                    spread=options.spread and level == 0,
                )
            return self._works[level]

    def _choose(self, first: Cell, waiting: Collection[Cell]) -> Box:
        return self.layer(first.level).best_box(first, waiting)

    def _compute(self, box: Box) -> RestoredTile:
        """Restore a tile by the run's own code; regions are those of the level, in the image's axes."""
        self._check_source()
        layer, work = self.layer(box.level), self._work(box.level)
        piece = layer.piece(box)
        computed = work.compute(piece, work.read(piece))
        return RestoredTile([_cropped(layer.shape, *block) for block in work.blocks(piece, computed)], computed.origin)

    def _finish(self, box: Box, restored: RestoredTile) -> dict[Cell, dict[Unit, Values]]:
        """Encode the units of a tile, keep them, and return those of each cell."""
        order = [self.info.axes.index(a) for a in stored_axes(self.info.axes)]
        units: dict[Unit, Values] = {}
        for region, block, sides in restored.blocks:
            where = stored(self.info, region)
            encoded = self.codec.encode(str(box.level), box.level, where, block.transpose(order))
            for name, side in sides.items():
                path = {"context": f"{CONTEXT}/0", "spread": f"{SPREAD}/0"}[name]
                encoded |= self.codec.encode(path, box.level, where, side.transpose(order))
            for unit in self.codec.units_in(box.level, where):
                units[unit] = {key: encoded[key] for key in self.codec.keys(unit)}
        self._keep(units, restored.origin)
        layer = self.layer(box.level)
        by_cell: dict[Cell, dict[Unit, Values]] = {cell: {} for cell in box.cells()}
        for unit, values in units.items():
            for cell in layer.cells_of(self._image_region(self.codec.region(unit))):
                by_cell[cell][unit] = values
        return by_cell

    def _image_region(self, region: Region) -> Region:
        """``region`` of the file in the order of the image's axes."""
        axes = stored_axes(self.info.axes)
        return tuple(region[axes.index(a)] for a in self.info.axes)

    # --- the source -------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self.changed:
            raise OutputError(self.changed)

    def _watch(self) -> InputWatch:
        """Return the watch that compares the input with its state at the start."""
        staging = None if self.disk is None else self.disk.staging
        return InputWatch(self.job, staging, Here().each, self.key.settings["source"], self.key.stamp)

    def _check_source(self) -> None:
        """Refuse to restore pixels of another image than at the start; asked now and then."""
        self._check_open()
        if time.monotonic() - self._identified < _STILL:
            return
        if self._watch().changed():
            self.changed = (
                f"The input {self.job.source.uri!r} changed while it was served: open it again, and remove the cache"
                " or give another one."
            )
        self._identified = time.monotonic()
        self._check_open()

    def close(self) -> None:
        """Stop computing, close the files, and remove what was kept in memory and in temporary folders."""
        self.queue.close()
        self._pool.shutdown(cancel_futures=True)
        for source in (self.job.source, self.job.mask):
            if isinstance(source, ClosableSource):
                source.close()
        if self._folder is not None:
            self._folder.cleanup()

    def metrics(self) -> dict[str, Any]:
        """Figures since opening, JSON-ready."""
        found: dict[str, Any] = {
            "hits": self.counts.hits,
            "misses": self.counts.misses,
            "halved": self.counts.halved,
            "tiles": self.queue.tiles,
            "cells": self.queue.cells,
            "tile_seconds": round(self.queue.seconds, 3),
            "waiting": self.queue.waiting,
            "given_up": self.queue.dropped,
            "memory_bytes": self.memory.bytes,
        }
        if self.disk is not None:
            found["cache"] = {
                "output": self.disk.uri,
                "units": self.disk.units,
                "bytes": self.disk.bytes,
                "limit": self.disk.limit,
                "problem": self.disk.problem,
            }
        return found


def is_safe(key: str) -> bool:
    """Tell whether ``key`` names something below its store: no part of it leads upwards, or to another root."""
    parts = key.split("/")
    return not any(part in ("", ".", "..") for part in parts) and not any(c in key for c in "\\:\0")


def _open_level(src: str | PathLike[str], request: RestoreRequest, k: int) -> ImageSource:
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
