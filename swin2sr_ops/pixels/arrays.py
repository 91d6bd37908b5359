"""Take the array of a call from Python, of whichever library, or refuse it with one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.calls import with_article
from swin2sr_ops.errors import RequestError
from swin2sr_ops.pixels.intensity import check_dtype

__all__ = ["readable", "readable_block"]


def readable(array: Any) -> Any:
    """Return ``array`` if it can be read by regions with NumPy's types, else as NumPy's array: tensors, lists.

    Parameters
    ----------
    array : array-like
        Of NumPy, Dask, Zarr or h5py, which stay as they are; a tensor, or nested lists.

    Raises
    ------
    RequestError
        If it lies on a GPU, is masked, has no known shape, or has a type that this package does not restore.
    """
    array = _with_numpy_type(array)
    check_dtype(np.dtype(array.dtype))
    if isinstance(getattr(array, "_meta", array), np.ma.MaskedArray):
        raise RequestError(
            "Masked arrays are not supported: give array.filled(value), in Dask dask.array.ma.filled(array, value),"
            " with nodata=value, or NaN for floats."
        )
    if any(np.isnan(n) for n in array.shape):
        raise RequestError(
            f"The array's shape {array.shape} is not known: call array.compute_chunk_sizes() on it first."
        )
    return array


def readable_block(block: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a computed chunk of a lazy array as NumPy's array of the ``dtype`` that the array declares.

    Raises
    ------
    RequestError
        If the chunk is not what the array declares: it is masked, lies on a GPU, or has another type.
    """
    found = np.asarray(readable(block))
    if found.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise RequestError(
            f"The array declares {dtype.name} pixels, but one of its chunks has {found.dtype.name}: declare the type"
            " that the chunks have, with dtype= or meta= of the Dask function that makes them, or convert them there."
        )
    return found


def _with_numpy_type(array: Any) -> Any:
    if not hasattr(array, "shape") and hasattr(getattr(array, "data", None), "shape"):  # napari's layers
        raise RequestError(f"array is {with_article(array)}: give its pixels, `.data`, and `axes`.")
    if hasattr(array, "__cuda_array_interface__"):
        raise RequestError(
            f"The {type(array).__name__} lies on a GPU: copy it to main memory, with tensor.cpu() or array.get()."
        )
    try:
        if hasattr(array, "shape") and hasattr(array, "dtype"):
            np.dtype(array.dtype)  # another library's type raises
            return array
    except TypeError:
        pass
    try:
        return np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as exc:
        raise RequestError(
            f"The {type(array).__name__} cannot be read as a NumPy array ({str(exc).rstrip('.')}): convert it first, a"
            " tensor with tensor.detach().cpu().float().numpy()."
        ) from exc
