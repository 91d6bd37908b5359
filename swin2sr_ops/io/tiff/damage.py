"""Detect that a TIFF is truncated before its pixels are used.

tifffile reads the rest of a damaged file, which suits a viewer. A restored image must not have
unexpected holes, nor lose its pixel size because a tag was cut off.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import FormatError

__all__ = ["check_begun", "check_claim", "check_planes", "check_whole"]

_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_SIZES = re.compile(r"\bSize([ZT])\s*=\s*[\"'](\d{1,30})[\"']")
_PLANE_COUNTS = re.compile(r"\bPlaneCount\s*=\s*[\"'](\d{1,30})[\"']")
_FILE_NAMES = re.compile(r"\bFileName\s*=\s*[\"']([^\"']{1,1000})[\"']")
_LEAST_DIRECTORY = 50  # bytes of a page's directory with the fewest tags
_FEW_PLANES = 100_000  # this many are cheap to check, so that the error can name the missing ones
_MOST_PER_BYTE = 1 << 24  # for a page of zeros, or one that was never written; codecs reach 2^17
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def check_begun(uri: str, tiff: Any) -> None:
    """Reject a file in which a `tifffile.TiffFile` finds no page at all.

    Raises
    ------
    FormatError
        If the first directory lies beyond the end of the file, or was never written.
    """
    check_planes(uri, tiff)
    if len(tiff.series) > 0:
        return
    big, handle = tiff.tiff.offsetsize == 8, tiff.filehandle
    handle.seek(8 if big else 4)
    (first,) = struct.unpack(tiff.byteorder + ("Q" if big else "I"), handle.read(tiff.tiff.offsetsize))
    if first >= handle.size:
        raise FormatError(f"{uri!r} is truncated: page 0 begins at byte {first} but the file has {handle.size}.")
    raise FormatError(f"{uri!r} is damaged or incomplete: it is a TIFF without any page.")


def check_planes(uri: str, tiff: Any) -> None:
    """Reject an OME-XML that claims more planes than its files can hold, before planes are allocated.

    Raises
    ------
    FormatError
        If not even the planes' directories fit.
    """
    xml = tiff.ome_metadata if tiff.is_ome else None
    if not xml:
        return
    room = tiff.filehandle.size + sum(map(_size_beside(tiff), set(_FILE_NAMES.findall(xml))))
    most = max(room // _LEAST_DIRECTORY, _FEW_PLANES)
    claims = [prod(int(dict(_SIZES.findall(tag)).get(a, "1") or 1) for a in "ZT") for tag in _PIXELS.findall(xml)]
    claims += [int(count) for count in _PLANE_COUNTS.findall(xml)]
    if sum(claims) > 2 * most:  # each plane is counted in its sizes and in its TiffData
        raise FormatError(
            f"{uri!r} is damaged: its OME-XML claims {max(claims)} planes, and its files have {room} bytes in all."
        )


def _size_beside(tiff: Any) -> Callable[[str], int]:
    folder = Path(tiff.filehandle.path).parent

    def size(name: str) -> int:
        path = folder / name
        return path.stat().st_size if os.path.isfile(path) else 0

    return size


def check_claim(uri: str, shape: Sequence[int], itemsize: int, held: int) -> None:
    """Reject a file that claims more pixels than any codec can store in its bytes.

    Parameters
    ----------
    uri : str
        Address for the message.
    shape, itemsize : sequence of int, int
        Claimed size.
    held : int
        Size of the file in bytes.
    """
    claimed = prod(shape) * itemsize
    if claimed > max(held, 1) * _MOST_PER_BYTE:
        raise FormatError(
            f"{uri!r} is damaged: it claims {' x '.join(map(str, shape))} pixels, which its {held} bytes cannot hold."
        )


def check_whole(uri: str, tiff: Any, series: Any) -> None:
    """Compare the directories of a `tifffile.TiffFile` with the size of its files.

    Raises
    ------
    FormatError
        If a directory, a tag's value or pixels of ``series`` lie beyond the end of the file, or
        planes are missing.
    """
    if not tiff.is_ndpi:  # Hamamatsu's offsets are larger than their fields
        _check_directories(uri, tiff)
    _check_pixels(uri, series)


def _check_directories(uri: str, tiff: Any) -> None:
    """Check the values of the first directory, which holds all metadata, and the successor of the last one."""
    size = tiff.filehandle.size
    values_end, _ = _directory(tiff, tiff.pages.first.offset)
    if values_end > size:
        raise FormatError(f"{uri!r} is truncated: its metadata end at byte {values_end} but the file has {size}.")
    _, following = _directory(tiff, tiff.pages[-1].offset)
    if following >= size:
        raise FormatError(
            f"{uri!r} is truncated: page {len(tiff.pages)} begins at byte {following} but the file has {size}."
        )


def _directory(tiff: Any, offset: int) -> tuple[int, int]:
    """Return where the values of the directory at ``offset`` end, and the offset of the next directory."""
    order, big = tiff.byteorder, tiff.tiff.offsetsize == 8
    count_format, entry_format, next_format = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    handle = tiff.filehandle
    handle.seek(offset)
    (count,) = struct.unpack(order + count_format, handle.read(struct.calcsize(order + count_format)))
    entry_bytes = struct.calcsize(order + entry_format)
    content = handle.read(count * entry_bytes)
    (following,) = struct.unpack(order + next_format, handle.read(struct.calcsize(order + next_format)))
    end = 0
    for _, kind, number, value in struct.iter_unpack(order + entry_format, content):
        length = _TYPE_BYTES.get(kind, 0) * number
        if length > tiff.tiff.offsetsize:  # shorter values are in the entry itself
            end = max(end, value + length)
    return end, following


def _check_pixels(uri: str, series: Any) -> None:
    sizes: dict[str, int] = {}
    missing = 0
    for number, page in enumerate(series.pages):
        if page is None:
            missing += 1
            continue
        handle = page.parent.filehandle
        size = sizes.setdefault(handle.path, handle.size)
        if not page.dataoffsets:
            raise FormatError(
                f"{handle.path!r} is truncated or damaged: page {number} does not state where its pixels are."
            )
        end = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False) if n), default=0)
        if end > size:
            raise FormatError(
                f"{handle.path!r} is truncated: page {number} ends at byte {end} but the file has {size}."
            )
    if series.dataoffset is not None:  # ImageJ's hyperstacks have more planes than pages
        end, size = series.dataoffset + prod(series.shape) * series.dtype.itemsize, next(iter(sizes.values()))
        if end > size:
            raise FormatError(f"{uri!r} is truncated: its last page ends at byte {end} but the file has {size}.")
    if missing:
        raise FormatError(
            f"{uri!r} lacks {missing} of its {len(series.pages)} planes: they were never written, or are in files"
            " that are not beside it. Name the planes' own files, or restore from a complete copy."
        )
