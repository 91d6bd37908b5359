"""Write OME-Zarr 0.5 (Zarr v3) and 0.4 (Zarr v2), with pyramid, pixel sizes and channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import ImageInfo, Region, check_block, chunk_grid, json_ready
from swin2sr_ops.io.destination import Destination, disk_errors
from swin2sr_ops.io.ngff import image_attributes, stored_axes
from swin2sr_ops.io.pyramid import fill_level, level_shapes, regions

__all__ = ["ZarrSink", "create_sink"]

_FORMATS = {"0.4": 2, "0.5": 3}
_T = TypeVar("_T")


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
) -> ZarrSink | None:
    """Start an OME-Zarr image at ``uri``, or return None where ``uri`` does not end in ``.zarr``.

    It grows in ``<uri>.partial``; one left there by a killed run is replaced, nothing can go on
    with it yet.

    Parameters
    ----------
    uri : str
        A path ending in ``.zarr``; its folder must exist.
    info : ImageInfo
        The image to write, not the one it was made from: see `ImageInfo.scaled`.
    chunks, shards : tuple of int, optional
        Per axis, in the order of ``info.axes``; two numbers for ``chunks`` are those of Y and X.
        Chunks are 512 x 512 pixels of one plane (512 KB of uint16: few files, little read in
        vain), and there are no shards, unless given. Shards, of several chunks each, need
        ``ngff="0.5"``.
    ngff : {"0.5", "0.4"}
        Version of the metadata, and with it of Zarr: v3 or v2.
    pyramid : bool
        Whether `ZarrSink.finish` adds levels of half the size, down to 512 pixels.
    overwrite : bool
        Whether what is at ``uri`` is replaced once the new image is finished.
    source : str, optional
        The input, which the output may not overlap.

    Raises
    ------
    OutputError
        Something is there, the folder is missing, the output overlaps the input, or the disk fails.
    RequestError
        The axes do not fit NGFF, or the chunks not the image.
    """
    if not uri.rstrip("/").lower().endswith(".zarr"):
        return None
    if ngff not in _FORMATS:
        raise RequestError(f"ngff={ngff!r} was given, but OME-Zarr is written as 0.5 or 0.4.")
    stored_axes(info.axes)  # refuses what does not fit
    chunks = chunk_grid(info, chunks)
    shards = _shards(info, chunks, shards)
    if shards is not None and ngff == "0.4":
        raise RequestError("Shards were given, but OME-Zarr 0.4 (Zarr v2) has none: use 0.5, or leave them out.")
    destination = Destination.at(uri, overwrite=overwrite)
    destination.check(source)
    sink = ZarrSink(uri, info, destination, ngff, chunks, shards, pyramid)
    sink.start()
    return sink


def _shards(info: ImageInfo, chunks: tuple[int, ...], shards: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """``shards`` cut to the image, in whole chunks."""
    if shards is None:
        return None
    if len(shards) != len(info.shape) or min(shards) < 1:
        raise RequestError(f"shards={shards} does not fit the axes {info.axes!r}: give a positive number per axis.")
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
    destination: Destination
    version: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    pyramid: bool
    parallel: bool = True
    _array: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}

    @property
    def write_unit(self) -> tuple[int, ...]:
        """What one writer must own whole: a shard, or a chunk."""
        return self.shards or self.chunks

    def start(self) -> None:
        """Create the group and its full-size level, empty."""
        import zarr

        path = self.destination.start()
        with disk_errors(path):
            zarr.create_group(str(path), zarr_format=_FORMATS[self.version])
            self._create_level(0, self._stored(self.info.shape))

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None:
        region = check_block(region, block, self.info, self.write_unit)
        if self._array is None:
            self._array = self._open_level(0)
        with disk_errors(self.destination.partial):
            self._array[self._stored(region)] = block.transpose(self._order)

    def finish(self, provenance: dict[str, Any]) -> None:
        """Add the pyramid and the metadata, and give the image its final name."""
        axes = stored_axes(self.info.axes)
        with disk_errors(self.destination.partial):
            shapes = level_shapes(self._stored(self.info.shape), axes)
            shapes = shapes if self.pyramid else shapes[:1]
            for k, shape in enumerate(shapes[1:], start=1):
                self._create_level(k, shape)
                unit = tuple(min(u, n) for u, n in zip(self._stored(self.write_unit), shape, strict=True))
                fill_level(
                    self._open_level(k - 1),
                    self._open_level(k),
                    fine_shape=shapes[k - 1],
                    axes=axes,
                    unit=unit,
                    nodata=self.info.nodata,
                )
            self._write_attributes(len(shapes), axes, provenance)
        self.destination.appear(self.destination.partial)

    def abort(self) -> None:
        """Remove what was written."""
        self._array = None
        self.destination.discard()

    @property
    def _order(self) -> tuple[int, ...]:
        """The source's axes as NGFF orders them."""
        return tuple(self.info.axes.index(a) for a in stored_axes(self.info.axes))

    def _stored(self, values: Sequence[_T]) -> tuple[_T, ...]:
        return tuple(values[i] for i in self._order)

    def _create_level(self, level: int, shape: tuple[int, ...]) -> None:
        import zarr

        axes = stored_axes(self.info.axes)
        chunks = tuple(min(c, n) for c, n in zip(self._stored(self.chunks), shape, strict=True))
        shards = None
        if self.shards is not None:
            given = zip(self._stored(self.shards), chunks, shape, strict=True)
            shards = tuple(min(s, -(-n // c) * c) for s, c, n in given)
        v3 = _FORMATS[self.version] == 3
        zarr.create_array(
            str(self.destination.partial),
            name=str(level),
            shape=shape,
            chunks=chunks,
            shards=shards,
            dtype=self.info.dtype,
            fill_value=0,
            overwrite=True,  # `finish` may be called again after the disk was full
            zarr_format=_FORMATS[self.version],
            compressors=_compressor(self.info.dtype, v3=v3),
            dimension_names=[a.lower().replace("s", "c") for a in axes] if v3 else None,
            chunk_key_encoding={"name": "default" if v3 else "v2", "separator": "/"},
        )

    def _open_level(self, level: int) -> Any:
        import zarr

        return zarr.open_array(str(self.destination.partial), path=str(level), mode="r+")

    def _write_attributes(self, levels: int, axes: str, provenance: dict[str, Any]) -> None:
        import zarr

        name = self.info.name or self.destination.path.name.split(".")[0]
        ranges = self._ranges(levels - 1, axes)
        attributes = image_attributes(self.info, version=self.version, levels=levels, name=name, ranges=ranges)
        own = json_ready(provenance)
        if self.info.nodata is not None:
            own["nodata"] = json_ready(self.info.nodata)
        group = zarr.open_group(str(self.destination.partial), mode="r+")
        group.attrs.put({**attributes, "swin2sr_ops": own})

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
        array = self._open_level(level)
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


def _compressor(dtype: np.dtype[Any], *, v3: bool) -> Any:
    if v3:
        from zarr.codecs import BloscCodec

        return BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=dtype.itemsize)
    return {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 1}  # 1: by bytes
