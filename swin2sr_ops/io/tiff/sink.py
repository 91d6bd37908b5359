"""Write OME-TIFF: tiled, compressed, BigTIFF if needed, with pyramid, pixel sizes and channels."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import ImageInfo, chunk_grid, json_ready
from swin2sr_ops.io.left_out import warn_of_opacity, warn_of_positions
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.io.output.destination import Destination
from swin2sr_ops.io.output.options import FormatOption, reject_options
from swin2sr_ops.io.output.pyramid import regions
from swin2sr_ops.io.output.staged_file import StagedFile
from swin2sr_ops.io.output.staging import Layout, Staging
from swin2sr_ops.io.tiff.ome import OME_DTYPES, ome_xml
from swin2sr_ops.io.tiff.tags import GDAL_NODATA, ORIENTATION

__all__ = ["OPTIONS", "TiffSink", "create_sink"]

#: Options of a request that this format has.
OPTIONS = {"pyramid": FormatOption(True, bool)}
_TILE = 512  # as large as the chunks of the staging array, so that each is decoded once
_PANEL = 16 * _TILE  # width of tiles that are read at once, so that wide chunks are decoded once per row
_CLASSIC = 3 << 30  # above this size a classic TIFF's 32-bit offsets might overflow
_BUFFER = 16 << 20  # bytes of tiles that may wait for compression, and of results that wait for the disk
_LEVEL = 1  # of deflate: two to four times as fast as the usual 6, and 0 to 6 % larger
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d:\d\d:\d\d)")
_CENTIMETERS = {"meter": 100.0, "millimeter": 0.1, "micrometer": 1e-4, "nanometer": 1e-7, "angstrom": 1e-8}


def create_sink(
    uri: str,
    info: ImageInfo,
    *,
    chunks: tuple[int, ...] | None = None,
    pyramid: bool = True,
    overwrite: bool = False,
    source: str | None = None,
    run: RunKey | None = None,
    **options: Any,
) -> TiffSink | None:
    """Start a TIFF at ``uri``, or return None if ``uri`` does not end with ``.tif`` or ``.tiff``.

    Blocks are staged as Zarr arrays in ``<uri>.partial``, from which a killed run is resumed;
    `TiffSink.finish` streams them into the file. Until then both take disk space.

    Parameters
    ----------
    uri : str
        A path that ends with ``.tif`` or ``.tiff``; its folder must exist. OME-XML is written for every
        pixel type that OME knows; ``.ome.tif`` requires it.
    info : ImageInfo
        Image to write, not its source: see `ImageInfo.scaled`.
    chunks : tuple of int, optional
        Region that one writer writes as a whole, per axis in the order of ``info.axes``, or along Y and X;
        by default 512 x 512 pixels of one plane. The file's tiles do not depend on it.
    pyramid : bool
        Whether `TiffSink.finish` adds levels (SubIFDs), each half the size of the previous one, down to
        512 pixels; only with OME-XML.
    overwrite : bool
        Whether to replace what exists at ``uri`` once the new image is finished.
    source : str, optional
        Input, which the output must not overlap.
    run : RunKey, optional
        Key of this run; without it the run cannot be resumed.

    Raises
    ------
    OutputError
        If something exists there, the folder is missing, the output overlaps the input, another run is
        writing it, or the disk fails.
    RequestError
        If TIFF cannot store such an image, or an option is not for TIFF.
    """
    if not uri.lower().endswith((".tif", ".tiff")):
        return None
    reject_options(options, "TIFF")
    if "geo" in info.extra:
        raise RequestError(
            f"{uri!r} would lose the image's georeference, which OME-TIFF cannot store: write .tif (GeoTIFF) or .zarr."
        )
    _check_fits(uri, info)
    unit = chunk_grid(info, chunks, _TILE)
    destination = Destination.at(uri, overwrite=overwrite)
    destination.check(source)
    # Without OME-XML, tifffile cannot distinguish levels from planes when it reads the file.
    levels = pyramid and _ome_knows(info)
    if "S" not in info.axes:
        warn_of_opacity(info, "a TIFF of separate channels")
    warn_of_positions(info, "a TIFF without OME-XML", per_plane=_ome_knows(info))
    # The staging arrays are read once and deleted: prefer speed to size.
    layout = Layout(info.axes, info.shape, info.dtype, unit, pyramid=levels, nodata=info.nodata, codec="lz4")
    return TiffSink(uri, info, unit, Staging.begin(destination, layout, run))


def _check_fits(uri: str, info: ImageInfo) -> None:
    odd = [a for a in info.axes if a not in "TCZYXS"]
    if odd:
        raise RequestError(
            f"The axes {info.axes!r} do not fit TIFF, which has T, C, Z, Y, X and S but no {odd[0]}: rename it to one"
            " of these with axes=, or write .ome.zarr."
        )
    if uri.lower().endswith((".ome.tif", ".ome.tiff")) and not _ome_knows(info):
        raise RequestError(f"OME-TIFF cannot store {info.dtype}: write a plain .tif, or .zarr.")


def _ome_knows(info: ImageInfo) -> bool:
    return info.dtype.name in OME_DTYPES


@dataclass
class TiffSink(StagedFile):
    """A TIFF that is being written.

    In the file colour samples come last and other axes first. It has tiles of 512 x 512 pixels and deflate,
    for integers with horizontal differences, which every TIFF reader supports.
    """

    def _encode(self, finished: Path, provenance: dict[str, Any]) -> None:
        import tifffile

        shapes = self.staging.layout.shapes
        size = sum(prod(shape) for shape in shapes) * self.info.dtype.itemsize
        with tifffile.TiffWriter(finished, bigtiff=size > _CLASSIC, ome=False) as tiff:
            for level in range(len(shapes)):
                self._write_level(tiff, level, len(shapes) - 1, provenance)

    @property
    def _axes(self) -> str:
        """Axes in the order of the file."""
        return "".join(a for a in self.info.axes if a not in "YXS") + ("YXS" if "S" in self.info.axes else "YX")

    def _write_level(self, tiff: Any, level: int, sublevels: int, provenance: dict[str, Any]) -> None:
        array = self.staging.level(level)
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
            extrasamples=[self._opacity] if colours in (2, 4) else None,
            compression="adobe_deflate" if self.info.dtype != bool else None,
            compressionargs={"level": _LEVEL} if self.info.dtype != bool else None,
            predictor=True if integers and self.info.dtype.itemsize <= 4 else None,
            subifds=sublevels if first else None,
            subfiletype=0 if first else 1,
            maxworkers=_threads(),
            buffersize=_BUFFER,
            resolution=self._resolution(level),
            resolutionunit="CENTIMETER" if self._resolution(level) else None,
            extratags=(*self._orientation_tag(), *(self._nodata_tag() if first else ())),
            **(self._described(provenance) if first else {"metadata": None, "software": False}),
        )

    @property
    def _opacity(self) -> str:
        return "assocalpha" if self.info.extra.get("alpha") == "premultiplied" else "unassalpha"

    def _tiles(self, array: Any, tile: tuple[int, ...]) -> Iterator[NDArray[Any]]:
        """Iterate over the file's tiles in its order: plane by plane, row by row; tifffile pads them."""
        axes = self._axes
        order = [axes.index(a) for a in self.info.axes]  # from the file's axes to the image's
        back = [self.info.axes.index(a) for a in axes]
        shape = tuple(array.shape[i] for i in back)
        unit = tuple(
            dict(zip("YX", tile, strict=True)).get(a, n if a == "S" else 1) for a, n in zip(axes, shape, strict=True)
        )
        inner = 3 if "S" in axes else 2
        x = axes.index("X")
        wide = tuple(_PANEL if i == x else u for i, u in enumerate(unit))
        for region in regions(shape, wide):
            block = np.asarray(array[tuple(region[i] for i in order)]).transpose(back)
            panel: NDArray[Any] = block.reshape(block.shape[-inner:])
            for left in range(0, panel.shape[1], unit[x]):
                yield panel[:, left : left + unit[x]]

    def _resolution(self, level: int) -> tuple[float, float] | None:
        """Return pixels per centimetre along X and Y, for readers that only use the tags."""
        scales = [_CENTIMETERS.get(self.info.units.get(a, ""), 0.0) * self.info.pixel_size.get(a, 0.0) for a in "XY"]
        return None if min(scales) <= 0 else (1 / scales[0] / 2**level, 1 / scales[1] / 2**level)

    def _orientation_tag(self) -> tuple[tuple[int, str, int, int, bool], ...]:
        orientation = self.info.extra.get("orientation")
        return ((ORIENTATION, "H", 1, orientation, False),) if orientation else ()

    def _nodata_tag(self) -> tuple[tuple[int, str, int, str, bool], ...]:
        if self.info.nodata is None:
            return ()
        return ((GDAL_NODATA, "s", 0, _nodata_text(self.info.nodata), True),)

    def _described(self, provenance: dict[str, Any]) -> dict[str, Any]:
        """Describe the first page with OME-XML, or with tifffile's own JSON if OME does not know the pixel type."""
        if _ome_knows(self.info):
            name = self.info.name or self.staging.destination.name
            big = sys.byteorder == "big"
            xml = ome_xml(self.info, self._axes, name=name, big_endian=big, provenance=provenance)
            return {"description": xml, "metadata": None, "software": "swin2sr_ops"}
        place = {key: getattr(self.info, key) for key in ("pixel_size", "origin", "units")}
        own = json.dumps(json_ready(provenance))
        carried = self.info.extra.get("ome", {})
        text = carried.get("Description", "").encode() or None
        date = _DATE.match(carried.get("AcquisitionDate", ""))
        return {
            "description": text,
            "datetime": date and "{}:{}:{} {}".format(*date.groups()),
            "metadata": {"axes": self._axes, "swin2sr_ops": own, **place},
        }


def _threads() -> int:
    """Return the number of threads for compression: all cores, since no network runs any more."""
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(known, 16)


def _nodata_text(value: float) -> str:
    """Format a nodata value like GDAL."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
