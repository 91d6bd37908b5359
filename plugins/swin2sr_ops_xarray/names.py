"""Convert the names of dimensions to axis letters."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from string import ascii_uppercase

import xarray as xr

from swin2sr_ops import RequestError

__all__ = ["Axes", "letters_of", "spatial_dims"]

Axes = str | Mapping[Hashable, str] | None

_NAMES = {
    "Y": {"y", "lat", "latitude", "row", "rows", "northing", "projection_y_coordinate", "rlat", "grid_latitude"},
    "X": {"x", "lon", "long", "longitude", "col", "cols", "column", "columns", "easting", "projection_x_coordinate",
          "rlon", "grid_longitude"},
    "C": {"c", "channel", "channels", "band", "bands", "wavelength"},
    "S": {"s", "sample", "samples", "rgb", "rgba", "color", "colour"},
    "T": {"t", "time", "date", "datetime", "valid_time"},
    "Z": {"z", "depth", "plane", "slice", "level", "lev", "altitude", "height"},
}  # fmt: skip
_LETTERS = {name: letter for letter, names in _NAMES.items() for name in names}
_STANDARD_NAMES = {
    "latitude": "Y", "grid_latitude": "Y", "projection_y_coordinate": "Y",
    "longitude": "X", "grid_longitude": "X", "projection_x_coordinate": "X", "time": "T",
}  # fmt: skip


def letters_of(array: xr.DataArray, axes: Axes = None, rgb: bool | None = None) -> str:
    """Return one letter per dimension of ``array``.

    A dimension's own coordinate decides if it has CF's ``axis`` or ``standard_name``, else the
    dimension's name; unknown dimensions are stacks of
    planes.

    Raises
    ------
    RequestError
        If rows or columns cannot be identified, or ``axes`` or ``rgb`` do not fit.
    """
    if isinstance(axes, (list, tuple)):
        axes = "".join(map(str, axes))
    if isinstance(axes, str):
        if len(axes) != array.ndim:
            raise RequestError(
                f"axes={axes!r} has {len(axes)} letters, but the array has the {array.ndim} dimensions"
                f" {_listed(array)}: give one letter for each."
            )
        found: dict[Hashable, str] = dict(zip(array.dims, axes.upper(), strict=True))
    else:
        found = _known(array, {} if axes is None else axes)
        for letter, what in (("Y", "rows"), ("X", "columns")):
            if letter not in found.values():
                raise RequestError(
                    f"None of the dimensions {_listed(array)} is known to be {what}: name it {letter.lower()},"
                    f" or give axes, such as axes={_example(array, found)}."
                )
    found = _coloured(array, found, rgb)
    return "".join(found[dim] for dim in array.dims)


def _example(array: xr.DataArray, found: Mapping[Hashable, str]) -> str:
    """Return axes as an example for the user: a letter for rows and columns, if missing."""
    missing = [letter for letter in "YX" if letter not in found.values()]
    open_dims = [dim for dim in array.dims if found.get(dim) not in ("Y", "X")][-len(missing) :]
    return "{" + ", ".join(f"{str(dim)!r}: '{a}'" for dim, a in zip(open_dims, missing, strict=False)) + "}"


def spatial_dims(array: xr.DataArray, axes: Axes = None) -> tuple[Hashable, Hashable] | None:
    """Return the dimensions of rows and columns; None if ``array`` lacks one of them."""
    found = _known(array, axes if isinstance(axes, Mapping) else {})
    by_letter = {letter: dim for dim, letter in found.items()}
    return (by_letter["Y"], by_letter["X"]) if {"Y", "X"} <= by_letter.keys() else None


def _known(array: xr.DataArray, given: Mapping[Hashable, str]) -> dict[Hashable, str]:
    """Return a letter for every dimension: given, known, or unused by others."""
    found: dict[Hashable, str] = {dim: given[dim].upper() for dim in array.dims if dim in given}
    for dim in array.dims:
        letter = _letter(array, dim)
        if dim in found or letter is None:
            continue
        if letter not in found.values():
            found[dim] = letter
        elif letter in "YX":
            other = next(d for d, taken in found.items() if taken == letter)
            raise RequestError(
                f"Both {other!r} and {dim!r} look like {'rows' if letter == 'Y' else 'columns'}:"
                " give axes with the right letter for one, and another letter for the other."
            )
    spare = (letter for letter in ascii_uppercase if letter not in {*_NAMES, *found.values()})
    return found | {dim: next(spare) for dim in array.dims if dim not in found}


def _letter(array: xr.DataArray, dim: Hashable) -> str | None:
    attributes = array.coords[dim].attrs if dim in array.coords else {}
    axis = str(attributes.get("axis", "")).upper()
    if axis in ("T", "Z", "Y", "X"):
        return axis
    named = _STANDARD_NAMES.get(str(attributes.get("standard_name", "")))
    return named or _LETTERS.get(str(dim).lower())


def _coloured(array: xr.DataArray, found: dict[Hashable, str], rgb: bool | None) -> dict[Hashable, str]:
    """Apply ``rgb``, which makes a dimension of channels colour, or not."""
    wanted = {None: None, True: ("C", "S"), False: ("S", "C")}[rgb]
    if wanted is None or (rgb and "S" in found.values()):
        return found
    before, after = wanted
    dims = [dim for dim, letter in found.items() if letter == before]
    if rgb and not (dims and array.sizes[dims[0]] in (3, 4)):
        raise RequestError(
            f"rgb=True needs a dimension of 3 or 4 bands or channels, but the array has {_listed(array)}."
        )
    return found | dict.fromkeys(dims, after)


def _listed(array: xr.DataArray) -> str:
    return ", ".join(f"{dim} ({size})" for dim, size in array.sizes.items())
