"""Arrays that an OME-Zarr has beside the levels of an image: their names in a request, where they lie, their types."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SIDE_ARRAYS", "SideArray"]


@dataclass(frozen=True)
class SideArray:
    """An array of the size of the full-size level.

    Attributes
    ----------
    group : str
        Path of its group: a label image, or an image of one level.
    dtype : str
    """

    group: str
    dtype: str

    @property
    def path(self) -> str:
        """Path of the array."""
        return f"{self.group}/0"

    @property
    def label(self) -> str:
        """Name of a label image; empty for another image."""
        folder, _, name = self.group.rpartition("/")
        return name if folder == "labels" else ""


#: Flags of what nodata has touched and of pixels that are not trusted, spread of an ensemble, half widths of intervals.
SIDE_ARRAYS = {
    "context": SideArray("labels/nodata_context", "uint8"),
    "not_trusted": SideArray("labels/not_trusted", "uint8"),
    "spread": SideArray("spread", "float32"),
    "interval": SideArray("interval", "float32"),
}
