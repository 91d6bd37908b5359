"""Coordinates on the finer grid: pixels become smaller, the place stays (law 4).

Pixel ``i`` of the result lies at position ``(i + 0.5) / s - 0.5`` of the source, counted in its
pixels from its first centre. A coordinate is read there: of even spacing p it begins at
``c - p/2 (1 - 1/s)`` and goes on in steps of ``p / s``, so that the corners stay where they were.
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

_EVEN = 1e-3  # of a pixel: what float32 coordinates of even spacing miss


def finer(
    coords: Mapping[Hashable, xr.DataArray], dims: Dims, scale: int, affine: tuple[float, ...] | None = None
) -> dict[Hashable, xr.Variable]:
    """What of ``coords`` lies along rows or columns, on a ``scale`` times finer grid.

    ``affine`` is that of the coarse grid, from corners. Where it says that the dimensions' own
    coordinates name corners of pixels, not centres, they go on naming corners.

    A dimension's own coordinate, and every other of floats or times, is interpolated linearly,
    and goes on evenly at the ends; labels, flags and whole numbers are repeated. What belongs to
    Dask stays lazy.

    Cell bounds are left out.

    Raises
    ------
    RequestError
        A dimension's coordinate goes up and down, so that its pixels are no neighbours, or has a
        single value that says no pixel size.
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
    """Names of what holds the cell bounds of ``coords``, as CF has it."""
    return {held["bounds"] for coord in coords for held in (coord.attrs, coord.encoding) if "bounds" in held}


def note_dropped(names: Iterable[Hashable]) -> None:
    """Warn that cell bounds are left out: they describe the old grid."""
    listed = ", ".join(sorted(map(str, names)))
    if listed:
        warnings.warn(f"The cell bounds {listed} describe the old grid and are left out.", stacklevel=3)


def finer_mapping(coords: Mapping[Hashable, xr.DataArray], scale: int) -> dict[Hashable, xr.Variable]:
    """Grid mappings (``spatial_ref``) among ``coords`` whose affine or control points count pixels."""
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
    """What an affine without rotation says of one dimension: where its first corner is, and how long a pixel."""

    corner: float
    step: float

    @classmethod
    def of(cls, affine: tuple[float, ...] | None, *, along_x: bool) -> _Line | None:
        if affine is None or affine[1] or affine[3]:
            return None
        step = affine[0 if along_x else 4]
        return cls(affine[2 if along_x else 5], step) if step else None

    def names_corners(self, first: float) -> bool:
        """Whether a coordinate that begins with ``first`` names corners; a part of a grid has the same steps."""
        return abs(((first - self.corner) / self.step + 0.25) % 1 - 0.25) <= _EVEN


def _own(variable: xr.Variable, name: Hashable, scale: int, line: _Line | None) -> xr.Variable:
    """A dimension's coordinate, always in memory: finely stepped, in float64."""
    values: NDArray[Any] = np.asarray(variable.data)
    if values.dtype.kind not in "iufmM":
        return _repeated(variable, name, scale)
    corners = line is not None and values.dtype.kind not in "mM" and line.names_corners(float(values[0]))
    if len(values) == 1 and line is not None and values.dtype.kind not in "mM":
        return xr.Variable(variable.dims, values[0] + line.step * _positions(1, scale, corners=corners))
    if len(values) < 2:
        raise RequestError(
            f"The coordinate {name!r} has one value, which says no pixel size: drop it (drop_vars({str(name)!r}))."
        )
    times = values.dtype.kind in "mM"
    numbers = (values - values[0]).astype("timedelta64[ns]").astype("int64") if times else values.astype("float64")
    steps = _steps(numbers, variable.attrs)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise RequestError(
            f"The coordinate {name!r} goes up and down, so its pixels are no neighbours: sort along it"
            f" (sortby({str(name)!r})), or drop it (drop_vars({str(name)!r})) if the pixels are in place."
        )
    fine = _read_at(numbers.astype("float64"), steps.astype("float64"), scale, corners)
    return xr.Variable(variable.dims, values[0] + np.rint(fine).astype("timedelta64[ns]") if times else fine)


def _steps(numbers: NDArray[Any], attributes: Mapping[Any, Any]) -> NDArray[Any]:
    steps = np.diff(numbers)
    return _around(steps) if _is_angle(attributes) else steps


def _read_at(numbers: NDArray[Any], steps: NDArray[Any], scale: int, corners: bool) -> NDArray[Any]:
    """Values at the finer positions; of even spacing from its ends, so that no rounding adds up."""
    positions = _positions(len(numbers), scale, corners=corners)
    even = (numbers[-1] - numbers[0]) / (len(numbers) - 1)
    if np.abs(numbers - (numbers[0] + even * np.arange(len(numbers)))).max() <= _EVEN * abs(even):
        return np.asarray(numbers[0] + even * positions)
    lower = _lower(positions, len(numbers))
    return np.asarray(numbers[lower] + (positions - lower) * steps[lower])


def _along(variable: xr.Variable, dim: Hashable, scale: int) -> xr.Variable:
    """Any other coordinate along ``dim``."""
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
    """Where the finer pixels' centres lie, counted in pixels from the first centre; or the corners from the first."""
    return np.arange(size * scale) / scale if corners else (np.arange(size * scale) + 0.5) / scale - 0.5


def _lower(positions: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    return np.clip(np.floor(positions), 0, size - 2).astype("int64")


def _is_angle(attributes: Mapping[Any, Any]) -> bool:
    return str(attributes.get("units", "")).lower().startswith("degree")


def _around(step: Any) -> Any:
    """The short way round: from 359.5 to 0.5 degrees is one degree."""
    return (step + 180) % 360 - 180


def _attributes(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Cell bounds name a variable on the coarse grid: they are dropped."""
    return {k: v for k, v in attributes.items() if k not in ("bounds", "actual_range", "valid_range")}


def _geotransform(text: str, scale: int) -> str:
    """GDAL's order: x of the corner, two steps, y of the corner, two steps; corners stay."""
    numbers: Iterable[float] = (float(v) for v in text.split())
    return " ".join(repr(v if i in (0, 3) else v / scale) for i, v in enumerate(numbers))


def _control_points(points: Any, scale: int) -> Any:
    """GeoJSON of ground control points: their pixel positions, counted from the corner, follow."""
    told = json.loads(points) if isinstance(points, str) else points
    features = [
        {**f, "properties": {k: v * scale if k in ("row", "col") else v for k, v in f["properties"].items()}}
        for f in told["features"]
    ]
    changed = {**told, "features": features}
    return json.dumps(changed) if isinstance(points, str) else changed
