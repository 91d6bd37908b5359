"""Define the accessor: it turns a labelled array into a lazy labelled array on the finer grid."""

from __future__ import annotations

import sys
from builtins import range as range_of  # `range` is a keyword of `restore`
from collections.abc import Hashable, Mapping, Sequence
from math import isnan
from os import PathLike
from typing import Any, Literal

import xarray as xr

import swin2sr_ops
from swin2sr_ops import ModelSpec, RequestError, Swin2SROpsError
from swin2sr_ops.hosting import AxisOrder, resolve_model, views_of
from swin2sr_ops_xarray.attributes import check_brightness, fresh_attributes, fresh_encoding, nodata_of
from swin2sr_ops_xarray.georeference import affine_of, fresh_grid
from swin2sr_ops_xarray.grid import Dims, bounds_of, finer, finer_mapping, note_dropped
from swin2sr_ops_xarray.names import Axes, letters_of, spatial_dims

__all__ = ["RestoreArray", "RestoreDataset"]

_SIDE = 1024  # chunk size along rows and columns, for arrays that are not Dask's yet

Nodata = float | Literal["auto"] | None
Model = str | PathLike[str] | ModelSpec


class RestoreArray:
    """``array.swin2sr``."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    @property
    def axes(self) -> str:
        """One letter per dimension, as `restore` would use them."""
        return letters_of(self._array)

    def restore(
        self,
        model: Model = "auto",
        *,
        axes: Axes = None,
        rgb: bool | None = None,
        scale: int | None = None,
        halo: int | Literal["exact"] = "exact",
        tile: int | tuple[int, int] | None = None,
        range: str | Sequence[float] = "auto",
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
        consistent: str | None = None,
        along: str | None = None,
        interval: float | None = None,
        calibration: str | PathLike[str] | None = None,
        nodata: Nodata = "auto",
    ) -> xr.DataArray:
        """Restore the array lazily, with the same pixels as `swin2sr_ops.restore`.

        Parameters
        ----------
        model, scale, halo, tile, range, device, precision, engine, consistent, along
            As in `swin2sr_ops.restore`.
        interval, calibration
            As in `swin2sr_ops.restore`: half widths, as a lazy coordinate ``half_width`` of every pixel.
        axes : str or mapping, optional
            A letter for each dimension, such as ``"TYX"``, or for some, such as ``{"scan": "Z"}``.
            Otherwise names and CF attributes decide: y, lat, row; x, lon, column; band, channel;
            time; z, level. Other dimensions are stacks of planes.
        rgb : bool, optional
            True if bands or channels (3 or 4) are colour and restored together; by default if
            the dimension is called rgb or colour, or comes last.
        nodata : float, "auto" or None
            Stored value of invalid pixels; ``"auto"`` uses rioxarray's nodata or ``_FillValue``,
            None uses none. NaN is always invalid.

        Returns
        -------
        xarray.DataArray
            Dask-backed; with the name, dimensions and attributes, coordinates on the finer grid
            along rows and columns, and the affine of ``spatial_ref``.

        Raises
        ------
        RequestError, ModelError, PlanError
            If the request cannot be carried out; the message says what to do.

        Examples
        --------
        >>> import numpy as np, xarray as xr, swin2sr_ops_xarray
        >>> field = xr.DataArray(np.zeros((40, 50), "f4"), {"lat": np.linspace(10, 0.25, 40)}, ("lat", "lon"))
        >>> fine = field.swin2sr.restore()
        >>> fine.shape, fine.lat.values[:2]
        ((80, 100), array([10.0625,  9.9375]))
        """
        request = dict(
            model=model, scale=scale, halo=halo, tile=tile, range=range, device=device, precision=precision,
            engine=engine, consistent=consistent, along=along, interval=interval, calibration=calibration,
        )  # fmt: skip
        return _restored(self._array, request, letters_of(self._array, axes, rgb), rgb, nodata)


class RestoreDataset:
    """``dataset.swin2sr``."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def restore(
        self,
        model: Model = "auto",
        *,
        axes: Mapping[Hashable, str] | None = None,
        rgb: bool | None = None,
        nodata: Nodata = "auto",
        **request: Any,
    ) -> xr.Dataset:
        """Restore every variable that has rows and columns, each with an intensity range of its own.

        Parameters
        ----------
        model, rgb, nodata, **request
            As in `RestoreArray.restore`.
        axes : mapping, optional
            Letters of dimensions whose names do not identify them.

        Returns
        -------
        xarray.Dataset
            Variables along rows or columns alone are treated like coordinates, cell bounds are
            dropped, and variables with neither are kept.

        Raises
        ------
        RequestError
            If no variable has rows and columns, or one cannot be restored; the message names it.
        """
        if request.get("interval") is not None:
            raise RequestError(
                "Half widths are a coordinate of one variable: restore it alone, with dataset[name].swin2sr.restore."
            )
        dataset = self._dataset
        options: dict[str, Any] = {"model": model, "axes": axes, "nodata": nodata, **request}
        chosen = {name: dims for name, array in dataset.data_vars.items() if (dims := spatial_dims(array, axes))}
        if not chosen:
            raise RequestError(
                f"None of the variables {', '.join(map(str, dataset.data_vars))} has rows and columns: name the"
                " dimensions y and x, or give axes, such as axes={'line': 'Y', 'pixel': 'X'}."
            )
        done = {name: _variable(dataset[name], rgb, options) for name in chosen}
        first = next(iter(chosen))
        scale = done[first].sizes[chosen[first][0]] // dataset.sizes[chosen[first][0]]
        return _together(dataset, done, chosen[first], scale)


def _restored(
    array: xr.DataArray, request: dict[str, Any], letters: str, rgb: bool | None, nodata: Nodata
) -> xr.DataArray:
    check_brightness(array)
    given = nodata_of(array) if nodata == "auto" else nodata
    lazy = _lazy(array, letters)
    if rgb is False and letters[-1] == "C":  # colour, as `restore` takes it, if it came last
        letters = "C" + letters[:-1]
        lazy = lazy.transpose(lazy.dims[-1], *lazy.dims[:-1])
    spec = _spec(lazy, letters, request["model"], request["scale"])
    views = views_of(request["model"])  # a spec states none
    asked = request | {"model": spec, "ensemble": views}
    restored = swin2sr_ops.restore(lazy.data, axes=letters, nodata=given, **asked)
    pixels, half = restored if isinstance(restored, tuple) else (restored, None)
    dims: Dims = (lazy.dims[letters.index("Y")], lazy.dims[letters.index("X")])
    scale = pixels.shape[letters.index("Y")] // array.sizes[dims[0]]
    result = xr.DataArray(pixels, dims=lazy.dims).transpose(*array.dims).rename(array.name)
    result = _indexed(array, result.assign_coords(_coordinates(array, dims, scale)))
    if half is not None:
        result = result.assign_coords(half_width=xr.DataArray(half, dims=lazy.dims).transpose(*array.dims).variable)
    settings = {"model": spec.name, "scale": scale, "halo": request["halo"], "range": request["range"]}
    settings |= {"ensemble": views} if views > 1 else {}
    settings |= {} if request["consistent"] is None else {"consistent": request["consistent"]}
    settings |= {} if request["along"] is None else {"along": request["along"]}
    result.attrs = fresh_attributes(
        array, given if nodata != "auto" else None, settings, (array.sizes[dims[0]], array.sizes[dims[1]])
    )
    result.encoding = fresh_encoding(array)
    return _known_to_rioxarray(array, result, dims)


def _lazy(array: xr.DataArray, letters: str) -> xr.DataArray:
    """Return the array as a Dask array; pixels in a file are not read for it."""
    if array.chunks is not None:
        return array
    side = {"Y": _SIDE, "X": _SIDE, "S": -1}
    colour = letters[-1] == "C" and array.shape[-1] in (3, 4)
    sides = [-1 if colour and i == array.ndim - 1 else side.get(letters[i], 1) for i in range_of(array.ndim)]
    return array.chunk(dict(zip(array.dims, sides, strict=True)))


def _coordinates(array: xr.DataArray, dims: Dims, scale: int) -> xr.Coordinates:
    """Return all coordinates of the result, with the indexes of those that do not change."""
    if scale == 1:
        return array.coords
    moved = {name: coord for name, coord in array.coords.items() if set(dims) & set(coord.dims)}
    stay = array.drop_vars(list(moved)).isel(dict.fromkeys(dims, 0)).coords
    mapped = finer_mapping(stay, scale)
    rest = stay.to_dataset().drop_vars(list(mapped)).coords
    return rest.assign({**mapped, **finer(moved, dims, scale, affine_of(array))})


def _indexed(array: xr.DataArray, result: xr.DataArray) -> xr.DataArray:
    """Add the indexes of scalar coordinates, such as a CRS, which do not depend on the grid."""
    for name, index in array.xindexes.items():
        if name in result.coords and name not in result.xindexes and result.coords[name].ndim == 0:
            kept = xr.Coordinates({name: result.coords[name].variable}, indexes={name: index})
            result = result.assign_coords(kept)
    return result


def _known_to_rioxarray(array: xr.DataArray, result: xr.DataArray, dims: Dims) -> xr.DataArray:
    """Copy the properties that rioxarray stores on the array object only, if rioxarray is imported."""
    if "rioxarray" not in sys.modules:
        return result
    y, x = dims
    result = result.rio.set_spatial_dims(x_dim=x, y_dim=y)
    if array.rio.crs is not None and result.rio.crs is None:
        result = result.rio.write_crs(array.rio.crs)
    if array.rio.nodata is not None and result.rio.nodata is None:
        result = result.rio.set_nodata(array.rio.nodata)
    return result


def _variable(array: xr.DataArray, rgb: bool | None, options: Mapping[str, Any]) -> xr.DataArray:
    """Restore one variable of a dataset; an error names it."""
    try:
        # Not every variable of a dataset need have bands.
        colour = rgb if rgb is None or {"C", "S"} & set(letters_of(array, options["axes"])) else None
        return RestoreArray(array).restore(rgb=colour, **options)
    except Swin2SROpsError as exc:
        raise type(exc)(
            f"The variable {array.name!r} cannot be restored: {exc} Omit it with drop_vars({str(array.name)!r})."
        ) from exc


def _together(dataset: xr.Dataset, done: Mapping[Hashable, xr.DataArray], dims: Dims, scale: int) -> xr.Dataset:
    bounds = bounds_of(dataset.coords.values()) if scale > 1 else set()
    note_dropped(bounds & dataset.variables.keys())
    rest = {n: a for n, a in dataset.data_vars.items() if n not in done and n not in bounds}
    moved = {n: a for n, a in rest.items() if set(dims) & set(a.dims)} if scale > 1 else {}
    variables: dict[Hashable, Any] = {n: a.variable for n, a in rest.items()} | dict(done) | finer(moved, dims, scale)
    variables |= finer_mapping({n: a for n, a in rest.items() if n not in moved}, scale)
    order = [name for name in dataset.data_vars if name in variables]
    size = dataset.sizes[dims[0]], dataset.sizes[dims[1]]
    whole = xr.Dataset({name: variables[name] for name in order}, attrs=fresh_grid(dataset.attrs, scale, size))
    lone = {n: c for n, c in dataset.coords.items() if n not in whole.coords and n not in bounds}
    lone_moved = {n: c for n, c in lone.items() if set(dims) & set(c.dims)} if scale > 1 else {}
    kept = {n: c.variable for n, c in lone.items() if n not in lone_moved}
    return whole.assign_coords({**kept, **finer(lone_moved, dims, scale)})


def _spec(array: xr.DataArray, letters: str, model: Model, scale: int | None) -> ModelSpec:
    """Return the model that `swin2sr_ops.restore` would use: attributes name it even if the request was ``"auto"``."""
    shape = [1 if isnan(size) else size for size in array.shape]  # `restore` itself refuses unknown sizes
    order = AxisOrder.of(shape, letters)
    return resolve_model(model, scale=scale, channels=order.model_channels)
