"""Adapt an array's attributes to the result: keep those that are still valid."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping
from math import isnan
from typing import Any

import numpy as np
import xarray as xr

from swin2sr_ops import RequestError, __version__
from swin2sr_ops_xarray.georeference import fresh_grid

__all__ = ["check_brightness", "fresh_attributes", "fresh_encoding", "nodata_of"]

_STALE = {"actual_range", "valid_max", "valid_min", "valid_range"}
_STALE_STARTS = ("STATISTICS_", "TIFFTAG_MAXSAMPLEVALUE", "TIFFTAG_MINSAMPLEVALUE")
_FILL = ("_FillValue", "missing_value")
_NODATA = (*_FILL, "fill_value", "nodata")
_PACKING = ("scale_factor", "add_offset", "dtype", "_Unsigned", *_FILL)
_LASTING = ("grid_mapping", "coordinates")


def check_brightness(array: xr.DataArray) -> None:
    """Raise an error for classes, because their mean has no meaning.

    Raises
    ------
    RequestError
        If the array has CF's ``flag_values`` or ``flag_masks``.
    """
    for key in ("flag_values", "flag_masks"):
        if key in array.attrs:
            raise RequestError(
                f"{_called(array)} holds classes or flags ({key}), not brightness: enlarge it by nearest neighbour."
            )


def nodata_of(array: xr.DataArray) -> float | None:
    """The stored value that means "no pixel here", as rioxarray finds it, imported or not.

    None where it was decoded to NaN, which never is a pixel.

    Raises
    ------
    RequestError
        Bands have different values.
    """
    noted = _noted_nodata(array)
    own = array.rio.nodata if "rioxarray" in sys.modules else None  # it also knows what was set on the array alone
    return noted if own is None else _number(own)


def _noted_nodata(array: xr.DataArray) -> float | None:
    if array.encoding.get("_FillValue") is not None:
        return None
    numbers = (_number(array.attrs.get(key)) for key in _NODATA)
    number = next((found for found in numbers if found is not None), None)
    values = {_number(value) for value in np.ravel(array.attrs.get("nodatavals", ())).tolist()} - {None}
    if number is None and len(values) > 1:
        raise RequestError(
            f"The bands of {_called(array)} have different nodata values ({', '.join(map(str, values))}): restore them"
            " apart, or mark such pixels with NaN, or give nodata."
        )
    return next(iter(values), None) if number is None else number


def _number(value: Any) -> float | None:
    """Convert a nodata value; return None for NaN, which is always invalid, and for anything but a number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if isnan(number) else number


def fresh_attributes(
    array: xr.DataArray, nodata: float | None, settings: Mapping[str, object], size: tuple[int, int]
) -> dict[Hashable, Any]:
    """Return the attributes without those that described the old pixels; ``swin2sr_ops`` describes the restoration.

    ``size`` is the number of rows and columns before. ``nodata`` is the value given in addition to the array; the
    result's attributes then contain it.
    """
    kept = {
        key: value
        for key, value in fresh_grid(array.attrs, int(str(settings["scale"])), size).items()
        if key not in _STALE and not str(key).upper().startswith(_STALE_STARTS)
    }
    if nodata is not None and not isnan(nodata) and not any(key in kept or key in array.encoding for key in _FILL):
        kept["_FillValue"] = array.dtype.type(nodata)
    listed = ", ".join(f"{key} {value}" for key, value in settings.items())
    return {**kept, "swin2sr_ops": f"restored with swin2sr-ops {__version__}: {listed}"}


def fresh_encoding(array: xr.DataArray) -> dict[str, Any]:
    """Return the encoding of the result; the writer chooses chunks and compression.

    Packing is dropped if the values were decoded: restored values may exceed the range of the packed
    integers, and would wrap around.
    """
    encoding = array.encoding
    kept = {key: encoding[key] for key in _LASTING if key in encoding}
    packed = encoding.get("dtype", array.dtype) != array.dtype or "scale_factor" in encoding or "add_offset" in encoding
    return kept if packed else kept | {key: encoding[key] for key in _PACKING if key in encoding}


def _called(array: xr.DataArray) -> str:
    return "The array" if array.name is None else repr(array.name)
