"""Write OME-TIFF: tiled, compressed, BigTIFF where needed, with pyramid, pixel sizes and channels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import ImageInfo, Region, check_block, chunk_grid, json_ready
from swin2sr_ops.io.destination import Destination, disk_errors
from swin2sr_ops.io.pyramid import fill_level, level_shapes, regions

__all__ = ["TiffSink", "create_sink"]

_TILE = 512  # as large as the chunks of the staging array, so each is decoded once
_CLASSIC = 3 << 30  # beyond this a classic TIFF's 32-bit offsets might not do
_OME_DTYPES = {"int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64", "complex64", "complex128"}
_OME_UNITS = {
    "meter": "m", "decimeter": "dm", "centimeter": "cm", "millimeter": "mm", "micrometer": "µm", "nanometer": "nm",
    "picometer": "pm", "angstrom": "Å", "kilometer": "km", "inch": "in", "foot": "ft", "second": "s",
    "millisecond": "ms", "microsecond": "µs", "nanosecond": "ns", "minute": "min", "hour": "h", "day": "d",
}  # fmt: skip
_CENTIMETERS = {"meter": 100.0, "millimeter": 0.1, "micrometer": 1e-4, "nanometer": 1e-7, "angstrom": 1e-8}
_NODATA_TAG = 42113  # GDAL's


def create_sink(
    uri: str,
    info: ImageInfo,
    *,
    chunks: tuple[int, ...] | None = None,
    pyramid: bool = True,
    overwrite: bool = False,
    source: str | None = None,
    **options: Any,
) -> TiffSink | None:
    """Start a TIFF at ``uri``, or return None where ``uri`` does not end in ``.tif`` or ``.tiff``.

    Blocks gather in a Zarr array in ``<uri>.partial``, which replaces one left there by a killed
    run; `TiffSink.finish` streams them into the file. That takes the disk space of both.

    Parameters
    ----------
    uri : str
        A path ending in ``.tif`` or ``.tiff``; its folder must exist. OME-XML is written for every
        pixel type that OME knows; ``.ome.tif`` insists on it.
    info : ImageInfo
        The image to write, not the one it was made from: see `ImageInfo.scaled`.
    chunks : tuple of int, optional
        Per axis, in the order of ``info.axes``, or along Y and X: what one writer writes whole;
        512 x 512 pixels of one plane unless given. The file's tiles do not depend on it.
    pyramid : bool
        Whether `TiffSink.finish` adds levels of half the size (SubIFDs), down to 512 pixels; only
        with OME-XML.
    overwrite : bool
        Whether what is at ``uri`` is replaced once the new image is finished.
    source : str, optional
        The input, which the output may not overlap.

    Raises
    ------
    OutputError
        Something is there, the folder is missing, the output overlaps the input, or the disk fails.
    RequestError
        TIFF cannot hold such an image, or an option is not for TIFF.
    """
    if not uri.lower().endswith((".tif", ".tiff")):
        return None
    if options:
        raise RequestError(f"{', '.join(map(repr, options))} cannot be chosen for TIFF.")
    _check_fits(uri, info)
    unit = chunk_grid(info, chunks, _TILE)
    destination = Destination.at(uri, overwrite=overwrite)
    destination.check(source)
    sink = TiffSink(uri, info, destination, unit, pyramid)
    sink.start()
    return sink


def _check_fits(uri: str, info: ImageInfo) -> None:
    odd = [a for a in info.axes if a not in "TCZYXS"]
    if odd:
        raise RequestError(f"The axes {info.axes!r} do not fit TIFF, which has T, C, Z, Y, X and S but no {odd[0]}.")
    if uri.lower().endswith((".ome.tif", ".ome.tiff")) and not _ome_knows(info):
        raise RequestError(f"OME-TIFF cannot hold {info.dtype}: write a plain .tif, or .zarr.")


def _ome_knows(info: ImageInfo) -> bool:
    return info.dtype.name in _OME_DTYPES


@dataclass
class TiffSink:
    """A TIFF that is being written; pickles as its settings.

    The file has colour samples last and other axes first, tiles of 512 x 512 pixels, and deflate
    with horizontal differences for integers, which every TIFF reader knows.
    """

    uri: str
    info: ImageInfo
    destination: Destination
    write_unit: tuple[int, ...]
    pyramid: bool
    parallel: bool = True
    _array: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}

    def start(self) -> None:
        """Create the staging array of the full-size level, empty."""
        path = self.destination.start()
        with disk_errors(path):
            self._create_level(0, self.info.shape)

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None:
        region = check_block(region, block, self.info, self.write_unit)
        if self._array is None:
            self._array = self._open_level(0)
        with disk_errors(self.destination.partial):
            self._array[region] = block

    def finish(self, provenance: dict[str, Any]) -> None:
        """Build the pyramid, stream everything into one file, and give it its final name."""
        import tifffile

        finished = self.destination.partial / "image.tif"
        with disk_errors(finished):
            shapes = self._build_pyramid()
            size = sum(prod(shape) for shape in shapes) * self.info.dtype.itemsize
            with tifffile.TiffWriter(finished, bigtiff=size > _CLASSIC, ome=_ome_knows(self.info)) as tiff:
                for level in range(len(shapes)):
                    self._write_level(tiff, level, len(shapes) - 1, provenance)
        self.destination.appear(finished)

    def abort(self) -> None:
        """Remove what was written."""
        self._array = None
        self.destination.discard()

    @property
    def _axes(self) -> str:
        """The axes as the file has them."""
        return "".join(a for a in self.info.axes if a not in "YXS") + ("YXS" if "S" in self.info.axes else "YX")

    def _staging(self, level: int) -> Path:
        return self.destination.partial / str(level)

    def _create_level(self, level: int, shape: tuple[int, ...]) -> None:
        import zarr
        from zarr.codecs import BloscCodec

        # Read back once and thrown away: fast rather than small.
        fast = BloscCodec(cname="lz4", clevel=1, shuffle="shuffle", typesize=self.info.dtype.itemsize)
        chunks = tuple(min(u, n) for u, n in zip(self.write_unit, shape, strict=True))
        zarr.create_array(
            str(self._staging(level)),
            shape=shape,
            chunks=chunks,
            dtype=self.info.dtype,
            fill_value=0,
            overwrite=True,  # `finish` may be called again after the disk was full
            zarr_format=3,
            compressors=fast,
        )

    def _open_level(self, level: int) -> Any:
        import zarr

        return zarr.open_array(str(self._staging(level)), mode="r+")

    def _build_pyramid(self) -> list[tuple[int, ...]]:
        shapes = level_shapes(self.info.shape, self.info.axes)
        # Without OME-XML, tifffile cannot tell levels from planes when it reads them back.
        shapes = shapes if self.pyramid and _ome_knows(self.info) else shapes[:1]
        for k, shape in enumerate(shapes[1:], start=1):
            self._create_level(k, shape)
            fill_level(
                self._open_level(k - 1),
                self._open_level(k),
                fine_shape=shapes[k - 1],
                axes=self.info.axes,
                unit=tuple(min(u, n) for u, n in zip(self.write_unit, shape, strict=True)),
                nodata=self.info.nodata,
            )
        return shapes

    def _write_level(self, tiff: Any, level: int, sublevels: int, provenance: dict[str, Any]) -> None:
        array = self._open_level(level)
        sizes = dict(zip(self.info.axes, array.shape, strict=True))
        shape = tuple(sizes[a] for a in self._axes)
        tile = tuple(min(_TILE, -(-sizes[a] // 16) * 16) for a in "YX")
        colours = sizes.get("S", 1)
        integers = self.info.dtype.kind in "iu"
        first = level == 0
        tiff.write(
            self._tiles(array, tile),
            shape=shape,
            dtype=self.info.dtype,
            tile=tile,
            photometric="rgb" if colours in (3, 4) else self.info.extra.get("photometric", "minisblack"),
            planarconfig="contig" if "S" in sizes else None,
            extrasamples=["unassalpha"] if colours == 4 else None,
            compression="adobe_deflate" if self.info.dtype != bool else None,
            predictor=True if integers and self.info.dtype.itemsize <= 4 else None,
            subifds=sublevels if first else None,
            subfiletype=0 if first else 1,
            resolution=self._resolution(level),
            resolutionunit="CENTIMETER" if self._resolution(level) else None,
            metadata=self._metadata(provenance) if first else None,
            extratags=self._nodata_tag() if first else (),
        )

    def _tiles(self, array: Any, tile: tuple[int, ...]) -> Iterator[NDArray[Any]]:
        """The file's tiles in its order: plane by plane, row by row, padded by tifffile."""
        axes = self._axes
        order = [axes.index(a) for a in self.info.axes]  # from the file's axes to the image's
        back = [self.info.axes.index(a) for a in axes]
        shape = tuple(array.shape[i] for i in back)
        unit = tuple(
            dict(zip("YX", tile, strict=True)).get(a, n if a == "S" else 1) for a, n in zip(axes, shape, strict=True)
        )
        inner = 3 if "S" in axes else 2
        for region in regions(shape, unit):
            block = np.asarray(array[tuple(region[i] for i in order)]).transpose(back)
            yield block.reshape(block.shape[-inner:])

    def _resolution(self, level: int) -> tuple[float, float] | None:
        """Pixels per centimeter along X and Y, for readers that look at the tags only."""
        scales = [_CENTIMETERS.get(self.info.units.get(a, ""), 0.0) * self.info.pixel_size.get(a, 0.0) for a in "XY"]
        return None if min(scales) <= 0 else (1 / scales[0] / 2**level, 1 / scales[1] / 2**level)

    def _nodata_tag(self) -> tuple[tuple[int, str, int, str, bool], ...]:
        if self.info.nodata is None:
            return ()
        value = self.info.nodata
        return ((_NODATA_TAG, "s", 0, str(int(value)) if float(value).is_integer() else repr(value), True),)

    def _metadata(self, provenance: dict[str, Any]) -> dict[str, Any]:
        """What tifffile turns into OME-XML, or into its own JSON where OME lacks the pixel type."""
        own = json.dumps(json_ready(provenance))
        if not _ome_knows(self.info):
            place = {key: getattr(self.info, key) for key in ("pixel_size", "origin", "units")}
            return {"axes": self._axes, "swin2sr_ops": own, **place}
        metadata: dict[str, Any] = {"axes": self._axes, "Name": self.info.name or self.destination.path.name}
        for axis, key in (
            ("X", "PhysicalSizeX"),
            ("Y", "PhysicalSizeY"),
            ("Z", "PhysicalSizeZ"),
            ("T", "TimeIncrement"),
        ):
            size, unit = self.info.pixel_size.get(axis), _OME_UNITS.get(self.info.units.get(axis, ""))
            if size is None or (axis == "T" and unit is None):
                continue
            metadata[key], metadata[key + "Unit"] = size, unit or "pixel"  # no unit would mean microns
        if provenance:
            metadata["CommentAnnotation"] = {"Namespace": "swin2sr_ops", "Value": own}
        return {**metadata, **self._channels(), **self._planes()}

    def _channels(self) -> dict[str, Any]:
        if "S" in self.info.axes or not self.info.channels:
            return {}
        given = [self.info.channels[c] if c < len(self.info.channels) else {} for c in range(self.info.size("C"))]
        channel: dict[str, Any] = {"Name": [str(c.get("label", f"Channel {i}")) for i, c in enumerate(given)]}
        if any("color" in c for c in given):
            channel["Color"] = [_signed_rgba(str(c.get("color", "FFFFFF"))) for c in given]
        return {"Channel": channel}

    def _planes(self) -> dict[str, Any]:
        """Positions of the first pixel's centre, repeated for every plane as OME wants them."""
        places = {
            a: (self.info.origin[a], _OME_UNITS[self.info.units[a]])
            for a in "ZYX"
            if self.info.origin.get(a) and self.info.units.get(a) in _OME_UNITS and a in self.info.pixel_size
        }
        if not places:
            return {}
        axes = self._axes.rstrip("S")[:-2]
        counts = tuple(self.info.size(a) for a in axes)
        plane: dict[str, Any] = {}
        for axis, (origin, unit) in places.items():
            steps = (
                np.indices(counts)[axes.index("Z")].ravel() if axis == "Z" and "Z" in axes else np.zeros(prod(counts))
            )
            plane[f"Position{axis}"] = [float(origin + i * self.info.pixel_size[axis]) for i in steps]
            plane[f"Position{axis}Unit"] = [unit] * len(steps)
        return {"Plane": plane}


def _signed_rgba(color: str) -> int:
    value = (int(color.lstrip("#")[:6], 16) << 8) | 0xFF
    return value - (1 << 32) if value >= 1 << 31 else value
