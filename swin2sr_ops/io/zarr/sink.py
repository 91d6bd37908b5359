"""Write OME-Zarr 0.5 (Zarr v3) and 0.4 (Zarr v2), with pyramid, pixel sizes and channels."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import ImageInfo, Region, check_block, chunk_grid, json_ready
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.io.output.destination import Destination, disk_errors
from swin2sr_ops.io.output.pyramid import regions
from swin2sr_ops.io.output.staging import Layout, Staging
from swin2sr_ops.io.storage.paths import without_separator
from swin2sr_ops.io.zarr.documents import ZARR_FORMATS
from swin2sr_ops.io.zarr.labels import carry_labels, list_labels, missing_labels
from swin2sr_ops.io.zarr.ngff import image_attributes, label_attributes, stored_axes

__all__ = ["CONTEXT", "SPREAD", "ZarrSink", "create_sink"]

_T = TypeVar("_T")
#: Where the flags lie that say what nodata has touched: a label image.
CONTEXT = "labels/nodata_context"
#: Where the spread of an ensemble lies: an image of one level.
SPREAD = "spread"


def create_sink(
    uri: str,
    info: ImageInfo,
    *,
    chunks: tuple[int, ...] | None = None,
    shards: tuple[int, ...] | None = None,
    ngff: str = "0.5",
    pyramid: bool = True,
    overwrite: bool = False,
    source: str | None = None,
    context: bool = False,
    spread: bool = False,
    labels: tuple[str, str, int] | None = None,
    anywhere: bool = False,
    inner: bool = False,
    run: RunKey | None = None,
) -> ZarrSink | None:
    """Start an OME-Zarr image at ``uri``, or return None where ``uri`` does not end in ``.zarr``.

    On a file system it grows in ``<uri>.partial``. What a killed run has left is gone on with by
    the same run.

    Parameters
    ----------
    uri : str
        A path ending in ``.zarr``, whose folder must exist, or a URL that fsspec writes to.
    info : ImageInfo
        The image to write, not the one it was made from: see `ImageInfo.scaled`.
    chunks, shards : tuple of int, optional
        Per axis, in the order of ``info.axes``; two numbers are those of Y and X.
        Chunks are 512 x 512 pixels of one plane (512 KB of uint16: few files, little read in
        vain), and there are no shards, unless given. Shards, of several chunks each, need
        ``ngff="0.5"``.
    ngff : {"0.5", "0.4"}
        Version of the metadata, and with it of Zarr: v3 or v2.
    pyramid : bool
        Whether levels of half the size are added, down to 512 pixels.
    overwrite : bool
        Whether what is at ``uri`` is replaced once the new image is finished.
    source : str, optional
        The input, which the output may not overlap.
    context : bool
        Whether flags are written beside the image that say where nodata was near.
    spread : bool
        Whether the spread of an ensemble is written beside the image, as float32.
    labels : (str, str, int), optional
        Store and path of an image group whose labels are carried, and how many times they are enlarged.
    anywhere : bool
        Whether ``uri`` may end as it likes: an image inside a larger archive does.
    inner : bool
        Whether that archive is unfinished: the image then keeps its journal, which a resume verifies.
    run : RunKey, optional
        What this run is known by; without it, nothing can be gone on with.

    Raises
    ------
    OutputError
        Something is there, the folder is missing, the output overlaps the input, another run is at
        work there, or the disk fails.
    RequestError
        The axes do not fit NGFF, or the chunks not the image.
    """
    if not (anywhere or without_separator(uri).lower().endswith(".zarr")):
        return None
    if ngff not in ZARR_FORMATS:
        raise RequestError(f"ngff={ngff!r} was given, but OME-Zarr is written as 0.5 or 0.4.")
    stored_axes(info.axes)  # refuses what does not fit
    chunks = chunk_grid(info, chunks)
    shards = _shards(info, chunks, shards)
    if shards is not None and ngff == "0.4":
        raise RequestError("Shards were given, but OME-Zarr 0.4 (Zarr v2) has none: use 0.5, or leave them out.")
    destination = Destination.at(uri, overwrite=overwrite, remote=True, inner=inner)
    destination.check(source)
    sides = ({f"{CONTEXT}/0": "uint8"} if context else {}) | ({f"{SPREAD}/0": "float32"} if spread else {})
    layout = _layout(info, chunks, shards, ngff, pyramid=pyramid, sides=sides)
    staging = Staging.begin(destination, layout, run)
    return ZarrSink(uri, info, ngff, shards or chunks, staging, labels=labels)


def _layout(
    info: ImageInfo,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
    ngff: str,
    *,
    pyramid: bool,
    sides: dict[str, str],
) -> Layout:
    axes = stored_axes(info.axes)
    return Layout(
        axes=axes,
        shape=_stored(info, info.shape),
        dtype=info.dtype,
        chunks=_stored(info, chunks),
        shards=None if shards is None else _stored(info, shards),
        pyramid=pyramid,
        nodata=info.nodata,
        zarr_format=ZARR_FORMATS[ngff],
        names=tuple(a.lower().replace("s", "c") for a in axes),
        sides=sides,
    )


def _stored(info: ImageInfo, values: Sequence[_T]) -> tuple[_T, ...]:
    """``values``, one per axis of the image, in the order of the file."""
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


@dataclass
class ZarrSink:
    """An OME-Zarr image that is being written; pickles as its settings.

    Blocks come in the source's axes order; the file has NGFF's, colour samples as channels.
    Compression: Zstandard level 3 with byte shuffle, in Blosc: near deflate's size, fast to read.
    """

    uri: str
    info: ImageInfo
    version: str
    write_unit: tuple[int, ...]
    staging: Staging
    labels: tuple[str, str, int] | None = None

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None:
        self.write(region, block)

    def write(
        self,
        region: Region,
        block: NDArray[Any],
        context: NDArray[Any] | None = None,
        spread: NDArray[np.float32] | None = None,
    ) -> None:
        """Write a region, with its flags and its spread where they were asked for."""
        region = check_block(region, block, self.info, self.write_unit)
        order = [self.info.axes.index(a) for a in stored_axes(self.info.axes)]
        beside = {f"{CONTEXT}/0": context, f"{SPREAD}/0": spread}
        sides = {path: side.transpose(order) for path, side in beside.items() if side is not None}
        self.staging.write(_stored(self.info, region), block.transpose(order), sides)

    def has(self, region: Region) -> bool:
        """Whether an earlier run finished ``region``."""
        return self.staging.has(_stored(self.info, region))

    def noted(self, region: Region) -> bool:
        """Whether anybody finished this very region meanwhile."""
        return self.staging.noted(_stored(self.info, region))

    def finish(self, provenance: dict[str, Any]) -> None:
        """Make what is missing of the pyramid, add the metadata, and give the image its final name."""
        staging = self.staging
        for level in range(1, len(staging.layout.shapes)):
            for region in staging.to_fill(level):
                staging.fill(level, region)
        with disk_errors(staging.files.where):
            self._carry_labels()
            if f"{CONTEXT}/0" in staging.layout.sides:
                self._write_context()
            if f"{SPREAD}/0" in staging.layout.sides:
                info = replace(self.info, dtype=np.dtype(np.float32), channels=())
                self._group(SPREAD, image_attributes(info, version=self.version, levels=1, name=SPREAD, ranges=()))
            self._write_attributes(provenance)
        staging.destination.appear()
        staging.release()

    def abort(self) -> None:
        """Remove what was written."""
        self.staging.discard()

    def _group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Write the documents of a group; the one that makes it a group last."""
        files, prefix = self.staging.files, f"{path}/" if path else ""
        if ZARR_FORMATS[self.version] == 3:
            document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
            files.write(f"{prefix}zarr.json", _json(document))
            return
        files.write(f"{prefix}.zattrs", _json(attributes))
        files.write(f"{prefix}.zgroup", _json({"zarr_format": 2}))

    def _write_context(self) -> None:
        attributes = label_attributes(self.info, version=self.version, name=CONTEXT.rsplit("/", 1)[-1])
        self._group(CONTEXT, attributes)
        list_labels(self.staging.files, [CONTEXT.rsplit("/", 1)[-1]], self.version)

    def _carry_labels(self) -> None:
        if self.labels is not None:
            uri, group, scale = self.labels
            for name, reason in missing_labels(uri, array=group):
                warnings.warn(f"The label image {name!r} is not carried: {reason}", stacklevel=2)
            carry_labels(uri, self.staging.files, scale=scale, version=self.version, array=group)

    def _write_attributes(self, provenance: dict[str, Any]) -> None:
        layout = self.staging.layout
        levels = len(layout.shapes)
        name = self.info.name or self.staging.destination.name.split(".")[0]
        ranges = self._ranges(levels - 1, layout.axes)
        attributes = image_attributes(self.info, version=self.version, levels=levels, name=name, ranges=ranges)
        own = json_ready(provenance)
        if self.info.nodata is not None:
            own["nodata"] = json_ready(self.info.nodata)
        carried = {**self.info.extra.get("attributes", {}), **_georeference(self.info.extra.get("geo") or {})}
        self._group("", {**carried, **attributes, "swin2sr_ops": own})

    def _ranges(self, level: int, axes: str) -> list[tuple[float, float]]:
        """Lowest and highest value per channel, from the smallest level; none where no channel is."""
        count = self.info.size("C")
        if "S" in axes:  # colours share a range, or the hue would change
            return [self._range(level, axes, None)] * self.info.size("S")
        if "C" not in axes and not self.info.channels:
            return []
        return [self._range(level, axes, c if "C" in axes else None) for c in range(count)]

    def _range(self, level: int, axes: str, channel: int | None) -> tuple[float, float]:
        if "S" in axes and self.info.dtype == np.uint8:
            return 0.0, 255.0  # shown as it is
        array = self.staging.level(level)
        shape = tuple(1 if a == "C" and channel is not None else n for a, n in zip(axes, array.shape, strict=True))
        low, high = np.inf, -np.inf
        for region in regions(shape, tuple(min(c, n) for c, n in zip(array.chunks, shape, strict=True))):
            where = tuple(
                slice(channel, channel + 1) if a == "C" and channel is not None else part
                for a, part in zip(axes, region, strict=True)
            )
            block = np.asarray(array[where])
            valid = np.isfinite(block) if self.info.nodata is None else np.isfinite(block) & (block != self.info.nodata)
            if valid.any():
                low, high = min(low, float(block[valid].min())), max(high, float(block[valid].max()))
        return (low, high) if low < high else (0.0, 1.0)


def _georeference(geo: Mapping[str, Any]) -> dict[str, Any]:
    """What the Zarr conventions ``proj:`` and ``spatial:`` say of a raster: CRS, and affine from corners."""
    named = {"proj:wkt2": geo.get("crs"), "spatial:transform": geo.get("transform")}
    return {name: value for name, value in named.items() if value}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()
