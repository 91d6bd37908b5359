"""Encode everything before the pixels of a Cloud Optimized GeoTIFF: all directories.

Its size depends only on the number of tiles. It is written twice: first with zeros to reserve the
space, and again once the tiles' offsets are known.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.geo.cog_tags import Tag
from swin2sr_ops.io.tiff.tags import GDAL_NODATA

__all__ = ["SAMPLE_FORMATS", "Directory", "head", "image_tags", "mask_tags", "predictor"]

#: TIFF's sample format of each supported kind of NumPy dtype.
SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}

_MASK = 4  # photometric interpretation
_OF_OVERVIEWS = {262, 338, GDAL_NODATA}  # colours, meaning of further bands, nodata
_SHORT, _LONG, _LONG8 = 3, 4, 16
_TILE_OFFSETS, _TILE_BYTE_COUNTS = 324, 325


@dataclass
class Directory:
    """One image of the file: its tags, and the locations of its tiles."""

    tags: list[Tag]
    tiles: int
    offsets: NDArray[np.uint64] = field(init=False)
    counts: NDArray[np.uint64] = field(init=False)

    def __post_init__(self) -> None:
        self.offsets = np.zeros(self.tiles, np.uint64)
        self.counts = np.zeros(self.tiles, np.uint64)

    def all_tags(self, big: bool) -> list[Tag]:
        """Return all tags in ascending order, as TIFF requires.

        Raises
        ------
        OutputError
            A tile lies beyond what a file that is not ``big`` can address.
        """
        if not big and self.offsets.max(initial=0) >= 1 << 32:
            raise OutputError(
                "The GeoTIFF grew beyond the 4 GiB of a classic TIFF, since its compression enlarged the pixels:"
                " choose COMPRESS=DEFLATE or ZSTD, or write .zarr."
            )
        offsets = self.offsets.astype("<u8" if big else "<u4").tobytes()
        return sorted(
            [
                *self.tags,
                Tag(_TILE_OFFSETS, _LONG8 if big else _LONG, self.tiles, offsets),
                Tag(_TILE_BYTE_COUNTS, _LONG, self.tiles, self.counts.astype("<u4").tobytes()),
            ],
            key=lambda tag: tag.code,
        )


def predictor(dtype: np.dtype[Any]) -> int:
    """Return 2 (integer differences), 3 (differences of floats' bytes) or 1 (none: few readers know 2 for 64 bits)."""
    return 3 if dtype.kind == "f" else 2 if dtype.itemsize <= 4 else 1


def image_tags(
    level: int, size: tuple[int, int], bands: int, dtype: np.dtype[Any], side: int, compression: int, tags: list[Tag]
) -> list[Tag]:
    """Create the tags of a level, including those in ``tags``, which belong to the full image."""
    return [
        *([_longs(254, [1])] if level else []),
        _longs(256, [size[1]]),
        _longs(257, [size[0]]),
        _shorts(258, [8 * dtype.itemsize] * bands),
        _shorts(259, [compression]),
        _shorts(277, [bands]),
        _shorts(284, [1]),  # the bands of a pixel are stored together
        _shorts(317, [predictor(dtype)]),
        _shorts(322, [side]),
        _shorts(323, [side]),
        _shorts(339, [SAMPLE_FORMATS[dtype.kind]] * bands),
        *(tag for tag in tags if level == 0 or tag.code in _OF_OVERVIEWS),
    ]


def mask_tags(level: int, size: tuple[int, int], side: int, compression: int) -> list[Tag]:
    """Create the tags of a level's mask: one bit per pixel."""
    return [
        _longs(254, [5 if level else 4]),
        _longs(256, [size[1]]),
        _longs(257, [size[0]]),
        _shorts(258, [1]),
        _shorts(259, [compression]),
        _shorts(262, [_MASK]),
        _shorts(277, [1]),
        _shorts(284, [1]),
        _shorts(322, [side]),
        _shorts(323, [side]),
        _shorts(339, [1]),
    ]


def head(directories: Sequence[Directory], *, big: bool, masked: bool) -> bytes:
    """Encode everything before the first tile.

    GDAL's order: signature, ghost area, each directory with its values but without the tiles'
    arrays, then all those arrays. A reader gets what it needs to open the file in one short request.
    """
    ghost = _ghost(masked)
    start = 16 if big else 8
    first = _even(start + len(ghost))
    out = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) if big else struct.pack("<2sHI", b"II", 42, first))
    out += ghost
    arrays: list[tuple[int, bytes]] = []
    for number, directory in enumerate(directories):
        _pad(out)
        _add(out, directory.all_tags(big), big, last=number == len(directories) - 1, arrays=arrays)
    for where, data in arrays:
        _pad(out)
        struct.pack_into("<Q" if big else "<I", out, where, len(out))
        out += data
    _pad(out)
    return bytes(out)


def _add(out: bytearray, tags: list[Tag], big: bool, *, last: bool, arrays: list[tuple[int, bytes]]) -> None:
    """Append a directory and its values; collect in ``arrays`` the values that follow all directories."""
    count, entry, pointer, inline = ("<Q", "<HHQ", "<Q", 8) if big else ("<H", "<HHI", "<I", 4)
    out += struct.pack(count, len(tags))
    fields: list[tuple[int, Tag]] = []
    for tag in tags:
        out += struct.pack(entry, tag.code, tag.kind, tag.count)
        fields.append((len(out), tag))
        out += tag.data.ljust(inline, b"\0") if len(tag.data) <= inline else bytes(inline)
    following = len(out)
    out += bytes(inline)
    for where, tag in fields:
        if len(tag.data) <= inline:
            continue
        if tag.code in (_TILE_OFFSETS, _TILE_BYTE_COUNTS):
            arrays.append((where, tag.data))
            continue
        _pad(out)
        struct.pack_into(pointer, out, where, len(out))
        out += tag.data
    if not last:
        struct.pack_into(pointer, out, following, _even(len(out)))


def _ghost(masked: bool) -> bytes:
    """Create the ghost area, by which GDAL knows that the order of the tiles is reliable."""
    content = (
        "LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
        "BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "  # space for "YES"
        + ("MASK_INTERLEAVED_WITH_IMAGERY=YES\n" if masked else "")
    )
    return f"GDAL_STRUCTURAL_METADATA_SIZE={len(content):06d} bytes\n{content}".encode("ascii")


def _even(offset: int) -> int:
    return offset + offset % 2


def _pad(out: bytearray) -> None:
    out += bytes(len(out) % 2)


def _shorts(code: int, values: Iterable[int]) -> Tag:
    numbers = np.array(list(values), "<u2")
    return Tag(code, _SHORT, len(numbers), numbers.tobytes())


def _longs(code: int, values: Iterable[int]) -> Tag:
    numbers = np.array(list(values), "<u4")
    return Tag(code, _LONG, len(numbers), numbers.tobytes())
