"""Compare what an output says about the place of its pixels with what the run writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose, isnan
from typing import Any

from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.units import OME_SYMBOLS

__all__ = ["differing_metadata"]

_ZARR, _TIFF, _RASTER = "OME-Zarr", "OME-TIFF", "GeoTIFF"
_CLOSE = 1e-6  # OME-XML and TIFF tags are text or rational numbers


def differing_metadata(expected: ImageInfo, found: ImageInfo, level: int = 0) -> Iterator[str]:
    """Say what differs, as sentences; only what the format of the output stores is compared.

    Parameters
    ----------
    expected : ImageInfo
        The image that the run writes.
    found : ImageInfo
        A level of the output, or an array beside it.
    level : int
        Number of the level.
    """
    if found.format.startswith(_RASTER):
        if not level:  # a smaller level has no georeference of its own: GDAL computes it
            yield from _georeference(expected.extra.get("geo") or {}, found.extra.get("geo") or {})
        yield from _nodata(expected, found)
    elif found.format.startswith((_ZARR, _TIFF)):
        yield from _places(expected, found, level)


def _places(expected: ImageInfo, found: ImageInfo, level: int) -> Iterator[str]:
    """Compare pixel size, origin and unit of each axis."""
    in_zarr = found.format.startswith(_ZARR)
    for axis in expected.axes:
        if axis in "CS" or not (in_zarr or (axis in "XYZ" and axis in expected.pixel_size)):
            continue
        factor = 2**level if axis in "YX" else 1
        size = expected.pixel_size.get(axis, 1.0)
        origin = expected.origin.get(axis, 0.0) + size / 2 * (factor - 1)
        size *= factor
        has_size, has_origin = found.pixel_size.get(axis, 1.0), found.origin.get(axis, 0.0)
        if not isclose(has_size, size, rel_tol=_CLOSE):
            yield f"the pixel size along {axis} is {has_size:g}, but the run writes {size:g}."
        # An OME-TIFF has a position per plane, or none.
        if in_zarr and not isclose(has_origin, origin, rel_tol=_CLOSE, abs_tol=_CLOSE * abs(size)):
            yield f"the origin along {axis} is {has_origin:g}, but the run writes {origin:g}."
        unit, has_unit = expected.units.get(axis, ""), found.units.get(axis, "")
        if unit != has_unit and (in_zarr or not unit or unit in OME_SYMBOLS):
            yield f"the unit along {axis} is {has_unit or 'missing'}, but the run writes {unit or 'none'}."


def _georeference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Compare coordinate reference system and affine of a raster."""
    if expected.get("crs") and found.get("crs") != expected["crs"]:
        yield "the coordinate reference system is not the one that the run writes."
    affine, has = expected.get("transform"), found.get("transform")
    if affine and not (
        has and all(isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) for a, b in zip(affine, has, strict=True))
    ):
        yield f"the affine of the georeference is {has}, but the run writes {affine}."


def _nodata(expected: ImageInfo, found: ImageInfo) -> Iterator[str]:
    value, has = expected.nodata, found.nodata
    if value != has and not (value is not None and has is not None and isnan(value) and isnan(has)):
        yield f"the nodata value is {has}, but the run writes {value}."
