"""Read TIFF of every kind that tifffile knows, region by region: OME, ImageJ, BigTIFF, pyramids."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.base import ImageInfo, Region, absolute_uri, check_axes, check_region, existing_path
from swin2sr_ops.io.tiff_damage import check_whole
from swin2sr_ops.io.tiff_metadata import channels_of, nodata_of, place_of

__all__ = ["RawPlanes", "TiffSource", "open_source"]

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUFFIXES = {".tif", ".tiff", ".btf", ".tf8", ".tf2", ".svs", ".lsm", ".qptiff", ".scn"}
_MAX_NDIM = 5
# What tifffile and the codecs raise for a damaged file, besides tifffile's own error; SyntaxError is for XML.
_DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, EOFError, ArithmeticError, RuntimeError,
    ImportError, AssertionError, SyntaxError, struct.error, zlib.error,
)  # fmt: skip
_TRAVELLING_PLANES = 64
_RAW_CHUNK = 512  # raw pixels have no chunks: what is handy to read, for those who plan by them

# PhotometricInterpretation
_MINISWHITE, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 2, 3, 5, 6
_COLOUR_SPACES = {8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32844: "LogL", 32845: "LogLuv"}
_MOSAIC = 32803
_YCBCR_CODECS = {7, 33007, 34892, 33003, 33004, 33005, 34712, 50001}  # these decode to RGB by themselves


@dataclass(frozen=True)
class RawPlanes:
    """Pixels that lie in the file as they are in memory, but for byte order: read without decoding.

    Attributes
    ----------
    files, offsets
        Per plane, the file and the first byte.
    shape : tuple of int
        Of one plane; the image's leading axes count the planes.
    dtype : str
        With byte order.
    """

    files: tuple[str, ...]
    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str

    def read(self, region: Region, image_shape: tuple[int, ...]) -> NDArray[Any]:
        """Copy ``region`` of an image of ``image_shape`` out of the file.

        The map lives only as long as the copy takes: kept, its pages would count as memory in use.
        """
        leading = len(image_shape) - len(self.shape)
        counts, inner = image_shape[:leading], region[leading:]
        out = np.empty([r.stop - r.start for r in region], np.dtype(self.dtype).newbyteorder("="))
        for where in product(*(range(r.start, r.stop) for r in region[:leading])):
            plane = int(np.ravel_multi_index(where, counts)) if where else 0
            pixels = np.memmap(self.files[plane], self.dtype, "r", self.offsets[plane], self.shape)
            out[tuple(i - r.start for i, r in zip(where, region[:leading], strict=True))] = pixels[inner]
        return out


@dataclass
class TiffSource:
    """One series of a TIFF at one level; pickles as its address, and opens again where it lands."""

    uri: str
    series: int
    level: int
    info: ImageInfo
    _raw: RawPlanes | None = field(default=None, repr=False)
    _array: Any = field(default=None, repr=False, compare=False)
    _opened_by: int = field(default=0, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        # A long list of offsets is found again in less time than a task graph full of copies costs.
        raw = self._raw if self._raw is not None and len(self._raw.offsets) <= _TRAVELLING_PLANES else None
        return {**self.__dict__, "uri": absolute_uri(self.uri), "_array": None, "_raw": raw}

    def read(self, region: Region) -> NDArray[Any]:
        """Decode the strips or tiles that ``region`` touches, in native byte order."""
        region = check_region(region, self.info.shape)
        with _naming(self.uri):
            # A forked worker shares its parent's file position: it must open the file for itself.
            if self._raw is None and (self._array is None or self._opened_by != os.getpid()):
                self._connect()
            if self._raw is not None:
                return self._raw.read(region, self.info.shape)
            return np.ascontiguousarray(self._array[region], dtype=self.info.dtype)

    def _connect(self) -> None:
        import tifffile
        import zarr

        tiff = tifffile.TiffFile(_path(self.uri))
        series = tiff.series[self.series]
        check_whole(self.uri, tiff, series.levels[self.level])
        self._raw = _raw_planes(series.levels[self.level], self.info.shape)
        if self._raw is not None:
            tiff.close()
            return
        self._array = zarr.open_array(series.aszarr(level=self.level), mode="r")
        self._opened_by = os.getpid()


def open_source(
    uri: str, *, axes: str | None = None, level: int = 0, series: int = 0, array: str | None = None
) -> TiffSource | None:
    """Open the TIFF at ``uri``, or return None where ``uri`` is none.

    Parameters
    ----------
    uri : str
        A file.
    axes : str, optional
        One letter per dimension, where the file's own are wrong.
    level : int
        Resolution level of a pyramid, 0 the finest.
    series : int
        Which image, where there are several; the first unless given.
    array : str, optional
        Not for TIFF.

    Raises
    ------
    FormatError
        Nothing is there, it is truncated or damaged, or its colours cannot be restored as they
        are stored (palette, CMYK, L*a*b*).
    RequestError
        An option does not fit what is there.
    """
    path = existing_path(uri)
    if path is None or path.is_dir():
        return None
    with path.open("rb") as file:
        start = file.read(4)
    if start not in _MAGIC:
        if path.suffix.lower() not in _SUFFIXES:
            return None
        raise FormatError(f"{uri!r} is called {path.suffix}, but is no TIFF: it starts with {start!r}.")
    if array is not None:
        raise RequestError(f"array={array!r} was given, but a TIFF has none: choose an image with series=.")
    import tifffile

    with _naming(uri), tifffile.TiffFile(path) as tiff:
        return _open(uri, tiff, axes, level, series)


def _path(uri: str) -> Path:
    path = existing_path(uri)
    if path is None:
        raise FormatError(f"{uri!r} is not on this file system: copy the TIFF here first.")
    return path


@contextmanager
def _naming(uri: str) -> Iterator[None]:
    """Turn what tifffile and the codecs raise for a damaged file into one sentence."""
    from tifffile import TiffFileError

    try:
        yield
    except RequestError:  # a ValueError too, but ours
        raise
    except (TiffFileError, *_DAMAGE) as exc:
        reason = f"{type(exc).__name__}: {exc}".strip().rstrip(".:")
        raise FormatError(
            f"{uri!r} cannot be read ({reason}): it is truncated or damaged, or of a kind that tifffile does not read."
        ) from exc


def _open(uri: str, tiff: Any, axes: str | None, level: int, series: int) -> TiffSource:
    count = len(tiff.series)
    if not 0 <= series < count:
        raise RequestError(f"series={series} was asked for, but {uri!r} has {count}, numbered from 0.")
    levels = tiff.series[series].levels
    if not 0 <= level < len(levels):
        raise RequestError(f"level={level} was asked for, but {uri!r} has the levels 0 to {len(levels) - 1}.")
    chosen, page = levels[level], levels[level].keyframe
    _check_colours(uri, tiff, page)
    check_whole(uri, tiff, chosen)
    shape = tuple(int(n) for n in chosen.shape)
    if chosen.dtype is None or len(shape) > _MAX_NDIM or len(shape) < 2 or 0 in shape:
        raise FormatError(
            f"{uri!r} has the shape {shape} and dtype {chosen.dtype}: an image has 2 to {_MAX_NDIM} axes."
        )
    letters = _letters(chosen.axes, shape, page) if axes is None else check_axes(axes, len(shape))
    raw = _raw_planes(chosen, shape)
    info = ImageInfo(
        shape=shape,
        axes=letters,
        dtype=np.dtype(chosen.dtype).newbyteorder("="),
        chunks=_chunks(letters, shape, None if raw else page.chunks),
        channels=channels_of(tiff, series, shape[letters.index("C")] if "C" in letters else 1),
        nodata=nodata_of(page),
        name=Path(uri).name.rsplit(".", 1)[0].removesuffix(".ome"),
        format=_format(tiff),
        levels=len(levels),
        extra=_extra(page),
    )
    return TiffSource(uri, series, level, _placed(info, tiff, levels, level, series), raw)


def _placed(info: ImageInfo, tiff: Any, levels: Sequence[Any], level: int, series: int) -> ImageInfo:
    """``info`` with what the file says about its axes' places."""
    place = place_of(tiff, levels[0].keyframe, series)
    if level:
        fine, coarse = (dict(zip(levels[k].axes, levels[k].shape, strict=True)) for k in (0, level))
        place = place.at_level(fine, coarse)
    return replace(
        info,
        pixel_size={a: v for a, v in place.pixel_size.items() if a in info.axes},
        origin={a: v for a, v in place.origin.items() if a in info.axes},
        units={a: v for a, v in place.units.items() if a in info.axes},
    )


def _extra(page: Any) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if page.photometric == _MINISWHITE:
        extra["photometric"] = "miniswhite"
    bits = page.bitspersample
    if page.dtype is not None and page.dtype.kind == "u" and isinstance(bits, int) and bits < 8 * page.dtype.itemsize:
        extra["bits_per_sample"] = bits  # a 12-bit camera's values end at 4095
    return extra


def _format(tiff: Any) -> str:
    kind = "OME-TIFF" if tiff.is_ome else "ImageJ TIFF" if tiff.is_imagej else "GeoTIFF" if tiff.is_geotiff else "TIFF"
    return f"{kind} (BigTIFF)" if tiff.is_bigtiff else kind


def _check_colours(uri: str, tiff: Any, page: Any) -> None:
    """Refuse stored numbers that are no brightnesses: a mean of two of them means nothing."""
    kind = page.photometric
    if kind == _PALETTE and not (tiff.is_imagej or tiff.is_ome):  # there it is a display table only
        raise FormatError(f"{uri!r} stores palette indices, not colours: convert it to RGB first.")
    if kind == _SEPARATED:
        raise FormatError(f"{uri!r} stores printing inks (CMYK): convert it to RGB first.")
    if kind == _MOSAIC:
        raise FormatError(f"{uri!r} is a raw sensor mosaic: develop it to RGB first.")
    if kind in _COLOUR_SPACES:
        raise FormatError(f"{uri!r} stores {_COLOUR_SPACES[kind]} colours: convert it to RGB first.")
    if kind == _YCBCR and page.compression not in _YCBCR_CODECS:
        raise FormatError(f"{uri!r} stores YCbCr colours without JPEG: convert it to RGB first.")


def _letters(given: str, shape: Sequence[int], page: Any) -> str:
    """Axis letters as `ImageInfo` wants them.

    S is for colours only: samples of satellite bands or of gray with transparency are channels.
    tifffile's letters for "some sequence" and rarer ones become T, Z or C, whichever is free.
    """
    letters = list(given)
    if "S" in letters:
        colours = page.photometric in (_RGB, _YCBCR) and shape[letters.index("S")] in (3, 4)
        if not colours and "C" not in letters:
            letters[letters.index("S")] = "C"
    for i, letter in enumerate(letters):
        if letter not in "TZCYXS":
            free = [a for a in "TZC" if a not in letters]
            letters[i] = free[0] if free else letter
    return "".join(letters)


def _raw_planes(series: Any, shape: tuple[int, ...]) -> RawPlanes | None:
    """The series as raw pixels, where it is stored so."""
    page = series.keyframe
    if not page.is_final or not page.parent.filehandle.is_file:
        return None
    dtype = np.dtype(series.dtype).newbyteorder(page.parent.byteorder)
    first = page.parent.filehandle.path
    if series.dataoffset:
        return RawPlanes((first,), (series.dataoffset,), shape, dtype.str)
    plane = tuple(n for n in page.shape)
    leading = len(shape) - len(plane)
    if leading < 0 or shape[leading:] != plane or prod(shape[:leading]) != len(series.pages):
        return None
    pages = list(series.pages)
    if not all(p.is_final and len(p.dataoffsets) and p.dataoffsets[0] for p in pages):  # 0: never written
        return None
    files = tuple(p.parent.filehandle.path for p in pages)
    return RawPlanes(files, tuple(int(p.dataoffsets[0]) for p in pages), plane, dtype.str)


def _chunks(axes: str, shape: tuple[int, ...], decoded: tuple[int, ...] | None) -> tuple[int, ...]:
    if decoded is None:
        chunks = tuple(_RAW_CHUNK if a in "YX" else n if a == "S" else 1 for a, n in zip(axes, shape, strict=True))
    else:
        chunks = (1,) * (len(shape) - len(decoded)) + tuple(decoded)[-len(shape) :]
    return tuple(min(c, n) for c, n in zip(chunks, shape, strict=True))
