"""Read every kind of TIFF that tifffile supports by regions: OME, ImageJ, BigTIFF, pyramids."""

from __future__ import annotations

import os
import struct
import warnings
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.geometry.axes import MAX_NDIM
from swin2sr_ops.io.base import TIFF_SUFFIXES, ImageInfo, Region, check_axes, check_region, listing
from swin2sr_ops.io.geo.metadata import channels_of as band_channels
from swin2sr_ops.io.storage.paths import absolute_uri, existing_path
from swin2sr_ops.io.tiff.colours import MINISWHITE, axis_letters, band_roles, check_colours, is_premultiplied
from swin2sr_ops.io.tiff.damage import check_begun, check_claim, check_planes, check_whole
from swin2sr_ops.io.tiff.decoded import Strips
from swin2sr_ops.io.tiff.metadata import carried_planes, channels_of, nodata_of, place_of
from swin2sr_ops.io.tiff.ome import carried_ome, carried_tags
from swin2sr_ops.io.tiff.raw import RawPlanes, raw_planes
from swin2sr_ops.io.tiff.sets import image_number, metadata_file_of, ome_root, open_tiff, own_images
from swin2sr_ops.io.tiff.tags import ORIENTATION

__all__ = ["TiffSource", "open_source"]

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Errors of tifffile and the codecs for a damaged file, besides tifffile's own type; SyntaxError is for XML.
_DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, EOFError, ArithmeticError, RuntimeError,
    ImportError, AssertionError, SyntaxError, struct.error, zlib.error,
)  # fmt: skip
_TRAVELLING = 64  # most planes, files or names to store in every copy of a source
_RAW_CHUNK = 512  # nominal chunk of raw pixels, which have none, for callers that plan by chunks


@dataclass
class TiffSource:
    """One series of a TIFF at one level; pickles as its address, and opens again in another process.

    ``info.extra`` contains, if the file has them: ``series`` (``count`` and ``names`` of its
    images), ``ome`` (see `ome.carried_ome`), ``planes`` (see `planes`), ``bits_per_sample``, ``photometric``,
    ``bands`` (see `colours.band_roles`), ``alpha`` ("premultiplied"), ``orientation`` (2 to 8, as in EXIF: pixels come
    as they are stored).
    """

    uri: str
    series: int
    level: int
    info: ImageInfo
    _raw: RawPlanes | None = field(default=None, repr=False)
    _files: tuple[str, ...] | None = field(default=None, repr=False, compare=False)
    _opened: _Opened | None = field(default=None, repr=False, compare=False)
    _lock: Any = field(default_factory=Lock, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        # Finding a long list of offsets again is faster than storing it in every copy of a task graph.
        raw = self._raw if self._raw is not None and len(self._raw.offsets) <= _TRAVELLING else None
        files = self._files if self._files is not None and len(self._files) <= _TRAVELLING else None
        state = {**self.__dict__, "uri": absolute_uri(self.uri), "_opened": None, "_raw": raw, "_files": files}
        state["info"] = _light(self.info)
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def read(self, region: Region) -> NDArray[Any]:
        """Decode the strips or tiles that overlap ``region``, in native byte order."""
        region = check_region(region, self.info.shape)
        with _naming(self.uri):
            opened = None if self._raw is not None else self._open()
            if opened is None:
                assert self._raw is not None
                return self._raw.read(region, self.info.shape)
            pixels = opened.array[region] if opened.strips is None else opened.strips.read(region)
            return np.ascontiguousarray(pixels, dtype=self.info.dtype)

    def identity(self) -> dict[str, Any]:
        """Return sizes and times of all files of the image, which change with it; JSON-ready, without paths."""
        with _naming(self.uri):
            seen = [os.stat(name) for name in self.files()]
        files = [[s.st_size, s.st_mtime_ns] for s in seen]
        return {"files": files, "series": self.series, "level": self.level}

    def files(self) -> list[str]:
        """Return the paths of all files that the image lies in."""
        with _naming(self.uri):
            if self._files is None:
                with open_tiff(_path(self.uri)) as tiff:
                    check_planes(self.uri, tiff)
                    self._files = _files(tiff, tiff.series[self.series], _path(self.uri))
        return [str(_path(self.uri)), *self._files]

    def close(self) -> None:
        """Close the file and clear its decoded strips; the next `read` opens it again."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
            if opened.strips is not None:
                opened.strips.drop()

    def _open(self) -> _Opened | None:
        """Return the open file; None if the pixels are raw and need none."""
        opened = self._opened
        # A forked worker would share its parent's file position: it must open the file itself.
        if opened is not None and opened.process == os.getpid():
            return opened
        with self._lock:
            if self._raw is None and (self._opened is None or self._opened.process != os.getpid()):
                self._connect()
            return self._opened if self._raw is None else None

    def _connect(self) -> None:
        import zarr

        path = _path(self.uri)
        tiff = open_tiff(path)
        try:
            check_planes(self.uri, tiff)
            series = tiff.series[self.series]
            check_whole(self.uri, tiff, series.levels[self.level])
            self._raw = raw_planes(series.levels[self.level], self.info.shape)
            if self._raw is not None:
                tiff.close()
                return
            array = zarr.open_array(series.aszarr(level=self.level), mode="r")
            seen = os.stat(path)
            image = (str(path.absolute()), self.series, self.level, seen.st_size, seen.st_mtime_ns)
            self._opened = _Opened(tiff, array, Strips.of(array, self.info.axes, image), os.getpid())
            weakref.finalize(self, self._opened.close).atexit = False  # for sources that are never closed
        except BaseException:
            tiff.close()
            raise


@dataclass(frozen=True)
class _Opened:
    """An open file, and the process that opened it."""

    tiff: Any
    array: Any
    strips: Strips | None
    process: int

    def close(self) -> None:
        self.array.store.close()
        self.tiff.close()


def open_source(
    uri: str, *, axes: str | None = None, level: int = 0, series: int | None = None, array: str | None = None
) -> TiffSource | None:
    """Open the TIFF at ``uri``, or return None if ``uri`` is no TIFF.

    Parameters
    ----------
    uri : str
        A file.
    axes : str, optional
        One letter per dimension, if the file's own axes are wrong.
    level : int
        Resolution level of a pyramid, 0 is the finest.
    series : int
        Which image, where there are several; the first that has pixels in this very file, and is no label or small
        copy beside a slide, unless given.
    array : str, optional
        Not supported for TIFF.

    Raises
    ------
    FormatError
        If nothing is there, it is truncated or damaged, or its colours cannot be averaged as
        stored (palette, CMYK, L*a*b*).
    RequestError
        If an option does not fit the file.
    """
    path = existing_path(uri)
    if path is None or path.is_dir():
        return None
    with path.open("rb") as file:
        start = file.read(4)
    if start not in _MAGIC:
        if path.suffix.lower() not in TIFF_SUFFIXES:
            return None
        raise FormatError(f"{uri!r} has the suffix {path.suffix}, but is not a TIFF file: it starts with {start!r}.")
    if array is not None:
        raise RequestError(f"array={array!r} is not possible: a TIFF has no arrays, choose an image with series=.")
    with _naming(uri), open_tiff(path) as tiff:
        return _open(uri, tiff, axes, level, series)


def _path(uri: str) -> Path:
    path = existing_path(uri)
    if path is None:
        raise FormatError(f"{uri!r} is not on this file system: copy the TIFF here first.")
    return path


@contextmanager
def _naming(uri: str) -> Iterator[None]:
    """Turn the errors of tifffile and the codecs for a damaged file into one sentence."""
    from tifffile import TiffFileError

    try:
        yield
    except RequestError:  # a ValueError too, but this package's own
        raise
    except MemoryError as exc:
        raise FormatError(
            f"{uri!r} cannot be read: its blocks, as it states them, do not fit in memory. It is damaged, or"
            " must be rewritten in smaller tiles."
        ) from exc
    except (TiffFileError, *_DAMAGE) as exc:
        reason = f"{type(exc).__name__}: {exc}".strip().rstrip(".:")
        raise FormatError(
            f"{uri!r} cannot be read ({reason}): it is truncated or damaged, or of a kind that tifffile does not read."
        ) from exc


def _open(uri: str, tiff: Any, axes: str | None, level: int, series: int | None) -> TiffSource:
    check_begun(uri, tiff)
    count = len(tiff.series)
    series = _first_image(uri, tiff) if series is None and count else series or 0
    if not 0 <= series < count:
        raise RequestError(f"series={series} does not exist: {uri!r} has {count}, numbered from 0.")
    levels = tiff.series[series].levels
    if not 0 <= level < len(levels):
        raise RequestError(f"level={level} does not exist: {uri!r} has the levels 0 to {len(levels) - 1}.")
    chosen, page = levels[level], levels[level].keyframe
    check_colours(uri, tiff, page)
    check_whole(uri, tiff, chosen)
    shape = tuple(int(n) for n in chosen.shape)
    if chosen.dtype is None or len(shape) > MAX_NDIM or len(shape) < 2 or 0 in shape:
        raise FormatError(f"{uri!r} has the shape {shape} and dtype {chosen.dtype}: an image has 2 to {MAX_NDIM} axes.")
    files = _files(tiff, tiff.series[series], _path(uri))
    held = sum(os.path.getsize(name) for name in (str(tiff.filehandle.path), *files))
    check_claim(uri, shape, np.dtype(chosen.dtype).itemsize, held)
    letters = axis_letters(chosen.axes, shape, page) if axes is None else check_axes(axes, len(shape))
    bands = band_roles(uri, chosen.axes, letters, page) if axes is None else {}
    raw = raw_planes(chosen, shape)
    number = image_number(tiff, series) if tiff.is_ome else series
    info = ImageInfo(
        shape=shape,
        axes=letters,
        dtype=np.dtype(chosen.dtype).newbyteorder("="),
        chunks=_chunks(letters, shape, None if raw else page.chunks),
        channels=(
            band_channels(bands)
            if bands
            else channels_of(tiff, number, shape[letters.index("C")] if "C" in letters else 1)
        ),
        nodata=nodata_of(page),
        name=Path(uri).name.rsplit(".", 1)[0].removesuffix(".ome"),
        format=_format(tiff),
        levels=len(levels),
        extra=_extra(tiff, levels[0].keyframe, number) | ({"bands": bands} if bands else {}),
    )
    planes = carried_planes(tiff, number, chosen.axes, info)
    if planes:
        info.extra["planes"] = planes
    return TiffSource(uri, series, level, _placed(info, tiff, levels, level, number), raw, files)


def _light(info: ImageInfo) -> ImageInfo:
    """Drop the facts of many single planes, which only the process that creates the output needs."""
    planes = info.extra.get("planes") or {}
    if prod(planes.get("sizes", ())) <= _TRAVELLING:
        return info
    return replace(info, extra={key: value for key, value in info.extra.items() if key != "planes"})


def _first_image(uri: str, tiff: Any) -> int:
    """Choose the image where the caller does not, and say so where there are several."""
    kept, _ = own_images(tiff)
    if len(kept) > 1:
        names = listing({k: str(tiff.series[k].name) for k in kept})
        warnings.warn(
            f"{uri!r} contains {len(kept)} images; the first is used: choose with series= ({names}).",
            stacklevel=3,
        )
    return kept[0]


def _files(tiff: Any, series: Any, path: Path) -> tuple[str, ...]:
    """List the files beside the named one: those with its planes, in their order, and that with its metadata."""
    names = {}
    if series.is_multifile:
        names = dict.fromkeys(str(page.parent.filehandle.path) for page in series.pages if page is not None)
        names.pop(str(tiff.filehandle.path), None)
    beside = metadata_file_of(tiff, path)
    if beside is not None and beside.is_file():
        names[str(beside.absolute())] = None
    return tuple(names)


def _placed(info: ImageInfo, tiff: Any, levels: Sequence[Any], level: int, number: int) -> ImageInfo:
    """Add pixel size, origin and units of the file to ``info``."""
    place = place_of(tiff, levels[0].keyframe, number)
    if level:
        fine, coarse = (dict(zip(levels[k].axes, levels[k].shape, strict=True)) for k in (0, level))
        place = place.at_level(fine, coarse)
    return replace(
        info,
        pixel_size={a: v for a, v in place.pixel_size.items() if a in info.axes},
        origin={a: v for a, v in place.origin.items() if a in info.axes},
        units={a: v for a, v in place.units.items() if a in info.axes},
    )


def _extra(tiff: Any, page: Any, number: int) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if len(tiff.series) > 1:
        names = [str(s.name) for s in tiff.series[:_TRAVELLING]]
        extra["series"] = {"count": len(tiff.series), "names": names}
    ome = carried_ome(ome_root(tiff), number) if tiff.is_ome else carried_tags(tiff, page)
    if ome:
        extra["ome"] = ome
    if page.photometric == MINISWHITE:
        extra["photometric"] = "miniswhite"
    if is_premultiplied(page):
        extra["alpha"] = "premultiplied"
    orientation = page.tags.valueof(ORIENTATION, 1)
    if orientation in range(2, 9):
        extra["orientation"] = int(orientation)
    bits = page.bitspersample
    if page.dtype is not None and page.dtype.kind == "u" and isinstance(bits, int) and bits < 8 * page.dtype.itemsize:
        extra["bits_per_sample"] = bits  # a 12-bit camera's values end at 4095
    return extra


def _format(tiff: Any) -> str:
    kind = "OME-TIFF" if tiff.is_ome else "ImageJ TIFF" if tiff.is_imagej else "GeoTIFF" if tiff.is_geotiff else "TIFF"
    return f"{kind} (BigTIFF)" if tiff.is_bigtiff else kind


def _chunks(axes: str, shape: tuple[int, ...], decoded: tuple[int, ...] | None) -> tuple[int, ...]:
    if decoded is None:
        chunks = tuple(_RAW_CHUNK if a in "YX" else n if a == "S" else 1 for a, n in zip(axes, shape, strict=True))
    else:
        chunks = (1,) * (len(shape) - len(decoded)) + tuple(decoded)[-len(shape) :]
    return tuple(min(c, n) for c, n in zip(chunks, shape, strict=True))
