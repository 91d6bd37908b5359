"""Share what all formats need that are written in one pass at the end: TIFF, GeoTIFF, PNG."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from swin2sr_ops.io.base import ImageInfo, Region, check_block
from swin2sr_ops.io.output.destination import disk_errors
from swin2sr_ops.io.output.staging import Staging

__all__ = ["StagedFile"]


@dataclass
class StagedFile(ABC):
    """A file that is written by `finish`; until then pixels are stored in Zarr arrays. It pickles as its settings.

    Attributes
    ----------
    uri : str
    info : ImageInfo
        Image to write.
    write_unit : tuple of int
        Region that one writer must write as a whole, per axis.
    staging : Staging
    """

    uri: str
    info: ImageInfo
    write_unit: tuple[int, ...]
    staging: Staging

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None:
        self.staging.write(check_block(region, block, self.info, self.write_unit), block)

    def has(self, region: Region) -> bool:
        """Return True if an earlier run finished ``region``."""
        return self.staging.has(region)

    def noted(self, region: Region) -> bool:
        """Return True if any process has finished exactly this region by now."""
        return self.staging.noted(region)

    def finish(self, provenance: dict[str, Any]) -> None:
        """Fill the missing parts of the levels, write everything into one file, and give it its final name."""
        staging = self.staging
        for level in range(1, len(staging.layout.shapes)):
            for region in staging.to_fill(level):
                staging.fill(level, region)
        finished = staging.destination.partial / f"image{Path(self.uri).suffix}"
        with disk_errors(finished):
            self._encode(finished, provenance)
        staging.destination.appear(finished)
        staging.release()

    def abort(self) -> None:
        """Remove everything written so far."""
        self.staging.discard()

    @abstractmethod
    def _encode(self, finished: Path, provenance: dict[str, Any]) -> None:
        """Encode all levels of the staging into ``finished``."""
