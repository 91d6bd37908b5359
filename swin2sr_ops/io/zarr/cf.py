"""Read and write the CF attributes of a Zarr array that say what its numbers mean, in xarray's encodings.

xarray's forms of nodata: in Zarr v3 the attribute ``_FillValue``, a number for integers, and base64 of a little-endian
float64 for floats; in Zarr v2 the array's own ``fill_value``. An array written by xarray, or for it, is known by the
attribute ``_ARRAY_DIMENSIONS``; the ``fill_value`` of any other array is the value of pixels that were never written.
"""

from __future__ import annotations

import base64
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swin2sr_ops.pixels.holes import stored_nodata

__all__ = ["CF_ATTRIBUTES", "ArrayMeaning", "array_attributes", "is_of_xarray", "meaning_of"]

_NODATA = ("_FillValue", "missing_value")
_PACKING = ("scale_factor", "add_offset")
_UNSIGNED = "_Unsigned"
#: Attributes that describe the numbers of their own array only.
CF_ATTRIBUTES = frozenset({*_NODATA, *_PACKING, _UNSIGNED})
#: Kinds of numbers that have another sign by `_UNSIGNED`, and their kinds then.
_SIGNS = {("i", "true"): "u", ("u", "false"): "i"}


@dataclass(frozen=True)
class ArrayMeaning:
    """What the numbers of an array mean.

    Attributes
    ----------
    dtype : numpy.dtype
        In native byte order, with the sign that the attribute ``_Unsigned`` gives.
    nodata : float or None
        Value of invalid pixels; None for NaN, which always is invalid.
    packing : dict
        ``scale_factor`` and ``add_offset``, with which readers unpack the numbers.
    """

    dtype: np.dtype[Any]
    nodata: float | None = None
    packing: dict[str, float] = field(default_factory=dict)


def is_of_xarray(array: Any) -> bool:
    """Return True for a Zarr v2 array whose ``fill_value`` is nodata for xarray."""
    return bool(array.metadata.zarr_format == 2) and "_ARRAY_DIMENSIONS" in array.attrs


def meaning_of(array: Any, address: str, *, fill_value: bool = False) -> ArrayMeaning:
    """Return what the numbers of a Zarr array mean.

    Parameters
    ----------
    array : zarr.Array
    address : str
        Of the array or its image, for warnings.
    fill_value : bool
        Whether the array's ``fill_value`` is nodata: see `is_of_xarray`.

    Warns
    -----
    UserWarning
        If nodata is there and cannot be read, or there are several values: one of them is used.
    """
    attributes = array.attrs.asdict()
    kept = np.dtype(array.dtype).newbyteorder("=")
    kind = _SIGNS.get((kept.kind, str(attributes.get(_UNSIGNED, "")).lower()), kept.kind)
    dtype = np.dtype(f"{kind}{kept.itemsize}") if kind != kept.kind else kept
    given = [(name, attributes[name]) for name in _NODATA if attributes.get(name) is not None]
    if fill_value:
        given.append(("fill_value", array.metadata.fill_value))
    values = list(_numbers(given, kept, address))
    if dtype != kept:
        values = [float(np.array(int(v), np.int64).astype(dtype)) if v.is_integer() else v for v in values]
    packing = {name: attributes[name] for name in _PACKING if _is_number(attributes.get(name))}
    return ArrayMeaning(dtype, _chosen(values, dtype, address), packing)


def array_attributes(
    nodata: float | None, dtype: np.dtype[Any], packing: Mapping[str, Any], zarr_format: int
) -> dict[str, Any]:
    """Return the attributes of an array with which xarray masks its nodata and unpacks its numbers."""
    hole = stored_nodata(nodata, dtype)
    if hole is None or not np.isfinite(hole):
        return dict(packing)
    if dtype.kind == "f" and zarr_format == 3:
        return {"_FillValue": base64.standard_b64encode(struct.pack("<d", float(hole))).decode(), **packing}
    return {"_FillValue": hole.item(), **packing}


def _numbers(given: list[tuple[str, Any]], dtype: np.dtype[Any], address: str) -> Iterator[float]:
    """Yield the finite numbers of nodata; NaN and infinity are invalid anyway."""
    for name, value in given:
        for one in value if isinstance(value, (list, tuple)) else [value]:
            number = _number(one, dtype)
            if number is not None and np.isfinite(number):
                yield number
            elif number is None and one is not None and dtype.kind in "iuf":  # others are refused as images
                warnings.warn(
                    f"{address!r} has {name}={one!r}, which is not a number, so its nodata pixels count as brightness:"
                    " give their value with nodata (--nodata).",
                    stacklevel=5,
                )


def _number(value: Any, dtype: np.dtype[Any]) -> float | None:
    if isinstance(value, str):
        try:
            packed = base64.b64decode(value, validate=True) if dtype.kind == "f" else b""
        except ValueError:
            packed = b""
        if len(packed) == 8:
            return float(struct.unpack("<d", packed)[0])
        try:
            return float(value)  # "NaN", and digits as a text
        except ValueError:
            return None
    return float(value) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _chosen(values: list[float], dtype: np.dtype[Any], address: str) -> float | None:
    """Return the first value that a pixel can have, else the first; warn of others that pixels can have."""
    stored = {hole: value for value in reversed(values) if (hole := stored_nodata(value, dtype)) is not None}
    found = next((v for v in values if stored_nodata(v, dtype) is not None), values[0] if values else None)
    others = [f"{value:g}" for value in stored.values() if value != found]
    if others:
        warnings.warn(
            f"{address!r} marks invalid pixels by several values: {found:g} is nodata, and pixels of"
            f" {', '.join(others)} count as brightness. Choose another with nodata (--nodata), or store one value for"
            " all of them.",
            stacklevel=4,
        )
    return found
