"""Write a Cloud Optimized GeoTIFF in one pass, with the memory of a few tiles.

All directories come first, then the tiles: those of the smallest overview first, those of the full image
last, which is best for readers over a network. GDAL's own COG driver first writes the entire image, and
its overviews, to a temporary file.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.geo.cog_layout import SAMPLE_FORMATS, Directory, head, image_tags, mask_tags
from swin2sr_ops.io.geo.cog_tags import PROVENANCE, geo_tags
from swin2sr_ops.io.geo.cog_tiles import Level, cut, plane_size, write_tiles
from swin2sr_ops.io.geo.creation import Creation

__all__ = ["read_provenance", "write_cog"]

_CLASSIC = 3 << 30  # above this size a classic TIFF's 32-bit offsets might overflow
_LARGEST_TILE = 64 << 20  # bytes; with hundreds of bands tiles are smaller, or a few would fill the memory
_AXES = ("YX", "CYX", "YXS")
_METADATA_TAG = 42112


def write_cog(
    path: str | Path,
    levels: Sequence[Level],
    *,
    axes: str,
    dtype: np.dtype[Any],
    geo: Mapping[str, Any] | None = None,
    nodata: float | None = None,
    provenance: Mapping[str, Any] | None = None,
    creation: Creation = Creation(),  # noqa: B008  (a frozen value)
    mask_levels: Sequence[Level] | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> None:
    """Write ``levels`` to ``path`` and replace an existing file; the same input gives the same bytes.

    A coordinate reference system that GeoTIFF cannot store goes into ``<path>.aux.xml``, as with GDAL.

    Tiles are compressed after a predictor, all bands of a pixel together, as in GDAL's COG driver; every
    TIFF reader can read them with the default compression, deflate.

    Parameters
    ----------
    path : path
        Not the final name: the file is incomplete until this function returns.
    levels : sequence of array-likes
        The full image, then its overviews, each half the size of the previous one. Each region is read
        once, in this thread.
    axes : {"YX", "CYX", "YXS"}
        Axes of every level. ``C`` and ``S`` become bands.
    dtype : dtype
        Integers and floats.
    geo : mapping, optional
        From `geo_metadata.describe`, for *this* image: see `geo_metadata.scaled`.
    nodata : float, optional
        For all bands.
    provenance : mapping, optional
        Stored as JSON in the file; `read_provenance` returns it.
    creation : Creation
        Compression and side of a tile; tiles are smaller if the image is, or has hundreds of bands.
    mask_levels : sequence of array-likes of bool, optional
        Valid pixels, with axes YX, one array per level; written as the file's mask.
    progress : callable, optional
        Receives the number of tiles written so far, and of all.
    threads : int, optional
        Number of compressing threads; by default one per core, at most 8.

    Raises
    ------
    RequestError
        If COG cannot store such an image, levels do not fit each other, or rasterio is not installed.
    OSError
        If the disk is full, or ``path`` cannot be written.
    """
    dtype = np.dtype(dtype)
    _check(levels, mask_levels, axes, dtype)
    bands = _bands(axes, levels[0].shape)
    side = _side(creation.blocksize, axes, levels[0].shape, bands * dtype.itemsize)
    found = geo_tags(
        geo or {}, bands=bands, colours=axes == "YXS", dtype=dtype, nodata=nodata, provenance=provenance or {}
    )
    tags = found.tags
    sizes = [plane_size(axes, level.shape) for level in levels]
    stored = side, creation.code
    images = [Directory(image_tags(k, n, bands, dtype, *stored, tags), _count(n, side)) for k, n in enumerate(sizes)]
    masked = [] if mask_levels is None else list(enumerate(sizes))
    masks = [Directory(mask_tags(k, n, *stored), _count(n, side)) for k, n in masked]
    tiles = cut(levels, mask_levels, axes=axes, dtype=dtype, side=side, images=images, masks=masks)
    # GDAL's order: the image, its mask, then all overviews, then their masks.
    directories = [images[0], *masks[:1], *images[1:], *masks[1:]]
    raw = side * side * (sum(d.tiles for d in images) * bands * dtype.itemsize + sum(d.tiles for d in masks) / 8)
    big = raw * creation.growth > _CLASSIC
    with Path(path).open("wb") as file:
        file.write(head(directories, big=big, masked=bool(masks)))
        write_tiles(
            file, tiles, side=side, encode=creation.encode, total=sum(d.tiles for d in directories), progress=progress,
            threads=threads,
        )  # fmt: skip
        file.seek(0)
        file.write(head(directories, big=big, masked=bool(masks)))
    beside = Path(f"{path}.aux.xml")
    beside.unlink(missing_ok=True)
    if found.sidecar is not None:
        beside.write_bytes(found.sidecar)


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Read the provenance that `write_cog` stored; None if ``path`` has none."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            xml = tiff.pages.first.tags.valueof(_METADATA_TAG)
        items = tifffile.xml2dict(xml)["GDALMetadata"]["Item"]
        items = items if isinstance(items, list) else [items]
        text = next(item["value"] for item in items if item.get("name") == PROVENANCE)
        found = json.loads(html.unescape(text))  # GDAL escapes again what is already escaped for XML
    except (OSError, ValueError, KeyError, TypeError, IndexError, SyntaxError, StopIteration):
        return None
    return found if isinstance(found, dict) else None


def _check(levels: Sequence[Level], mask_levels: Sequence[Level] | None, axes: str, dtype: np.dtype[Any]) -> None:
    if axes not in _AXES:
        raise RequestError(f"The axes {axes!r} do not fit GeoTIFF, which has {', '.join(_AXES)}: choose one plane.")
    if dtype.kind not in SAMPLE_FORMATS:
        raise RequestError(f"A GeoTIFF can only be written with integers and floats, not {dtype}.")
    if not levels:
        raise RequestError("No levels were given: the first one is the full image.")
    shape = tuple(levels[0].shape)
    if len(shape) != len(axes) or 0 in shape:
        raise RequestError(f"axes={axes!r} does not fit the image, which has the shape {shape}.")
    for k, level in enumerate(levels):
        if tuple(level.shape) != shape:
            raise RequestError(f"Level {k} has the shape {level.shape}, but half of the previous level is {shape}.")
        shape = tuple(-(-n // 2) if a in "YX" else n for n, a in zip(shape, axes, strict=True))
    sizes = [plane_size(axes, level.shape) for level in levels]
    if mask_levels is not None and [tuple(m.shape) for m in mask_levels] != sizes:
        raise RequestError(f"The masks have the shapes {[m.shape for m in mask_levels]}, but the levels {sizes}.")


def _bands(axes: str, shape: tuple[int, ...]) -> int:
    return next((int(n) for n, a in zip(shape, axes, strict=True) if a in "CS"), 1)


def _side(tile: int, axes: str, shape: tuple[int, ...], pixel_bytes: int) -> int:
    side = min(tile, -(-max(plane_size(axes, shape)) // 16) * 16)
    while side > 16 and side * side * pixel_bytes > _LARGEST_TILE:
        side = side // 32 * 16
    return side


def _count(size: tuple[int, int], side: int) -> int:
    return -(-size[0] // side) * -(-size[1] // side)
