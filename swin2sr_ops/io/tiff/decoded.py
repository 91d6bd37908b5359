"""Decoded strips, kept for the next tile.

A strip is as wide as the image, and some programs write one strip, or one huge tile, per image. A
run that reads tiles would decode each of them again for every tile that touches it.
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
_TILE = 1024  # pixels along a side: no tile that a run chooses by itself is wider
_UNIT_BYTES = 4 << 20  # thin strips are decoded and kept many at a time


class DecodedBlocks:
    """The blocks that were used last, up to some bytes; safe to share between threads.

    The newest one is kept whatever its size: the next tile needs it, and decoding it once more
    would take the same memory once more.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.clear()

    def clear(self) -> None:
        """Forget everything, and who was decoding what: in a forked process nobody is."""
        self._lock = Lock()
        self._kept: OrderedDict[Hashable, Future[NDArray[Any]]] = OrderedDict()

    def get(self, key: Hashable, decode: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The block known as ``key``; of several threads that want it, one decodes it."""
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
        """Forget the blocks whose key begins with ``image``."""
        with self._lock:
            for key in [k for k in self._kept if isinstance(k, tuple) and k[0] == image]:
                del self._kept[key]

    def _decode(self, key: Hashable, future: Future[NDArray[Any]], decode: Callable[[], NDArray[Any]]) -> None:
        try:
            block = decode()
        except BaseException as exc:
            with self._lock:
                self._kept.pop(key, None)
            future.set_exception(exc)  # those who wait for it get the same answer
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
    """An array that is decoded in large units, which are kept for a while.

    Attributes
    ----------
    array
        What decodes: an array of ``shape`` that is indexed by slices.
    image : hashable
        What the image is known by in this process; twins of a source share what was decoded.
    unit : tuple of int
        What is decoded and kept together.
    """

    array: Any
    image: Hashable
    unit: tuple[int, ...]

    @classmethod
    def of(cls, array: Any, axes: str, image: Hashable) -> Strips | None:
        """For a Zarr array whose chunks are much larger than a tile, or wider; None for others."""
        chunks, shape = array.chunks, array.shape
        y, x = axes.index("Y"), axes.index("X")
        wide = chunks[x] >= shape[x] > _TILE
        if not wide and chunks[y] * chunks[x] <= _TILE**2:
            return None
        many = max(1, _UNIT_BYTES // (prod(chunks) * array.dtype.itemsize))
        unit = tuple(c * many if i == y else c for i, c in enumerate(chunks))
        return cls(array, image, tuple(min(u, n) for u, n in zip(unit, shape, strict=True)))

    def read(self, region: Region) -> NDArray[Any]:
        """A copy of ``region``."""
        out = np.empty([part.stop - part.start for part in region], self.array.dtype)
        for block in self._blocks(region):
            corner = tuple(part.start for part in block)
            pixels = _BLOCKS.get((self.image, corner), lambda block=block: np.asarray(self.array[block]))  # type: ignore[misc]
            common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(region, block, strict=True)]
            out[_from(common, region)] = pixels[_from(common, block)]
        return out

    def drop(self) -> None:
        """Forget what was decoded."""
        _BLOCKS.drop(self.image)

    def _blocks(self, region: Region) -> Iterator[Region]:
        """The units that ``region`` touches."""
        starts = [range(part.start // u * u, part.stop, u) for part, u in zip(region, self.unit, strict=True)]
        for corner in product(*starts):
            yield tuple(slice(i, min(i + u, n)) for i, u, n in zip(corner, self.unit, self.array.shape, strict=True))


def _from(parts: list[slice], outer: Region) -> Region:
    """``parts`` counted from the first pixel of ``outer``."""
    return tuple(slice(p.start - o.start, p.stop - o.start) for p, o in zip(parts, outer, strict=True))
