"""Update or remove attributes that describe the grid: affine, resolution, size.

stackstac, odc-stac, xarray-spatial, geowombat and xarray's former ``open_rasterio`` keep them on
arrays and on coordinates. Readers prefer them to the coordinates themselves, so an outdated one moves
the whole image.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import is_dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["affine_of", "fresh_grid"]

#: a b c d e f of an affine from corners; the same in GDAL's order c a b f d e.
_AFFINES = {"affine", "proj:transform", "spatial:transform", "transform"}
_GEOTRANSFORMS = {"geo_transform", "geotransform"}
_RESOLUTIONS = {
    "cell_size", "cellsize", "geospatial_lat_resolution", "geospatial_lon_resolution", "gsd", "pixel_size", "pixelsize",
    "res", "resolution", "resolution_xy", "spatial_resolution", "x_res", "x_resolution", "xres", "y_res",
    "y_resolution", "yres",
}  # fmt: skip
_SHAPES = {"proj:shape", "shape", "spatial:shape"}
_HEIGHTS, _WIDTHS = {"height", "nrows"}, {"ncols", "width"}
#: Attributes that a reader recomputes, and that this module cannot.
_GOES = {"geobox"}


def fresh_grid(
    attributes: Mapping[Hashable, Any], scale: int, size: tuple[int, int] | None = None
) -> dict[Hashable, Any]:
    """Return ``attributes`` for ``scale`` times finer pixels, without those of the old grid that cannot be parsed.

    Parameters
    ----------
    attributes : mapping
        Attributes of an array, a dataset or a coordinate.
    scale : int
    size : (int, int), optional
        Rows and columns of the old grid, if the attributes are those of an array.
    """
    if scale == 1:
        return dict(attributes)
    found: dict[Hashable, Any] = {}
    for key, value in attributes.items():
        fresh = _fresh(str(key).lower(), value, scale, size)
        if fresh is not None:
            found[key] = fresh
    return found


def affine_of(array: xr.DataArray) -> tuple[float, ...] | None:
    """Return a b c d e f of ``array``, from corners, if an attribute or a grid mapping contains them."""
    scalars = [coord.attrs for coord in array.coords.values() if coord.ndim == 0]
    for attributes in (array.attrs, *scalars):
        for key, value in attributes.items():
            name = str(key).lower()
            numbers = _numbers(value, 6, 9) if name in _AFFINES | _GEOTRANSFORMS else None
            if numbers is not None:
                a, b, c, d, e, f = numbers[:6]
                return (b, c, a, e, f, d) if name in _GEOTRANSFORMS else (a, b, c, d, e, f)
    return None


def _fresh(name: str, value: Any, scale: int, size: tuple[int, int] | None) -> Any:
    """Return the attribute on the finer grid, or None."""
    if name in _AFFINES | _GEOTRANSFORMS:
        corner = (0, 3) if name in _GEOTRANSFORMS else (2, 5)
        numbers = _numbers(value, 6, 9)
        return None if numbers is None else _like(value, [_part(n, i, corner, scale) for i, n in enumerate(numbers)])
    if name in _RESOLUTIONS:
        numbers = _numbers(value, 1, 2)
        return None if numbers is None else _like(value, [n / scale for n in numbers])
    if name == "spec":
        return _fresh_spec(value, scale)
    if size is not None and name in _SHAPES | _HEIGHTS | _WIDTHS:
        return _fresh_size(name, value, scale, size)
    return None if name in _GOES else value


def _fresh_size(name: str, value: Any, scale: int, size: tuple[int, int]) -> Any:
    """Return a shape, height or width on the finer grid if it is the array's; others may mean anything."""
    if name in _SHAPES:
        numbers = _numbers(value, 2, 5)
        fits = numbers is not None and tuple(numbers[-2:]) == size
        return _like(value, [*numbers[:-2], *(n * scale for n in size)]) if numbers and fits else None
    own = size[name in _WIDTHS]
    return _like(value, [own * scale]) if _numbers(value, 1, 1) == [own] else value


def _part(number: float, i: int, corner: tuple[int, int], scale: int) -> float:
    return number if i in corner or i > 5 else number / scale


def _fresh_spec(spec: Any, scale: int) -> Any:
    """Return stackstac's `RasterSpec` with the same bounds and finer pixels."""
    if not is_dataclass(spec) or isinstance(spec, type) or not hasattr(spec, "resolutions_xy"):
        return None
    return replace(spec, resolutions_xy=tuple(r / scale for r in spec.resolutions_xy))


def _numbers(value: Any, least: int, most: int) -> list[float] | None:
    """Return the numbers in a scalar, sequence or text; None for other contents, or another number of them."""
    parts: Iterable[Any]
    if isinstance(value, str):
        parts = value.strip("[]()").replace(",", " ").split()
    elif isinstance(value, Real):
        parts = [value]
    else:
        parts = np.ravel(np.asarray(value, dtype=object)).tolist() if isinstance(value, Iterable) else ()
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        return None
    return numbers if least <= len(numbers) <= most and np.isfinite(numbers).all() else None


def _like(value: Any, numbers: list[float]) -> Any:
    """Return ``numbers`` in the type of ``value``."""
    if isinstance(value, str):
        return (", " if "," in value else " ").join(map(repr, numbers))
    if isinstance(value, np.ndarray):
        return np.array(numbers).reshape(value.shape)
    if isinstance(value, Real):
        return type(value)(numbers[0])  # type: ignore[call-arg]  # `int`, or a scalar of NumPy's
    whole = all(isinstance(part, int) for part in value)
    kept = [int(n) if whole and float(n).is_integer() else n for n in numbers]
    return type(value)(*kept[:6]) if hasattr(value, "determinant") else type(value)(kept)  # an `Affine`, or a sequence
