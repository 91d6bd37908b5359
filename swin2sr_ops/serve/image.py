"""One restored image whose chunks are computed when they are read: what a run would have written, key by key."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from os import PathLike
from typing import Any, TypeVar

from numpy.typing import NDArray

from swin2sr_ops.io.base import ClosableSource, ImageInfo, Region
from swin2sr_ops.io.output.pyramid import fill_region
from swin2sr_ops.io.zarr.image_documents import image_layout, needs_pixels, root_documents, value_ranges
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.fingerprint import input_stamp, run_key
from swin2sr_ops.run.job import Job, prepare
from swin2sr_ops.run.origin import Origin
from swin2sr_ops.run.outputs import label_options
from swin2sr_ops.run.ranges import noted_maps
from swin2sr_ops.run.report import new_report, provenance_of
from swin2sr_ops.run.sides import Sides
from swin2sr_ops.serve.chunk_cache import DiskCache
from swin2sr_ops.serve.codec import ChunkCodec, Unit
from swin2sr_ops.serve.documents import Documents
from swin2sr_ops.serve.layers import Box, Cell
from swin2sr_ops.serve.level_restorer import LevelRestorer, open_level
from swin2sr_ops.serve.levels import NoLevel, RestoredTile, StoredLevel, WholeLevel
from swin2sr_ops.serve.limits import DiskLimit, MemoryCache, Values
from swin2sr_ops.serve.options import Counts, Options
from swin2sr_ops.serve.source_guard import SourceGuard
from swin2sr_ops.serve.source_levels import SourceLevels
from swin2sr_ops.serve.tile_queue import ImageClosed, TileQueue

__all__ = ["RestoredImage", "memory_limit"]

#: Bytes of encoded chunks that are kept in memory, without a cache on disk, and beside one.
MEMORY, BESIDE_DISK = 1 << 30, 256 << 20
#: Threads that read the cache, decode and encode.
_THREADS = 4
_T = TypeVar("_T")


def memory_limit(options: Options) -> int:
    """Return how many bytes of encoded chunks are kept in memory."""
    return BESIDE_DISK if options.cache else options.limit or MEMORY


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
    memory, limit : optional
        Limits that images of an archive share; by default those of ``options``.
    """

    def __init__(
        self,
        src: str | PathLike[str],
        options: Options,
        request: RestoreRequest,
        tell: Callable[[Any], None] = lambda _: None,
        memory: MemoryCache | None = None,
        limit: DiskLimit | None = None,
    ) -> None:
        self.options, self.request = options, request.validated()
        self.job: Job = prepare(src, request)
        job = self.job
        self.sides = Sides.asked(job, options.output)
        self.key = replace(run_key(job, options.output), stamp=input_stamp(job))
        self.info: ImageInfo = job.output
        self.codec = ChunkCodec(
            image_layout(
                self.info, chunks=job.chunk, shards=job.shard, ngff=options.ngff, pyramid=options.pyramid,
                sides=self.sides.names,
            )
        )  # fmt: skip
        labels = label_options(job, options.labels).get("labels")
        self.documents = Documents(self.info, self.codec, options.ngff, labels)
        self.source_levels = SourceLevels(job.source, partial(open_level, src, self.request), job.nodata)
        self.memory = MemoryCache(memory_limit(options), memory)
        self.disk: DiskCache | None = None
        self.guard = SourceGuard(job, self.key, self.source_levels, lambda: self.disk)
        if options.cache is not None:
            self.disk = DiskCache(
                options.cache, self.key, self.codec, job.source.uri, limit or options.limit, options.final
            )
            self.guard.watch.check_resumed()
        self.maps = noted_maps(job, self.guard.watch, self.disk, tell)
        fixed = "tile" in self.key.settings
        self.restorer = LevelRestorer(
            job, self.codec, self.sides, options.affordable, self.maps, self.source_levels, fixed=fixed
        )
        self.counts = Counts()
        self._root: dict[str, bytes] | None = None
        self._pool = ThreadPoolExecutor(_THREADS, "serve-aside")
        self.queue = TileQueue(self.restorer.choose, self._compute, self._finish, self.restorer.lanes)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """The run's: with the same one, every key has the same pixels."""
        return self.key.fingerprint

    @property
    def levels(self) -> int:
        """Resolution levels."""
        return len(self.codec.shapes)

    @property
    def changed(self) -> str:
        """A sentence if the source changed since opening, else empty."""
        return self.guard.changed

    # --- keys -------------------------------------------------------------------------------------

    def listing(self) -> Iterator[str]:
        """List all keys; chunks that are known to be all fill value are not among them."""
        yield from self.documents.keys()
        for level in range(self.levels):
            for index in product(*map(range, self.codec.grid(level))):
                unit = Unit(level, index)
                empty = {key for key, value in (self.memory.get(unit) or {}).items() if value is None}
                yield from (key for key in self.codec.keys(unit) if key not in empty)

    def has(self, key: str) -> bool:
        """Tell whether ``key`` is one of `listing`."""
        documents = self.documents
        if key in documents.arrays or key in documents.root_keys:
            return True
        unit = self.codec.unit_of(key)
        if unit is None:
            return documents.is_beside(key) and documents.beside().read(key) is not None
        known = self.memory.get(unit)
        return known is None or known.get(key) is not None

    async def get(self, key: str, *, urgent: bool = True) -> bytes | None:
        """Return the bytes of ``key``, computed if need be; None where a run would have written nothing."""
        documents = self.documents
        if key in documents.arrays:
            return documents.arrays[key]
        if key in documents.root_keys:
            return (await self._root_documents())[key]
        unit = self.codec.unit_of(key)
        if unit is None:
            return await self.aside(lambda: documents.beside().read(key)) if documents.is_beside(key) else None
        return (await self.unit(unit, urgent=urgent))[key]

    async def make_beside(self) -> None:
        """Make what `listing` and `has` need, outside of the event loop."""
        if self.documents.has_beside:
            await self.aside(self.documents.beside)

    # --- the root's documents ---------------------------------------------------------------------

    async def _root_documents(self) -> dict[str, bytes]:
        if self._root is None:
            ranges, statement = await self._ranges()
            report = new_report(self.job, self.options.name, self.key, self.sides)
            report.settings |= {"intensity": [m.to_dict() for m in self.maps], "levels": self.levels}
            provenance = provenance_of(report) | statement
            name, layout = self.options.name.rsplit("/", 1)[-1].split(".")[0], self.codec.layout
            self._root = dict(root_documents(self.info, layout, self.options.ngff, name, ranges, provenance))
        return self._root

    async def _ranges(self) -> tuple[list[tuple[float, float]], dict[str, Any]]:
        """Display ranges, as a run finds them where that is affordable; and what is not as a run would have it."""
        smaller = [str(k) for k in range(self.levels) if not self.restorer.is_exact(k)]
        stated: dict[str, Any] = {"levels_restored_from_smaller_source": smaller} if smaller else {}
        if not needs_pixels(self.info):
            return value_ranges(self.info, NoLevel()), {"virtual": stated} if stated else {}
        if self.restorer.is_small:
            last = self.levels - 1
            whole = await self.block(last, tuple(slice(0, n) for n in self.codec.shapes[last]))
            array = WholeLevel(whole, self.codec.layout.cut(whole.shape)[0])
            return await self.aside(value_ranges, self.info, array), {}
        count = self.info.size("S") if "S" in self.info.axes else self.info.size("C")
        numbers = [0] * count if "S" in self.info.axes else [self.job.map_of(c) for c in range(count)]
        maps = [self.maps[n if len(self.maps) > 1 else 0] for n in numbers]
        stated["display_ranges"] = "of the intensity map, not of the restored pixels"
        return [(m.lo, m.hi) for m in maps], {"virtual": stated}

    # --- chunks -----------------------------------------------------------------------------------

    async def unit(self, unit: Unit, *, urgent: bool = True) -> Values:
        """Return the stored bytes of a chunk or shard, and of those beside it, by their keys."""
        exact = self.restorer.is_exact(unit.level)
        found = self.memory.get(unit)
        if found is None and self.disk is not None and exact:
            found = await self.aside(self.disk.get, unit)
        if found is not None:
            self.counts.add("hits")
            return found
        self.counts.add("misses")
        if unit.level and exact:
            return await self._halved(unit, urgent=urgent)
        return await self._restored(unit, urgent=urgent)

    async def _restored(self, unit: Unit, *, urgent: bool) -> Values:
        """Wait for the cells of a unit."""
        self.guard.check_known()
        if not self.restorer.has_layer(unit.level):
            await self.aside(self.restorer.layer, unit.level)

        def known() -> Mapping[Unit, Values] | None:
            values = self.memory.get(unit)
            return None if values is None else {unit: values}

        cells = sorted(self.restorer.cells_of(unit))
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
        await self.aside(self._keep, {unit: made})
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
        try:
            waiting = asyncio.get_running_loop().run_in_executor(self._pool, function, *given)
        except RuntimeError as exc:  # the pool is shut down
            raise ImageClosed from exc
        return await waiting

    def _keep(self, units: Mapping[Unit, Values], origin: Origin | None = None) -> None:
        for unit, values in units.items():
            self.memory.put(unit, values)
        if self.disk is not None:
            exact = {unit: values for unit, values in units.items() if self.restorer.is_exact(unit.level)}
            if exact:
                self.disk.put(exact, None if origin is None else origin.to_json())

    # --- tiles, in the queue's threads ------------------------------------------------------------

    def _compute(self, box: Box) -> RestoredTile:
        self.guard.check_known()
        return self.restorer.compute(box)

    def _finish(self, box: Box, restored: RestoredTile) -> dict[Cell, dict[Unit, Values]]:
        """Encode the units of a tile, keep them, and return those of each cell."""
        self.guard.check()  # after its pixels were read
        units = self.restorer.encode(box, restored)
        self._keep(units, restored.origin)
        return self.restorer.by_cell(box, units)

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop computing, close the files, and remove what was kept in memory and in temporary folders.

        Who still waits gets `swin2sr_ops.serve.tile_queue.ImageClosed`.
        """
        self.queue.close()
        self._pool.shutdown()  # a cancelled call would look like a request that was given up
        for source in (self.job.source, self.job.mask):
            if isinstance(source, ClosableSource):
                source.close()
        self.documents.close()
        self.memory.clear()
        if self.disk is not None:
            self.disk.close()

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
            "chunks": math.prod(self.codec.grid(0)),
            "restored": (self.disk or self.memory).count(0),
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
