"""Compute coordinates on the finer grid: pixels become smaller, the position stays (law 4).

Pixel ``i`` of the result lies at position ``(i + 0.5) / s - 0.5`` of the source, in source pixels
from the first centre. Coordinates are interpolated there: one with even spacing p starts at
``c - p/2 (1 - 1/s)`` and continues in steps of ``p / s``, so that the corners keep their positions.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from swin2sr_ops import RequestError
from swin2sr_ops_xarray.georeference import fresh_grid

__all__ = ["bounds_of", "finer", "finer_mapping", "note_dropped"]

Dims = tuple[Hashable, Hashable]

_EVEN = 1e-3  # of a pixel: tolerance for evenly spaced float32 coordinates


def finer(
    coords: Mapping[Hashable, xr.DataArray], dims: Dims, scale: int, affine: tuple[float, ...] | None = None
) -> dict[Hashable, xr.Variable]:
    """Return the ``coords`` along rows or columns, on a ``scale`` times finer grid.

    ``affine`` is that of the coarse grid, from corners. If it shows that the dimensions' own
    coordinates are pixel corners instead of centres, the result's are corners, too.

    A dimension's own coordinate, and every other one of floats or times, is interpolated linearly,
    and extrapolated evenly at the ends; labels, flags and integers are repeated. Dask
    arrays stay lazy.

    Cell bounds are omitted.

    Raises
    ------
    RequestError
        If a dimension's coordinate is not monotonic, so that adjacent pixels are not neighbours, or
        has a single value, which gives no pixel size.
    """
    found: dict[Hashable, xr.Variable] = {}
    left_out = bounds_of(coords.values())
    note_dropped(left_out & coords.keys())
    for name, coord in coords.items():
        if name in left_out:
            continue
        variable = coord.variable.to_base_variable()
        for dim in dims:
            if dim in variable.dims:
                own = name == dim
                line = _Line.of(affine, along_x=dim == dims[1])
                variable = _own(variable, name, scale, line) if own else _along(variable, dim, scale)
        found[name] = xr.Variable(variable.dims, variable.data, fresh_grid(_attributes(coord.attrs), scale))
    return found


def bounds_of(coords: Iterable[xr.DataArray]) -> set[Hashable]:
    """Return the names of the cell bounds of ``coords``, by the CF conventions."""
    return {held["bounds"] for coord in coords for held in (coord.attrs, coord.encoding) if "bounds" in held}


def note_dropped(names: Iterable[Hashable]) -> None:
    """Warn that cell bounds are omitted: they describe the old grid."""
    listed = ", ".join(sorted(map(str, names)))
    if listed:
        warnings.warn(f"The cell bounds {listed} describe the old grid and are left out.", stacklevel=3)


def finer_mapping(coords: Mapping[Hashable, xr.DataArray], scale: int) -> dict[Hashable, xr.Variable]:
    """Return the grid mappings (``spatial_ref``) among ``coords`` whose affine or control points depend on pixels."""
    found: dict[Hashable, xr.Variable] = {}
    for name, coord in coords.items():
        changed: dict[str, Any] = {}
        if "GeoTransform" in coord.attrs and coord.ndim == 0:
            changed["GeoTransform"] = _geotransform(str(coord.attrs["GeoTransform"]), scale)
        if "gcps" in coord.attrs and coord.ndim == 0:
            changed["gcps"] = _control_points(coord.attrs["gcps"], scale)
        kept = fresh_grid({k: v for k, v in coord.attrs.items() if k not in changed}, scale)
        if coord.ndim == 0 and (changed or kept != coord.attrs):
            found[name] = xr.Variable((), coord.variable.data, kept | changed, coord.encoding)
    return found


@dataclass(frozen=True)
class _Line:
    """An affine without rotation along one dimension: the position of its first corner, and a pixel's length."""

    corner: float
    step: float

    @classmethod
    def of(cls, affine: tuple[float, ...] | None, *, along_x: bool) -> _Line | None:
        if affine is None or affine[1] or affine[3]:
            return None
        step = affine[0 if along_x else 4]
        return cls(affine[2 if along_x else 5], step) if step else None

    def names_corners(self, first: float) -> bool:
        """Return True if a coordinate that starts with ``first`` is of corners; a part of a grid has equal steps."""
        return abs(((first - self.corner) / self.step + 0.25) % 1 - 0.25) <= _EVEN


def _own(variable: xr.Variable, name: Hashable, scale: int, line: _Line | None) -> xr.Variable:
    """Interpolate a dimension's coordinate, always in memory, in float64."""
    values: NDArray[Any] = np.asarray(variable.data)
    if values.dtype.kind not in "iufmM":
        return _repeated(variable, name, scale)
    corners = line is not None and values.dtype.kind not in "mM" and line.names_corners(float(values[0]))
    if len(values) == 1 and line is not None and values.dtype.kind not in "mM":
        return xr.Variable(variable.dims, values[0] + line.step * _positions(1, scale, corners=corners))
    if len(values) < 2:
        raise RequestError(
            f"The coordinate {name!r} has a single value and gives no pixel size: drop it (drop_vars({str(name)!r}))."
        )
    times = values.dtype.kind in "mM"
    numbers = (values - values[0]).astype("timedelta64[ns]").astype("int64") if times else values.astype("float64")
    if _is_angle(variable.attrs):
        numbers = np.unwrap(numbers, period=360)  # across the date line or the meridian, the positions continue
    steps = np.diff(numbers)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise RequestError(
            f"The coordinate {name!r} is not monotonic, so adjacent pixels are not neighbours: sort along it"
            f" (sortby({str(name)!r})), or drop it (drop_vars({str(name)!r})) if the pixels are in place."
        )
    fine = _read_at(numbers.astype("float64"), steps.astype("float64"), scale, corners)
    return xr.Variable(variable.dims, values[0] + np.rint(fine).astype("timedelta64[ns]") if times else fine)


def _read_at(numbers: NDArray[Any], steps: NDArray[Any], scale: int, corners: bool) -> NDArray[Any]:
    """Values at the finer positions; of even spacing from its ends, so that no rounding adds up."""
    positions = _positions(len(numbers), scale, corners=corners)
    even = (numbers[-1] - numbers[0]) / (len(numbers) - 1)
    if np.abs(numbers - (numbers[0] + even * np.arange(len(numbers)))).max() <= _EVEN * abs(even):
        return np.asarray(numbers[0] + even * positions)
    lower = _lower(positions, len(numbers))
    return np.asarray(numbers[lower] + (positions - lower) * steps[lower])


def _along(variable: xr.Variable, dim: Hashable, scale: int) -> xr.Variable:
    """Interpolate any other coordinate along ``dim``."""
    size = variable.sizes[dim]
    if variable.dtype.kind not in "fmM" or size < 2:
        return _repeated(variable, dim, scale)
    positions = _positions(size, scale)
    lower = _lower(positions, size)
    below, above = variable.isel({dim: lower}), variable.isel({dim: lower + 1})
    step = above - below
    if _is_angle(variable.attrs):
        step = _around(step)
    part = xr.Variable((dim,), positions - lower)
    if step.dtype.kind != "f":
        part = part * step.astype("int64")
        return (below + part.astype(step.dtype)).transpose(*variable.dims)
    fine: xr.Variable = (below + step * part).transpose(*variable.dims)
    return xr.Variable(fine.dims, fine.data, variable.attrs)


def _repeated(variable: xr.Variable, dim: Hashable, scale: int) -> xr.Variable:
    return variable.isel({dim: np.arange(variable.sizes[dim] * scale) // scale})


def _positions(size: int, scale: int, *, corners: bool = False) -> NDArray[np.float64]:
    """Return the finer pixels' centres in pixels from the first centre; or the corners from the first corner."""
    return np.arange(size * scale) / scale if corners else (np.arange(size * scale) + 0.5) / scale - 0.5


def _lower(positions: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    return np.clip(np.floor(positions), 0, size - 2).astype("int64")


def _is_angle(attributes: Mapping[Any, Any]) -> bool:
    return str(attributes.get("units", "")).lower().startswith("degree")


def _around(step: Any) -> Any:
    """Return the shorter difference of angles: from 359.5 to 0.5 degrees is one degree; half a turn stays as it is."""
    return step - 360 * np.rint(step / 360)


def _attributes(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Drop cell bounds, which name a variable on the coarse grid."""
    return {k: v for k, v in attributes.items() if k not in ("bounds", "actual_range", "valid_range")}


def _geotransform(text: str, scale: int) -> str:
    """Refine GDAL's geotransform: x of the corner, two steps, y of the corner, two steps; corners stay."""
    numbers: Iterable[float] = (float(v) for v in text.split())
    return " ".join(repr(v if i in (0, 3) else v / scale) for i, v in enumerate(numbers))


def _control_points(points: Any, scale: int) -> Any:
    """Refine GeoJSON ground control points: scale their pixel positions, which are relative to the corner."""
    collection = json.loads(points) if isinstance(points, str) else points
    features = [
        {**f, "properties": {k: v * scale if k in ("row", "col") else v for k, v in f["properties"].items()}}
        for f in collection["features"]
    ]
    changed = {**collection, "features": features}
    return json.dumps(changed) if isinstance(points, str) else changed
