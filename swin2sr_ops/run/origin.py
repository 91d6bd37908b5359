"""Record the input of each tile in the journal, and compare it if the input's files were touched.

Sizes and times do not show that a file was replaced during a run and put back, with its old time, before the next run.
A file's number and the time of its last status change do (`swin2sr_ops.io.storage.identity.stamp_of`), but they also
change if a file is only copied or renamed. So they decide when to compare, and the pixels decide the outcome.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.io.base import ImageSource, MaskedSource, Region
from swin2sr_ops.io.masks import valid_pixels

__all__ = ["InputPixels", "Origin"]


@dataclass(frozen=True)
class Origin:
    """The input of a tile.

    Attributes
    ----------
    regions : tuple of Region
        Regions of the input that were read, one for each group of bands.
    crc : int
        CRC-32 of these pixels and of their mask.
    """

    regions: tuple[Region, ...]
    crc: int

    @classmethod
    def of(cls, regions: Sequence[Region], block: NDArray[Any], valid: NDArray[np.bool_] | None) -> Origin:
        """Record the pixels ``block`` of ``regions``, and which of them are valid."""
        crc = zlib.crc32(np.ascontiguousarray(block).data.cast("B") if block.size else b"")
        if valid is not None:
            crc = zlib.crc32(np.packbits(valid).data, crc)
        return cls(tuple(regions), crc)

    def to_json(self) -> list[Any]:
        """Return the form that the journal stores."""
        return [[[[part.start, part.stop] for part in region] for region in self.regions], self.crc]

    @classmethod
    def from_json(cls, found: list[Any]) -> Origin:
        """Undo `to_json`."""
        regions, crc = found
        return cls(tuple(tuple(slice(int(a), int(b)) for a, b in region) for region in regions), int(crc))


@dataclass(frozen=True)
class InputPixels:
    """The pixels of an input and of its masks; it is pickled for workers."""

    source: ImageSource
    mask: ImageSource | None
    order: AxisOrder

    def read(self, regions: Sequence[Region]) -> NDArray[Any]:
        """Read ``regions``, which differ in their bands, as one block."""
        blocks = [self.source.read(region) for region in regions]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, self.order.axes.index("C"))

    def valid(self, regions: Sequence[Region]) -> NDArray[np.bool_] | None:
        """Return the valid pixels of ``regions``; None if all are valid."""
        if self.mask is None and not isinstance(self.source, MaskedSource):
            return None
        found = [valid_pixels(self.source, self.mask, self.order, region) for region in regions]
        if len(found) == 1 or all(v is None for v in found):
            return found[0]
        everywhere = np.ones((1,) * len(self.order.axes), bool)
        bands = np.broadcast_arrays(*(everywhere if v is None else v for v in found))
        return np.concatenate(bands, self.order.axes.index("C"))

    def still(self, origin: Origin) -> bool:
        """Return True if a tile of this ``origin`` would be made of the same pixels now."""
        return Origin.of(origin.regions, self.read(origin.regions), self.valid(origin.regions)) == origin
