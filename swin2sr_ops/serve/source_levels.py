"""Smaller copies of a source: its own pyramid where that fits, else means of 2 x 2 pixels, made when they are read."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.base import ImageInfo, ImageSource, Region, check_region, json_ready
from swin2sr_ops.io.output.pyramid import fill_region, regions
from swin2sr_ops.io.storage.identity import identity_of

__all__ = ["HalvedSource", "SourceLevels", "halved_info"]

#: Side of the blocks in which a halved source keeps what it has made.
_SIDE = 512
#: Bytes of such blocks, in each level.
_KEPT = 64 << 20


def halved_info(info: ImageInfo) -> ImageInfo:
    """Describe an image of half the size along Y and X, rounded up, as the levels of a pyramid are."""
    shape = tuple(-(-n // 2) if a in "YX" else n for n, a in zip(info.shape, info.axes, strict=True))
    chunks = tuple(min(c, n) for c, n in zip(info.chunks, shape, strict=True))
    size = {a: p * 2 if a in "YX" else p for a, p in info.pixel_size.items()}
    return replace(info, shape=shape, chunks=chunks, pixel_size=size, levels=1, extra={})


@dataclass
class HalvedSource:
    """An image of half the size of another; its blocks are made when they are read, and some are kept."""

    finer: ImageSource
    nodata: float | None = None
    uri: str = ""
    _blocks: OrderedDict[tuple[int, ...], NDArray[Any]] = field(default_factory=OrderedDict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.uri = self.finer.uri

    @property
    def info(self) -> ImageInfo:
        """The image, without its pixels."""
        return halved_info(self.finer.info)

    def read(self, region: Region) -> NDArray[Any]:
        """Read ``region``, put together from blocks."""
        info = self.info
        region = check_region(region, info.shape)
        out = np.empty([part.stop - part.start for part in region], info.dtype)
        side = tuple(_SIDE if a in "YX" else 1 for a in info.axes)
        first = [part.start // n * n for part, n in zip(region, side, strict=True)]
        cover = tuple(part.stop - start for part, start in zip(region, first, strict=True))
        for inside in regions(cover, side):
            corner = tuple(part.start + start for part, start in zip(inside, first, strict=True))
            block = self._block(corner, tuple(min(c + n, m) for c, n, m in zip(corner, side, info.shape, strict=True)))
            seen = [
                (max(part.start, c), min(part.stop, c + n))
                for part, c, n in zip(region, corner, block.shape, strict=True)
            ]
            target = tuple(slice(a - part.start, b - part.start) for (a, b), part in zip(seen, region, strict=True))
            out[target] = block[tuple(slice(a - c, b - c) for (a, b), c in zip(seen, corner, strict=True))]
        return out

    def _block(self, corner: tuple[int, ...], end: tuple[int, ...]) -> NDArray[Any]:
        with self._lock:
            if corner in self._blocks:
                self._blocks.move_to_end(corner)
                return self._blocks[corner]
        region = tuple(slice(a, b) for a, b in zip(corner, end, strict=True))
        fine = self.finer.info
        block = fill_region(_Readable(self.finer), region, fine_shape=fine.shape, axes=fine.axes, nodata=self.nodata)
        with self._lock:
            self._blocks[corner] = block
            while len(self._blocks) > max(_KEPT // max(block.nbytes, 1), 1):
                self._blocks.popitem(last=False)
        return block


@dataclass(frozen=True)
class _Readable:
    """A source by the name of an array, for `fill_region`."""

    source: ImageSource

    @property
    def chunks(self) -> tuple[int, ...]:
        return self.source.info.chunks

    def __getitem__(self, region: Region) -> NDArray[Any]:
        return self.source.read(region)

    def __setitem__(self, region: Region, block: Any) -> None:
        raise NotImplementedError


class SourceLevels:
    """The levels of a source, the full one first, each half as large as the one before.

    Parameters
    ----------
    source : ImageSource
        The full one.
    open_level : callable
        ``open_level(k)`` opens the level that is ``k`` steps smaller in the source's own pyramid.
    nodata : float, optional
        Stored value that takes no part in a mean.
    """

    def __init__(self, source: ImageSource, open_level: Callable[[int], ImageSource], nodata: float | None) -> None:
        self._levels = [source]
        self._own = [True]
        self._seen: dict[int, dict[str, Any]] = {}  # identities of the source's own levels, when they were opened
        self._open, self._nodata = open_level, nodata
        self._lock = threading.Lock()

    def level(self, k: int) -> ImageSource:
        """Return the source at ``1 / 2**k`` of its size."""
        with self._lock:
            while len(self._levels) <= k:
                found = self._stored(len(self._levels))
                self._own.append(found is not None)
                if found is not None:
                    self._seen[len(self._levels)] = identity_of(found)
                self._levels.append(found or HalvedSource(self._levels[-1], self._nodata))
            return self._levels[k]

    def is_stored(self, k: int) -> bool:
        """Tell whether the source itself has level ``k``."""
        self.level(k)
        return self._own[k]

    def changed(self) -> bool:
        """Tell whether one of the source's own levels that were opened is another image now."""
        with self._lock:
            opened = [(self._levels[k], seen) for k, seen in self._seen.items() if k < len(self._levels)]
        return any(identity_of(level) != seen for level, seen in opened)

    def state(self, k: int) -> str:
        """Return what identifies the source's own levels down to ``k``; empty where none was opened."""
        with self._lock:
            seen = {str(j): found for j, found in self._seen.items() if j <= k < len(self._levels)}
        return json.dumps(json_ready(seen), sort_keys=True) if seen else ""

    def _stored(self, k: int) -> ImageSource | None:
        """The source's own level, where it has one of the right size."""
        full, wanted = self._levels[0].info, halved_info(self._levels[-1].info)
        if k >= full.levels:
            return None
        try:
            found = self._open(k)
        except (FormatError, RequestError):
            return None
        same = found.info.shape == wanted.shape and found.info.axes == full.axes and found.info.dtype == full.dtype
        return found if same else None
