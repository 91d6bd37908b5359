"""The documents of one OME-Zarr image: how its arrays are stored, and what its groups say.

A sink writes them; a store whose chunks are computed when they are read answers them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import ImageInfo, Region, chunk_grid, json_ready
from swin2sr_ops.io.output.pyramid import regions
from swin2sr_ops.io.output.staging import Layout
from swin2sr_ops.io.storage.files import Files
from swin2sr_ops.io.zarr.cf import array_attributes
from swin2sr_ops.io.zarr.documents import ZARR_FORMATS
from swin2sr_ops.io.zarr.labels import carry_labels, list_labels, missing_labels
from swin2sr_ops.io.zarr.ngff import image_attributes, label_attributes, stored_axes
from swin2sr_ops.io.zarr.sides import SIDE_ARRAYS

__all__ = [
    "Labels",
    "LevelArray",
    "image_layout",
    "needs_pixels",
    "root_documents",
    "stored",
    "value_ranges",
    "write_beside",
]

_T = TypeVar("_T")
#: Store and path of an image group whose labels are carried, and how many times they are enlarged.
Labels = tuple[str, str, int]


class LevelArray(Protocol):
    """One level of a pyramid: a Zarr array, or one that is computed."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def chunks(self) -> tuple[int, ...]: ...

    def __getitem__(self, region: Region, /) -> Any: ...


def image_layout(
    info: ImageInfo,
    *,
    chunks: tuple[int, ...] | None = None,
    shards: tuple[int, ...] | None = None,
    ngff: str = "0.5",
    pyramid: bool = True,
    sides: Collection[str] = (),
) -> Layout:
    """Return how the arrays of an image are stored, with those ``sides`` of `swin2sr_ops.io.zarr.sides.SIDE_ARRAYS`.

    Other parameters: see `swin2sr_ops.io.zarr.sink.create_sink`.

    Raises
    ------
    RequestError
        The axes do not fit NGFF, the chunks not the image, or the version is unknown.
    """
    if ngff not in ZARR_FORMATS:
        raise RequestError(f"ngff={ngff!r} was given, but OME-Zarr is written as 0.5 or 0.4.")
    axes = stored_axes(info.axes)  # refuses what does not fit
    chunks = chunk_grid(info, chunks)
    shards = _shards(info, chunks, shards)
    if shards is not None and ngff == "0.4":
        raise RequestError("Shards were given, but OME-Zarr 0.4 (Zarr v2) has none: use 0.5, or leave them out.")
    return Layout(
        axes=axes,
        shape=stored(info, info.shape),
        dtype=info.dtype,
        chunks=stored(info, chunks),
        shards=None if shards is None else stored(info, shards),
        pyramid=pyramid,
        nodata=info.nodata,
        zarr_format=ZARR_FORMATS[ngff],
        names=tuple(a.lower().replace("s", "c") for a in axes),
        sides={side.path: side.dtype for name, side in SIDE_ARRAYS.items() if name in sides},
        attributes=array_attributes(info.nodata, info.dtype, info.extra.get("packing", {}), ZARR_FORMATS[ngff]),
    )


def stored(info: ImageInfo, values: Sequence[_T]) -> tuple[_T, ...]:
    """Put ``values``, one per axis of the image, into the order of the file."""
    return tuple(values[info.axes.index(a)] for a in stored_axes(info.axes))


def _shards(info: ImageInfo, chunks: tuple[int, ...], shards: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """``shards`` cut to the image, in whole chunks."""
    if shards is None:
        return None
    if len(shards) == 2 and len(info.shape) != 2:
        shards = tuple(shards["YX".index(a)] if a in "YX" else 1 for a in info.axes)
    if len(shards) != len(info.shape) or min(shards) < 1:
        raise RequestError(
            f"shards={shards} does not fit the axes {info.axes!r}: give a positive number per axis, or two for Y and X."
        )
    cut = tuple(min(s, -(-n // c) * c) for s, c, n in zip(shards, chunks, info.shape, strict=True))
    if any(s % c for s, c in zip(cut, chunks, strict=True)):
        raise RequestError(f"shards={shards} must be whole multiples of chunks={chunks}.")
    return cut


def write_beside(files: Files, info: ImageInfo, layout: Layout, version: str, labels: Labels | None) -> None:
    """Write what lies beside the levels: carried labels whole, and the groups of context, spread and intervals."""
    if labels is not None:
        uri, group, scale = labels
        for name, reason in missing_labels(uri, array=group):
            warnings.warn(f"The label image {name!r} is not carried: {reason}", stacklevel=2)
        carry_labels(uri, files, scale=scale, version=version, array=group)
    sides = [side for side in SIDE_ARRAYS.values() if side.path in layout.sides]
    for side in sides:
        if side.label:
            attributes = label_attributes(info, version=version, name=side.label)
        else:
            bare = replace(info, dtype=np.dtype(side.dtype), channels=())
            attributes = image_attributes(bare, version=version, levels=1, name=side.group, ranges=())
        _write(files, _group(side.group, attributes, version))
    flags = [side.label for side in sides if side.label]
    if flags:
        list_labels(files, flags, version)


def root_documents(
    info: ImageInfo,
    layout: Layout,
    version: str,
    name: str,
    ranges: Sequence[tuple[float, float]],
    provenance: Mapping[str, Any],
) -> list[tuple[str, bytes]]:
    """Return keys and bytes of what makes the image a group, in the order in which to write them.

    Parameters
    ----------
    info, layout, version
        Of the image that is written.
    name : str
        Of an image that has none of its own.
    ranges : sequence of (float, float)
        Lowest and highest value per channel: `value_ranges`.
    provenance : mapping
        Stored in the attribute ``swin2sr_ops``.
    """
    levels = len(layout.shapes)
    attributes = image_attributes(info, version=version, levels=levels, name=info.name or name, ranges=ranges)
    own = json_ready(provenance)
    if info.nodata is not None:
        own["nodata"] = json_ready(info.nodata)
    carried = {**info.extra.get("attributes", {}), **_georeference(info.extra.get("geo") or {})}
    return _group("", {**carried, **attributes, "swin2sr_ops": own}, version)


def _group(path: str, attributes: Mapping[str, Any], version: str) -> list[tuple[str, bytes]]:
    """The documents of a group; the one that makes it a group last."""
    prefix = f"{path}/" if path else ""
    if ZARR_FORMATS[version] == 3:
        return [(f"{prefix}zarr.json", _json({"zarr_format": 3, "node_type": "group", "attributes": attributes}))]
    return [(f"{prefix}.zattrs", _json(attributes)), (f"{prefix}.zgroup", _json({"zarr_format": 2}))]


def _write(files: Files, documents: Sequence[tuple[str, bytes]]) -> None:
    for key, document in documents:
        files.write(key, document)


def needs_pixels(info: ImageInfo) -> bool:
    """Tell whether `value_ranges` looks at pixels."""
    axes = stored_axes(info.axes)
    return info.dtype != np.uint8 if "S" in axes else "C" in axes or bool(info.channels)


def value_ranges(info: ImageInfo, array: LevelArray) -> list[tuple[float, float]]:
    """Find the lowest and highest value per channel in one level; none where no channel is."""
    axes = stored_axes(info.axes)
    if "S" in axes:  # colours share a range, or the hue would change
        return [_range(info, axes, array, None)] * info.size("S")
    if "C" not in axes and not info.channels:
        return []
    return [_range(info, axes, array, c if "C" in axes else None) for c in range(info.size("C"))]


def _range(info: ImageInfo, axes: str, array: LevelArray, channel: int | None) -> tuple[float, float]:
    if "S" in axes and info.dtype == np.uint8:
        return 0.0, 255.0  # shown as it is
    shape = tuple(1 if a == "C" and channel is not None else n for a, n in zip(axes, array.shape, strict=True))
    low, high = np.inf, -np.inf
    for region in regions(shape, tuple(min(c, n) for c, n in zip(array.chunks, shape, strict=True))):
        where = tuple(
            slice(channel, channel + 1) if a == "C" and channel is not None else part
            for a, part in zip(axes, region, strict=True)
        )
        block = np.asarray(array[where])
        valid = np.isfinite(block) if info.nodata is None else np.isfinite(block) & (block != info.nodata)
        if valid.any():
            low, high = min(low, float(block[valid].min())), max(high, float(block[valid].max()))
    return (low, high) if low < high else (0.0, 1.0)


def _georeference(geo: Mapping[str, Any]) -> dict[str, Any]:
    """Return a raster's attributes by the Zarr conventions ``proj:`` and ``spatial:``: CRS, and affine from corners."""
    named = {"proj:wkt2": geo.get("crs"), "spatial:transform": geo.get("transform")}
    return {name: value for name, value in named.items() if value}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()
