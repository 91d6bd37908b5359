"""Write the tiles of a Cloud Optimized GeoTIFF: read in the file's order, compressed in threads, written in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import Region
from swin2sr_ops.io.geo.cog_layout import Directory, predictor
from swin2sr_ops.io.output.pyramid import regions

__all__ = ["EncodedTile", "Level", "cut", "plane_size", "write_tiles"]

_MOST_THREADS = 8


class Level(Protocol):
    """Source of a level: a Zarr or NumPy array, or anything with a shape that returns regions."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, region: Region, /) -> Any: ...


@dataclass(frozen=True)
class EncodedTile:
    """Pixels with bands last, or a mask, for one tile of a directory; cropped at the image's end."""

    directory: Directory
    index: int
    pixels: NDArray[Any]


def plane_size(axes: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns of an image."""
    return int(shape[axes.index("Y")]), int(shape[axes.index("X")])


def cut(
    levels: Sequence[Level],
    mask_levels: Sequence[Level] | None,
    *,
    axes: str,
    dtype: np.dtype[Any],
    side: int,
    images: Sequence[Directory],
    masks: Sequence[Directory],
) -> Iterator[EncodedTile]:
    """Iterate over all tiles: smallest level first, row by row, each followed by the tile of its mask."""
    for k in reversed(range(len(levels))):
        shape = levels[k].shape
        for index, (rows, columns) in enumerate(regions(plane_size(axes, shape), (side, side))):
            region = tuple({"Y": rows, "X": columns}.get(a, slice(0, n)) for a, n in zip(axes, shape, strict=True))
            block = np.asarray(levels[k][region])
            if block.dtype != dtype:
                raise RequestError(f"Level {k} has pixels of type {block.dtype}, but {dtype} was announced.")
            yield EncodedTile(images[k], index, _bands_last(block, axes))
            if mask_levels is not None:
                yield EncodedTile(masks[k], index, np.asarray(mask_levels[k][rows, columns]).astype(bool))


def write_tiles(
    file: BinaryIO,
    tiles: Iterator[EncodedTile],
    *,
    side: int,
    encode: Callable[[bytes], bytes],
    total: int,
    progress: Callable[[int, int], None] | None,
    threads: int | None,
) -> None:
    """Append all ``tiles``, compressed by ``encode``, and record their locations in their directories.

    No more tiles than threads are compressed ahead of the one that is written.
    """
    count = threads or min(_MOST_THREADS, os.cpu_count() or 1)
    waiting: deque[tuple[EncodedTile, Future[bytes]]] = deque()
    position, done = file.tell(), 0
    with ThreadPoolExecutor(count) as pool:
        more = True
        while more or waiting:
            tile = next(tiles, None) if more else None
            more = tile is not None
            if tile is not None:
                waiting.append((tile, pool.submit(_encoded, tile.pixels, side, encode)))
            if len(waiting) > count or (not more and waiting):
                tile, future = waiting.popleft()
                position = _append(file, position, tile, future.result())
                done += 1
                if progress is not None:
                    progress(done, total)


def _append(file: BinaryIO, position: int, tile: EncodedTile, data: bytes) -> int:
    """Write a tile between its size and a copy of its last bytes, as the ghost area promises."""
    file.write(len(data).to_bytes(4, "little") + data + data[-4:])
    tile.directory.offsets[tile.index] = position + 4
    tile.directory.counts[tile.index] = len(data)
    return position + len(data) + 8


def _bands_last(block: NDArray[Any], axes: str) -> NDArray[Any]:
    return block[..., None] if axes == "YX" else np.moveaxis(block, 0, -1) if axes == "CYX" else block


def _encoded(pixels: NDArray[Any], side: int, encode: Callable[[bytes], bytes]) -> bytes:
    """Compress a tile; beyond the image its last row and column are repeated."""
    import imagecodecs

    missing = [(0, side - pixels.shape[0]), (0, side - pixels.shape[1])]
    if pixels.dtype == bool:
        raw = np.packbits(np.pad(pixels, missing), axis=1).tobytes()
    else:
        whole = np.ascontiguousarray(np.pad(pixels, [*missing, (0, 0)], "edge"), pixels.dtype.newbyteorder("<"))
        kind = predictor(pixels.dtype)
        if kind == 2:
            whole = imagecodecs.delta_encode(whole, axis=-2)
        elif kind == 3:
            whole = imagecodecs.floatpred_encode(whole, axis=-2)
        raw = whole.tobytes()
    return encode(raw)
