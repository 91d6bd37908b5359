"""Count the images of a TIFF, and tell those that show the object from accompanying ones."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import FormatError
from swin2sr_ops.io.tiff.damage import check_planes

__all__ = ["TiffContent", "tiff_content"]

# Errors that tifffile raises for a damaged file, besides its own.
_DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, EOFError, ArithmeticError, RuntimeError,
    AssertionError, SyntaxError, struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class TiffContent:
    """Facts about a TIFF that decide its outputs.

    Attributes
    ----------
    series : tuple of int
        Indices of the images, without those that scanners add.
    left_out : tuple of str
        Names of the images that scanners add.
    geo : bool
        Whether it is a GeoTIFF.
    dtype : str
        Type of the first image.
    files : frozenset of str
        All files of the set, if it is a multi-file OME-TIFF.
    names : tuple of str
        Of the images, as far as they have names.
    """

    series: tuple[int, ...] = (0,)
    left_out: tuple[str, ...] = ()
    geo: bool = False
    dtype: str = ""
    files: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()


def tiff_content(path: str | PathLike[str]) -> TiffContent:
    """Read the facts of the TIFF at ``path``; a damaged file counts as one image, and opening it says why."""
    import tifffile

    from swin2sr_ops.io.tiff.sets import open_tiff

    try:
        with warnings.catch_warnings(), open_tiff(Path(path)) as tiff:
            warnings.simplefilter("ignore")  # they are repeated when the image is opened
            check_planes(str(path), tiff)
            return _content(tiff)
    except (FormatError, MemoryError, tifffile.TiffFileError, *_DAMAGE):
        return TiffContent()


def _content(tiff: Any) -> TiffContent:
    from swin2sr_ops.io.tiff.sets import own_images

    all_series = list(tiff.series)
    dtype = str(all_series[0].dtype) if all_series else ""
    geo = bool(tiff.is_geotiff)
    if geo or len(all_series) < 2:
        return TiffContent(geo=geo, dtype=dtype, files=_files(all_series))
    kept, besides = own_images(tiff)  # a file of a set describes all images of the set
    names = [str(series.name) for series in all_series]
    files = _files([all_series[k] for k in (*kept, *besides)])
    return TiffContent(kept, tuple(names[k] for k in besides), geo, dtype, files, tuple(names[k] for k in kept))


def _files(all_series: list[Any]) -> frozenset[str]:
    """Return the files that contain the images' pages, if there are several."""
    if not any(s.is_multifile for s in all_series):
        return frozenset()
    return frozenset(str(p.parent.filehandle.path) for s in all_series for p in s.pages if p is not None)
