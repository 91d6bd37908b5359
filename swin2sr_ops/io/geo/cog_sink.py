"""Write a Cloud Optimized GeoTIFF, the output format of georeferenced rasters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import OutputError, RequestError
from swin2sr_ops.io.base import ImageInfo, Region, ValidPixels, chunk_grid
from swin2sr_ops.io.geo.creation import Creation, canonical, creation_of
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.io.output.destination import Destination
from swin2sr_ops.io.output.options import FormatOption, reject_options
from swin2sr_ops.io.output.staged_file import StagedFile
from swin2sr_ops.io.output.staging import Layout, Staging

__all__ = ["OPTIONS", "CogSink", "create_sink"]

#: Options of a request that this format has.
OPTIONS = {"pyramid": FormatOption(True, bool), "creation": FormatOption({}, canonical)}
_SIDE = 512
_MASK_PIXELS = 1 << 24  # of the full-size mask, read at a time


def create_sink(
    uri: str,
    info: ImageInfo,
    *,
    chunks: tuple[int, ...] | None = None,
    pyramid: bool = True,
    overwrite: bool = False,
    source: str | None = None,
    run: RunKey | None = None,
    creation: Any = (),
    **options: Any,
) -> CogSink | None:
    """Start a COG at ``uri``, or return None if ``uri`` is no ``.tif`` or the image has no georeference.

    Blocks are staged as Zarr arrays in ``<uri>.partial``, from which a killed run is resumed;
    `CogSink.finish` streams them into the file in one pass.

    Parameters
    ----------
    uri : str
        A path that ends with ``.tif`` or ``.tiff``, but not with ``.ome.tif``; its folder must exist.
    info : ImageInfo
        Image to write, with ``extra["geo"]`` as described in `swin2sr_ops.io.geo.metadata`.
    chunks, pyramid, overwrite, source, run
        As in every format; the file's tiles do not depend on ``chunks``.
    creation : mapping or sequence of str
        Creation options; see `swin2sr_ops.io.geo.creation`.

    Raises
    ------
    OutputError
        If something exists there, the folder is missing, the output overlaps the input, another run is
        writing it, rasterio is not installed, or the disk fails.
    RequestError
        If the axes are not those of a raster, or an option is not for COG.
    """
    name = uri.lower()
    if not name.endswith((".tif", ".tiff")) or name.endswith((".ome.tif", ".ome.tiff")) or "geo" not in info.extra:
        return None
    reject_options(options, "GeoTIFF")
    stored = creation_of(creation)
    if info.axes not in ("YX", "CYX", "YXS"):
        raise RequestError(f"A GeoTIFF has bands, Y and X, not the axes {info.axes!r}: write .ome.tif or .zarr.")
    try:
        import rasterio  # noqa: F401  # a missing package must be found before the run, not at its end
    except ImportError as exc:
        raise OutputError(
            f"{uri!r} would be a GeoTIFF, which needs rasterio: install swin2sr-ops[geo], or write .ome.tif or .zarr."
        ) from exc
    destination = Destination.at(uri, overwrite=overwrite)
    destination.check(source)
    unit = chunk_grid(info, chunks, _SIDE)
    layout = Layout(info.axes, info.shape, info.dtype, unit, pyramid=pyramid, nodata=info.nodata, codec="lz4")
    return CogSink(uri, info, unit, Staging.begin(destination, layout, run), creation=stored)


@dataclass
class CogSink(StagedFile):
    """A Cloud Optimized GeoTIFF that is being written.

    Attributes
    ----------
    valid : ValidPixels, optional
        Valid pixels, besides nodata: they become the file's mask band.
    creation : Creation
        Compression and side of the tiles.
    """

    valid: ValidPixels | None = None
    creation: Creation = field(default_factory=Creation)

    def _encode(self, finished: Path, provenance: dict[str, Any]) -> None:
        from swin2sr_ops.io.geo.cog import write_cog

        write_cog(
            finished,
            [self.staging.level(k) for k in range(len(self.staging.layout.shapes))],
            axes=self.info.axes,
            dtype=self.info.dtype,
            geo=self.info.extra["geo"],
            nodata=self.info.nodata,
            provenance=provenance,
            creation=self.creation,
            mask_levels=self._masks(),
        )

    def _masks(self) -> list[_MaskLevel] | None:
        if self.valid is None:
            return None
        return [_MaskLevel(self.valid, self._plane(k), k) for k in range(len(self.staging.layout.shapes))]

    def _plane(self, level: int) -> tuple[int, int]:
        shape = dict(zip(self.info.axes, self.staging.layout.shapes[level], strict=True))
        return shape["Y"], shape["X"]


@dataclass(frozen=True)
class _MaskLevel:
    """Mask of one level, computed when it is read: a pixel takes the value of the first one that it covers."""

    valid: ValidPixels
    shape: tuple[int, int]
    level: int

    def __getitem__(self, region: Region) -> NDArray[np.bool_]:
        step = 2**self.level
        rows, columns = region
        across = slice(columns.start * step, (columns.stop - 1) * step + 1)
        few = max(_MASK_PIXELS // (step * (across.stop - across.start)), 1)
        strips = [(top, min(top + few, rows.stop)) for top in range(rows.start, rows.stop, few)]
        read = [self.valid(slice(top * step, (end - 1) * step + 1), across)[::step, ::step] for top, end in strips]
        return np.concatenate(read)
