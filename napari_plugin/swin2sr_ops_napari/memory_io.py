"""Arrays as sources and sinks, so that a layer takes the same way through `swin2sr_ops.run.run` as a file.

`offer` gives an image an address for as long as it is needed; the hooks below open it.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from swin2sr_ops.errors import OutputError
from swin2sr_ops.hookspecs import hookimpl
from swin2sr_ops.hosting import (
    ImageInfo,
    ImageSink,
    ImageSource,
    Region,
    check_block,
    fill_region,
    level_shapes,
    plugin_manager as manager,
)
from swin2sr_ops_napari.layers import LayerImage

__all__ = ["ArraySource", "MemorySink", "Pyramid", "offer", "offer_sink"]

_LAYER, _MEMORY = "napari-layer:", "napari-memory:"
_offered: dict[str, Any] = {}


@dataclass(frozen=True)
class ArraySource:
    """A layer's array."""

    uri: str
    image: LayerImage

    @property
    def info(self) -> ImageInfo:
        """Description of the layer's image."""
        return self.image.info()

    def read(self, region: Region) -> NDArray[Any]:
        """Compute ``region``."""
        return np.asarray(self.image.levels[0][region])

    @property
    def recognisable(self) -> bool:
        """True if a later run can verify that its input is the same array, and resume."""
        return isinstance(self.image.levels[0], np.ndarray)

    def identity(self) -> dict[str, Any]:
        """A digest of the pixels in memory; of arrays that would have to be computed, nothing that lasts."""
        array = self.image.levels[0]
        if not self.recognisable:
            return {"layer": self.uri}
        digest = hashlib.blake2b(digest_size=16)
        for plane in array.reshape(-1, *array.shape[-2:]) if array.flags.c_contiguous else array:
            digest.update(np.ascontiguousarray(plane).data)
        return {"pixels": digest.hexdigest(), "shape": list(array.shape), "dtype": str(array.dtype)}


class Pyramid:
    """A result in memory, with smaller levels where it is large: a viewer then draws what it shows, not all.

    Parameters
    ----------
    shape, axes, dtype
        Of the full-size level.
    single : int
        Up to how many pixels along Y and X there is one level only.
    empty : float
        Value where nothing has been put.
    """

    def __init__(
        self, shape: tuple[int, ...], axes: str, dtype: DTypeLike, single: int = 2048, empty: float = 0
    ) -> None:
        large = max(n for n, a in zip(shape, axes, strict=True) if a in "YX") > single
        self.axes = axes
        shapes = level_shapes(shape, axes) if large else [shape]
        # Zeros cost neither time nor memory until a tile is put; the window's thread makes them.
        self.levels = [np.full(s, empty, dtype) if empty else np.zeros(s, dtype) for s in shapes]
        self._lock = threading.Lock()

    def put(self, region: Region, block: NDArray[Any]) -> None:
        """Fill ``region``, and what it covers of the smaller levels."""
        with self._lock:  # two tiles may share a pixel of a smaller level
            self.levels[0][region] = block
            for fine, coarse in zip(self.levels, self.levels[1:], strict=False):
                region = tuple(
                    slice(part.start // 2, -(-part.stop // 2)) if a in "YX" else part
                    for part, a in zip(region, self.axes, strict=True)
                )
                coarse[region] = fill_region(fine, region, fine_shape=fine.shape, axes=self.axes)


@dataclass
class MemorySink:
    """Writes into a `Pyramid`; what is there stays, finished or not."""

    uri: str
    info: ImageInfo
    target: Pyramid
    write_unit: tuple[int, ...]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None:
        self.target.put(check_block(region, block, self.info, self.write_unit), block)

    def finish(self, provenance: dict[str, Any]) -> None:
        """Keep the provenance."""
        self.provenance = provenance

    def abort(self) -> None:
        """Leave what is done."""


@contextmanager
def offer(image: LayerImage) -> Iterator[str]:
    """An address under which `swin2sr_ops.open_source` finds the image, as long as the block runs."""
    # The name goes into the output: the same image must have the same one next time.
    uri = name = f"{_LAYER}{image.name}"
    while uri in _offered:
        uri = f"{name} {uuid.uuid4().hex}"
    with _known(uri, ArraySource(uri, image)):
        yield uri


@contextmanager
def offer_sink(target: Pyramid) -> Iterator[str]:
    """An address under which `swin2sr_ops.create_sink` finds ``target``."""
    uri = f"{_MEMORY}{uuid.uuid4().hex}"

    def create(info: ImageInfo) -> MemorySink:
        if info.shape != target.levels[0].shape:
            raise OutputError(f"The result has shape {info.shape}; {target.levels[0].shape} was made ready.")
        return MemorySink(uri, info, target, (1,) * len(info.shape))

    with _known(uri, create):
        yield uri


@contextmanager
def _known(uri: str, what: object) -> Iterator[None]:
    here = sys.modules[__name__]
    if not manager().is_registered(here):
        manager().register(here, "napari-layers")
    _offered[uri] = what
    try:
        yield
    finally:
        del _offered[uri]


@hookimpl
def swin2sr_ops_open_source(uri: str) -> ImageSource | None:
    """Layers that are offered."""
    found: ImageSource | None = _offered.get(uri) if uri.startswith(_LAYER) else None
    return found


@hookimpl
def swin2sr_ops_create_sink(uri: str, info: ImageInfo) -> ImageSink | None:
    """Arrays that are offered."""
    create: Callable[[ImageInfo], ImageSink] | None = _offered.get(uri) if uri.startswith(_MEMORY) else None
    return None if create is None else create(info)
