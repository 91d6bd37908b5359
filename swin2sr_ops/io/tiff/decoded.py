"""Cache decoded strips for the next tile.

A strip is as wide as the image, and some programs write one strip, or one huge tile, per image.
Without a cache, a run would decode it again for every tile that overlaps it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import product
from math import prod
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.io.base import Region

__all__ = ["DecodedBlocks", "Strips"]

_MOST_BYTES = 256 << 20
_TILE = 1024  # pixels per side: the widest tile that a run chooses by itself
_UNIT_BYTES = 4 << 20  # thin strips are decoded and cached many at a time


class DecodedBlocks:
    """Cache of the most recently used blocks, up to some bytes; safe to share between threads.

    The newest block is kept whatever its size: the next tile needs it, and decoding it again
    would take the same memory.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.clear()

    def clear(self) -> None:
        """Clear the cache and all running decodings: none runs in a forked process."""
        self._lock = Lock()
        self._kept: OrderedDict[Hashable, Future[NDArray[Any]]] = OrderedDict()

    def get(self, key: Hashable, decode: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the block with the key ``key``; if several threads need it, only one decodes it."""
        with self._lock:
            future = self._kept.get(key)
            mine = future is None
            if future is None:
                future = self._kept[key] = Future()
            self._kept.move_to_end(key)
        if mine:
            self._decode(key, future, decode)
        return future.result()

    def drop(self, image: Hashable) -> None:
        """Remove the blocks whose key starts with ``image``."""
        with self._lock:
            for key in [k for k in self._kept if isinstance(k, tuple) and k[0] == image]:
                del self._kept[key]

    def _decode(self, key: Hashable, future: Future[NDArray[Any]], decode: Callable[[], NDArray[Any]]) -> None:
        try:
            block = decode()
        except BaseException as exc:
            with self._lock:
                self._kept.pop(key, None)
            future.set_exception(exc)  # threads that wait for the block get the same error
            raise
        block.setflags(write=False)
        future.set_result(block)
        with self._lock:
            self._trim()

    def _trim(self) -> None:
        total = sum(f.result().nbytes for f in self._kept.values() if f.done() and f.exception() is None)
        for key in list(self._kept)[:-1]:
            if total <= self.most_bytes:
                return
            if self._kept[key].done():
                total -= self._kept.pop(key).result().nbytes


_BLOCKS = DecodedBlocks()
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_BLOCKS.clear)


@dataclass(frozen=True)
class Strips:
    """An array that is decoded in large units, which are cached.

    Attributes
    ----------
    array
        Array of ``shape`` that decodes when indexed by slices.
    image : hashable
        Key of the image in this process; copies of a source share decoded units.
    unit : tuple of int
        Shape that is decoded and cached at once.
    """

    array: Any
    image: Hashable
    unit: tuple[int, ...]

    @classmethod
    def of(cls, array: Any, axes: str, image: Hashable) -> Strips | None:
        """Wrap a Zarr array whose chunks are much larger than a tile, or wider; return None for others."""
        chunks, shape = array.chunks, array.shape
        y, x = axes.index("Y"), axes.index("X")
        wide = chunks[x] >= shape[x] > _TILE
        if not wide and chunks[y] * chunks[x] <= _TILE**2:
            return None
        many = max(1, _UNIT_BYTES // (prod(chunks) * array.dtype.itemsize))
        unit = tuple(c * many if i == y else c for i, c in enumerate(chunks))
        return cls(array, image, tuple(min(u, n) for u, n in zip(unit, shape, strict=True)))

    def read(self, region: Region) -> NDArray[Any]:
        """Return a copy of ``region``."""
        out = np.empty([part.stop - part.start for part in region], self.array.dtype)
        for block in self._blocks(region):
            corner = tuple(part.start for part in block)
            pixels = _BLOCKS.get((self.image, corner), lambda block=block: np.asarray(self.array[block]))  # type: ignore[misc]
            common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(region, block, strict=True)]
            out[_from(common, region)] = pixels[_from(common, block)]
        return out

    def drop(self) -> None:
        """Remove this image's units from the cache."""
        _BLOCKS.drop(self.image)

    def _blocks(self, region: Region) -> Iterator[Region]:
        """Iterate over the units that overlap ``region``."""
        starts = [range(part.start // u * u, part.stop, u) for part, u in zip(region, self.unit, strict=True)]
        for corner in product(*starts):
            yield tuple(slice(i, min(i + u, n)) for i, u, n in zip(corner, self.unit, self.array.shape, strict=True))


def _from(parts: list[slice], outer: Region) -> Region:
    """Make ``parts`` relative to the first pixel of ``outer``."""
    return tuple(slice(p.start - o.start, p.stop - o.start) for p, o in zip(parts, outer, strict=True))
