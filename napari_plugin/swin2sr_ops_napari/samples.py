"""File > Open Sample: the images that come with the package, as they are, and as one that no memory holds."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from swin2sr_ops import open_source
from swin2sr_ops.hosting import halve, level_shapes

__all__ = ["cells", "large", "photo"]

_Layer = tuple[Any, dict[str, Any], str]
#: Pixels of the large sample along each side; of the nuclei that it repeats.
_SIDE, _REPEATED = 30_000, 256


def cells() -> list[_Layer]:
    """Nuclei, fluorescence, 16 bits."""
    return [_sample("cells", "nuclei", colormap="gray")]


def photo() -> list[_Layer]:
    """A photograph, RGB, 8 bits."""
    return [_sample("photo", "photograph", rgb=True)]


def large() -> list[_Layer]:
    """30,000 x 30,000 pixels, 1.8 GB, in eight levels: the nuclei and their mirror images, made where one looks."""
    nuclei = _read("cells")[:_REPEATED, :_REPEATED]
    levels = []
    for shape in level_shapes((_SIDE, _SIDE), "YX"):
        levels.append(_repeated(nuclei, shape))
        nuclei = halve(nuclei, "YX")
    low, high = (float(v) for v in np.percentile(_read("cells"), [0.1, 99.8]))
    look = {"name": "nuclei, 30,000 x 30,000", "multiscale": True, "contrast_limits": (low, high)}
    return [(levels, look, "image")]


def _sample(name: str, title: str, **look: Any) -> _Layer:
    uri = f"sample:{name}"
    pixels = _read(name)
    if not look.get("rgb"):
        look["contrast_limits"] = tuple(float(v) for v in np.percentile(pixels, [0.1, 99.8]))
    return pixels, {"name": title, "metadata": {"swin2sr_ops": {"uri": uri}}, **look}, "image"


def _read(name: str) -> NDArray[Any]:
    source = open_source(f"sample:{name}")
    return source.read(tuple(slice(0, n) for n in source.info.shape))


def _repeated(tile: NDArray[Any], shape: tuple[int, ...], chunk: int = 512) -> da.Array:
    """``tile`` and its mirror images over ``shape``; nothing is made before it is looked at."""
    fourfold = np.block([[tile, tile[:, ::-1]], [tile[::-1], tile[::-1, ::-1]]])
    rows, columns = fourfold.shape

    def block(block_info: Any = None) -> NDArray[Any]:
        (y0, y1), (x0, x1) = block_info[None]["array-location"]
        made: NDArray[Any] = fourfold[np.ix_(np.arange(y0, y1) % rows, np.arange(x0, x1) % columns)]
        return made

    chunks = da.core.normalize_chunks(chunk, shape, dtype=tile.dtype)
    return da.map_blocks(block, chunks=chunks, dtype=tile.dtype, meta=np.empty((0, 0), tile.dtype))
