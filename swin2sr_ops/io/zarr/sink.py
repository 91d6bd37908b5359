"""Write OME-Zarr 0.5 (Zarr v3) and 0.4 (Zarr v2), with pyramid, pixel sizes and channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from swin2sr_ops.io.base import ImageInfo, Region, check_block
from swin2sr_ops.io.left_out import warn_of_opacity, warn_of_orientation, warn_of_positions
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.io.output.destination import Destination, disk_errors
from swin2sr_ops.io.output.options import FormatOption, reject_options
from swin2sr_ops.io.output.staging import Staging
from swin2sr_ops.io.storage.paths import without_separator
from swin2sr_ops.io.zarr.image_documents import (
    Labels,
    image_layout,
    root_documents,
    stored,
    value_ranges,
    write_beside,
)
from swin2sr_ops.io.zarr.ngff import stored_axes
from swin2sr_ops.io.zarr.sides import SIDE_ARRAYS

__all__ = ["OPTIONS", "ZarrSink", "create_sink"]

#: Options of a request that this format has.
OPTIONS = {
    "ngff": FormatOption("0.5"),
    "pyramid": FormatOption(True, bool),
    "anywhere": FormatOption(False, stored=False),
    "inner": FormatOption(False, stored=False),
}


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
    interval: bool = False,
    not_trusted: bool = False,
    labels: Labels | None = None,
    anywhere: bool = False,
    inner: bool = False,
    run: RunKey | None = None,
    **options: Any,
) -> ZarrSink | None:
    """Start an OME-Zarr image at ``uri``, or return None if ``uri`` does not end with ``.zarr``.

    On a file system it is written to ``<uri>.partial`` first. The same run resumes what it left
    after a kill.

    Parameters
    ----------
    uri : str
        A path that ends with ``.zarr``, whose folder must exist, or a URL that fsspec can write to.
    info : ImageInfo
        Image to write, not its source: see `ImageInfo.scaled`.
    chunks, shards : tuple of int, optional
        One number per axis, in the order of ``info.axes``, or two numbers for Y and X.
        By default chunks are 512 x 512 pixels of one plane (512 KB of uint16: few files, little
        unneeded reading), and there are no shards. Shards, which contain several chunks each, need
        ``ngff="0.5"``.
    ngff : {"0.5", "0.4"}
        Version of the metadata, which also selects Zarr v3 or v2.
    pyramid : bool
        Whether to add levels, each half the size of the previous one, down to 512 pixels.
    overwrite : bool
        Whether to replace what exists at ``uri`` once the new image is finished.
    source : str, optional
        Input, which the output must not overlap.
    context : bool
        Whether to write flags beside the image that mark pixels near nodata.
    spread : bool
        Whether to write an ensemble's standard deviation beside the image, as float32.
    interval : bool
        Whether to write half widths of intervals beside the image, as float32.
    not_trusted : bool
        Whether to write flags beside the image that mark pixels that are not trusted.
    labels : (str, str, int), optional
        Store and path of an image group whose labels are copied, and their scale.
    anywhere : bool
        Whether ``uri`` may have any suffix, as for an image inside a larger archive.
    inner : bool
        Whether that archive is unfinished: the image then keeps its journal, which a resume verifies.
    run : RunKey, optional
        Key of this run; without it the run cannot be resumed.

    Raises
    ------
    OutputError
        If something exists there, the folder is missing, the output overlaps the input, another run is
        writing it, or the disk fails.
    RequestError
        If the axes do not fit NGFF, or the chunks do not fit the image.
    """
    if not (anywhere or without_separator(uri).lower().endswith(".zarr")):
        return None
    reject_options(options, "OME-Zarr")
    beside = {"context": context, "spread": spread, "interval": interval, "not_trusted": not_trusted}
    sides = [name for name, wanted in beside.items() if wanted]
    layout = image_layout(info, chunks=chunks, shards=shards, ngff=ngff, pyramid=pyramid, sides=sides)
    destination = Destination.at(uri, overwrite=overwrite, remote=True, inner=inner)
    destination.check(source)
    warn_of_opacity(info, "OME-Zarr", "write .tif, or ")
    warn_of_orientation(info, "OME-Zarr")
    warn_of_positions(info, "OME-Zarr", per_plane=False)
    staging = Staging.begin(destination, layout, run)
    unit = tuple(layout.unit()[stored_axes(info.axes).index(a)] for a in info.axes)
    return ZarrSink(uri, info, ngff, unit, staging, labels=labels)


@dataclass
class ZarrSink:
    """An OME-Zarr image that is being written; pickles as its settings.

    Blocks have the source's order of axes; the file has NGFF's, with colour samples as channels.
    Compression: Zstandard level 3 with byte shuffle in Blosc, almost as small as deflate and fast to read.
    """

    uri: str
    info: ImageInfo
    version: str
    write_unit: tuple[int, ...]
    staging: Staging
    labels: Labels | None = None

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None:
        self.write(region, block)

    def write(self, region: Region, block: NDArray[Any], **sides: NDArray[Any]) -> None:
        """Write a region, and what the output has beside it, by the names of `SIDE_ARRAYS`."""
        region = check_block(region, block, self.info, self.write_unit)
        order = [self.info.axes.index(a) for a in stored_axes(self.info.axes)]
        beside = {SIDE_ARRAYS[name].path: side.transpose(order) for name, side in sides.items()}
        self.staging.write(stored(self.info, region), block.transpose(order), beside)

    def has(self, region: Region) -> bool:
        """Return True if an earlier run finished ``region``."""
        return self.staging.has(stored(self.info, region))

    def noted(self, region: Region) -> bool:
        """Return True if any process has finished exactly this region by now."""
        return self.staging.noted(stored(self.info, region))

    def finish(self, provenance: dict[str, Any]) -> None:
        """Fill the missing parts of the pyramid, add the metadata, and give the image its final name."""
        staging = self.staging
        for level in range(1, len(staging.layout.shapes)):
            for region in staging.to_fill(level):
                staging.fill(level, region)
        info, layout = self.info, staging.layout
        with disk_errors(staging.files.where):
            write_beside(staging.files, info, layout, self.version, self.labels)
            ranges = value_ranges(info, staging.level(len(layout.shapes) - 1))
            name = staging.destination.name.split(".")[0]
            for key, document in root_documents(info, layout, self.version, name, ranges, provenance):
                staging.files.write(key, document)
        staging.destination.appear()
        staging.release()

    def abort(self) -> None:
        """Remove everything written so far."""
        self.staging.discard()
