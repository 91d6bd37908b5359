"""Define what every format provides: image metadata, sources and sinks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import Region, letters_of

__all__ = [
    "PICTURE_SUFFIXES",
    "RASTER_SUFFIXES",
    "TIFF_SUFFIXES",
    "ClosableSource",
    "ComposedSource",
    "GroupSource",
    "IdentifiedSource",
    "ImageInfo",
    "ImageSink",
    "ImageSource",
    "MaskedSource",
    "OpacitySource",
    "OwnNodataSource",
    "Region",
    "SidesSink",
    "ValidPixels",
    "ValiditySink",
    "check_axes",
    "check_block",
    "check_region",
    "chunk_grid",
    "json_ready",
    "listing",
]

#: Suffixes of TIFF files, including those of microscopes and scanners.
TIFF_SUFFIXES = frozenset(
    {".tif", ".tiff", ".btf", ".tf8", ".tf2", ".svs", ".lsm", ".stk", ".qptiff", ".scn", ".ndpi", ".bif"}
)
#: Suffixes of pictures that Pillow decodes.
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".gif", ".jp2", ".ppm", ".pgm"})
#: Suffixes of rasters that rasterio opens from a URL; local ones are recognized by their content.
RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".jp2", ".j2k", ".vrt", ".img"})
_LISTED = 100  # names in a message
_AFFINE, _SHAPE = "spatial:transform", "spatial:shape"
#: Maps rows and columns of an image to its valid pixels, bool of that size.
ValidPixels = Callable[[slice, slice], NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """Metadata of an n-D image, without its pixels.

    Attributes
    ----------
    shape, axes, dtype
        One letter per dimension, as in NGFF and tifffile: ``T C Z Y X``, and ``S`` for
        colour samples (red, green, blue, alpha) stored together; other leading axes keep their
        letter. Y and X always exist.
    chunks : tuple of int
        Shape of a block that is decoded at once, one number per axis.
    pixel_size, origin, units : dict
        Per axis letter, if known: distance between pixel centres, coordinate of the *centre*
        of the first pixel (as in NGFF, OME-TIFF and napari), unit name (``"micrometer"``).
    channels : tuple of dict
        Known facts per channel, as in NGFF's ``omero``: ``label``, ``color``,
        ``window`` (``start end min max``), ``active``, and others as they are.
    nodata : float or None
        Value that marks invalid pixels.
    name, format : str
        The image's own name, and its format for people ("OME-Zarr 0.5", "ImageJ TIFF").
    levels : int
        Resolution levels in the file, including the full one.
    extra : dict
        Other metadata to copy, JSON-ready.
    """

    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    pixel_size: dict[str, float] = field(default_factory=dict)
    origin: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    channels: tuple[dict[str, Any], ...] = ()
    nodata: float | None = None
    name: str = ""
    format: str = ""
    levels: int = 1
    extra: dict[str, Any] = field(default_factory=dict)

    def size(self, axis: str) -> int:
        """Return the length along ``axis``; 1 if there is no such axis."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def nbytes(self) -> int:
        """Uncompressed size of the pixels in bytes."""
        return math.prod(map(int, self.shape)) * self.dtype.itemsize  # NumPy's product would overflow

    def scaled(self, scale: int) -> ImageInfo:
        """Describe the same region with ``scale`` times finer pixels along Y and X (law 4).

        Pixel size p becomes p / s. The centre of the first pixel moves by -p/2 (1 - 1/s), so that
        the corner of the image does not move.
        """
        shape = tuple(n * scale if a in "YX" else n for n, a in zip(self.shape, self.axes, strict=True))
        size, origin = dict(self.pixel_size), dict(self.origin)
        for axis in "YX":
            p = self.pixel_size.get(axis, 1.0)
            size[axis] = p / scale
            origin[axis] = self.origin.get(axis, 0.0) - p / 2 * (1 - 1 / scale)
        return replace(self, shape=shape, pixel_size=size, origin=origin, levels=1, extra=_scaled(self.extra, scale))


def _scaled(extra: dict[str, Any], scale: int) -> dict[str, Any]:
    """Adapt georeferences in ``extra`` to the new pixels."""
    found = dict(extra)
    if "geo" in extra:
        from swin2sr_ops.io.geo.metadata import scaled

        found["geo"] = scaled(extra["geo"], scale)
    attributes = extra.get("attributes") or {}
    if _AFFINE in attributes:
        found["attributes"] = attributes | _finer(attributes, scale)
    return found


def _finer(attributes: dict[str, Any], scale: int) -> dict[str, Any]:
    """Scale the attributes of the Zarr convention ``spatial:`` that depend on the pixel size."""
    steps = [0, 1, 3, 4]  # a, b, d, e of a b c d e f; c and f are a corner
    try:
        affine = [value / scale if i in steps else value for i, value in enumerate(attributes[_AFFINE])]
        shape = [n * scale for n in attributes.get(_SHAPE, ())]
    except TypeError:  # not numbers, so no program can read them
        return {}
    return {_AFFINE: affine} | ({_SHAPE: shape} if shape else {})


@runtime_checkable
class ImageSource(Protocol):
    """An image that can be read by regions; it is sent to workers as a path and a key."""

    uri: str

    @property
    def info(self) -> ImageInfo: ...

    def read(self, region: Region) -> NDArray[Any]:
        """Decode ``region`` (one slice with start and stop per axis, step 1) in storage dtype."""
        ...


# Optional abilities of a source beside `ImageSource`; the core tests for them with isinstance.


@runtime_checkable
class MaskedSource(Protocol):
    """A source with masks of its own."""

    def valid_mask(self, region: Region) -> NDArray[np.bool_] | None:
        """Find the valid pixels of ``region``, two slices for rows and columns.

        Returns bool ``(rows, columns)`` for all bands, ``(bands, rows, columns)`` for the bands of the entire
        image's channel or colour axis, or None if the image has no mask.
        """
        ...


@runtime_checkable
class OpacitySource(Protocol):
    """A source with an opacity band."""

    def shown(self, region: Region) -> NDArray[np.bool_] | None:
        """Find the pixels that the opacity band does not hide; format as in `MaskedSource.valid_mask`."""
        ...


@runtime_checkable
class OwnNodataSource(Protocol):
    """A source whose pixels depend on what its file calls nodata."""

    def with_nodata(self, value: float) -> ImageSource:
        """Return the source of the stored values with ``value`` as the only nodata value, in every band."""
        ...


@runtime_checkable
class IdentifiedSource(Protocol):
    """A source that can identify its image."""

    def identity(self) -> dict[str, Any]:
        """Return sizes, modification times and small documents, JSON-ready; never the location."""
        ...


@runtime_checkable
class ComposedSource(Protocol):
    """A source that can be made of several files: a VRT, a set of TIFFs, the chunks of a Zarr."""

    def files(self) -> Iterable[str]:
        """Return the paths of all files of this file system that the image consists of, in a fixed order."""
        ...


@runtime_checkable
class GroupSource(Protocol):
    """A source in a group that may hold more than the image: labels, tables, other groups."""

    @property
    def group_address(self) -> tuple[str, str]:
        """Address of the store, and path of the image's group in it."""
        ...

    def beside(self) -> tuple[str, ...]:
        """List the names in the group that do not belong to the image."""
        ...


@runtime_checkable
class ClosableSource(Protocol):
    """A source that holds files open, or decoded pixels in memory."""

    def close(self) -> None:
        """Close the files and drop the pixels; a later read opens the files again."""
        ...


@runtime_checkable
class ImageSink(Protocol):
    """Output of restored blocks: created once by the client, filled by any process.

    ``write_unit`` is, per axis, the region that one writer must write as a whole (a chunk, or a shard): regions
    start at its multiples and end there or at the image's end. Until `finish`, nothing at the
    destination looks finished. It travels to other processes by pickle, and several of them may write.

    A sink whose killed run can be resumed is also a `swin2sr_ops.io.output.staging.ResumableSink`.
    """

    uri: str
    info: ImageInfo
    write_unit: tuple[int, ...]

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None: ...

    def finish(self, provenance: dict[str, Any]) -> None:
        """Write what depends on all pixels (pyramid, metadata) and make the output appear."""
        ...

    def abort(self) -> None:
        """Remove everything written so far."""
        ...


@runtime_checkable
class SidesSink(Protocol):
    """A sink that stores further values beside each block: ``context`` flags, the ``spread`` of an ensemble."""

    def write(self, region: Region, block: NDArray[Any], **sides: NDArray[Any]) -> None:
        """Write a block as ``sink[region] = block`` does, and the arrays of its region beside it."""
        ...


@runtime_checkable
class ValiditySink(Protocol):
    """A sink that stores which pixels of the output are valid.

    The run sets ``valid`` before the first block, if the input or the request has a mask.
    """

    valid: ValidPixels | None


def check_axes(axes: str, ndim: int) -> str:
    """Convert ``axes`` to capitals and validate that they can name ``ndim`` dimensions of an image.

    Raises
    ------
    RequestError
        If the number of letters differs, a letter is repeated or no letter, or Y or X is missing.
    """
    axes = letters_of(axes)
    if len(axes) != ndim:
        raise RequestError(f"axes={axes!r} names {len(axes)} dimensions, but the array has {ndim}.")
    if not axes.isalpha() or len(set(axes)) != ndim or not {"Y", "X"} <= set(axes):
        raise RequestError(f"axes={axes!r} must be different letters, Y and X among them, such as 'TCZYX' or 'YXS'.")
    return axes


def check_region(region: Region, shape: tuple[int, ...]) -> Region:
    """Fill in every start and stop of ``region``, and check that it lies inside ``shape``.

    Raises
    ------
    RequestError
        If the number of axes differs, there is a step, or bounds lie outside the image. NumPy would crop such
        bounds silently, and a tile would be written to the wrong place.
    """
    if len(region) != len(shape):
        raise RequestError(f"The region {region} has {len(region)} axes, but the image has {len(shape)}: {shape}.")
    filled = []
    for part, n in zip(region, shape, strict=True):
        start, stop = 0 if part.start is None else part.start, n if part.stop is None else part.stop
        if part.step not in (None, 1) or not 0 <= start <= stop <= n:
            raise RequestError(f"The region {region} does not lie inside the image of shape {shape}, or has steps.")
        filled.append(slice(int(start), int(stop)))
    return tuple(filled)


def chunk_grid(info: ImageInfo, chunks: tuple[int, ...] | None, side: int = 512) -> tuple[int, ...]:
    """Return chunk lengths per axis, at most the image's size.

    Parameters
    ----------
    info : ImageInfo
    chunks : tuple of int, optional
        One number per axis, or two for Y and X; other axes are then cut into single planes.
    side : int
        Default length along Y and X.

    Raises
    ------
    RequestError
        If the number of values differs, or one is below 1.
    """
    if chunks is None:
        chunks = (side, side)
    if len(chunks) == 2 and info.axes != "XY":
        chunks = tuple(chunks["YX".index(a)] if a in "YX" else 1 for a in info.axes)
    if len(chunks) != len(info.shape) or min(chunks) < 1:
        raise RequestError(
            f"chunks={chunks} does not fit the axes {info.axes!r}: give a positive number per axis, or two for Y and X."
        )
    return tuple(min(c, n) for c, n in zip(chunks, info.shape, strict=True))


def listing(names: Mapping[int, str]) -> str:
    """Return numbered names for a message: ``0 is sst, 1 is ice``.

    Examples
    --------
    >>> listing({0: "sst", 1: "ice", 2: ""})
    '0 is sst, 1 is ice, 2'
    """
    shown = [f"{number} is {name}" if name else str(number) for number, name in list(names.items())[:_LISTED]]
    return ", ".join(shown) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def json_ready(value: Any) -> Any:
    """Convert ``value`` to strict JSON: NaN and infinity, which it lacks, become their names."""
    if isinstance(value, dict):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def check_block(region: Region, block: NDArray[Any], info: ImageInfo, unit: tuple[int, ...]) -> Region:
    """Check that one of several writers may write ``block`` to ``region``; return the region filled in.

    Raises
    ------
    RequestError
        If the block has another shape or dtype, or the region starts or ends inside a write unit:
        two writers of one chunk would lose each other's pixels (law 2).
    """
    region = check_region(region, info.shape)
    shape = tuple(part.stop - part.start for part in region)
    if block.shape != shape or block.dtype != info.dtype:
        raise RequestError(
            f"A block of shape {block.shape} and dtype {block.dtype} was given for a region of shape {shape}"
            f" in an image of dtype {info.dtype}."
        )
    for part, size, step, axis in zip(region, info.shape, unit, info.axes, strict=True):
        if part.start % step or (part.stop % step and part.stop != size):
            raise RequestError(
                f"The region {part.start}:{part.stop} along {axis} cuts a chunk: it must start at a multiple of"
                f" {step} and end at one, or at the image's end ({size})."
            )
    return region
