"""Take an array for an image to train on: of NumPy, Dask or Zarr, or whatever can be sliced."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.calls import path_of
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.io.base import ImageInfo, ImageSource, Region
from swin2sr_ops.pixels.arrays import readable, readable_block

__all__ = ["ArrayImage", "image_of"]


@dataclass
class ArrayImage:
    """An array as a source; it is computed or read by regions."""

    array: Any
    axes: str
    uri: str = "The array"

    @property
    def info(self) -> ImageInfo:
        """Description of the array."""
        shape = tuple(int(n) for n in self.array.shape)
        return ImageInfo(shape=shape, axes=self.axes, dtype=np.dtype(self.array.dtype), chunks=shape, format="array")

    def read(self, region: Region) -> NDArray[Any]:
        """Compute ``region``."""
        found = self.array[region]
        computed = found.compute() if hasattr(found, "compute") else found  # NumPy would drop the mask of Dask's chunks
        return readable_block(computed, np.dtype(self.array.dtype))


def image_of(data: str | PathLike[str] | ImageSource | Any, axes: str | None = None) -> Path | ImageSource:
    """Return a path as a path, a source as itself, and an array as a source.

    Parameters
    ----------
    data : path, ImageSource or array
    axes : str, optional
        Letters of an array's dimensions, for arrays only; by default as in `swin2sr_ops.restore`.

    Raises
    ------
    RequestError
        If the array is not an image, or axes are given for something else than an array.
    """
    if axes is not None and isinstance(data, (str, PathLike, ImageSource)):
        given = f"the path {str(data)!r}" if isinstance(data, (str, PathLike)) else f"a source, {data.uri!r}"
        raise RequestError(
            f"axes={axes!r} names the dimensions of an array, and data is {given}, which names its own: leave axes"
            " out, or give the pixels as an array."
        )
    if isinstance(data, (str, PathLike)):
        return Path(path_of(data, "data"))
    if isinstance(data, ImageSource):
        return data
    array = readable(data)
    order = AxisOrder.of(array.shape, axes)
    letters = list(order.axes)
    if order.colour is not None:
        letters[order.colour] = "S"
    return ArrayImage(array, "".join(letters))
