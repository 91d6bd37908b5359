"""Reject options of an output that its format does not have."""

from __future__ import annotations

from collections.abc import Iterable

from swin2sr_ops.errors import RequestError

__all__ = ["reject_options"]

_OWNERS = {"creation": "a Cloud Optimized GeoTIFF (.tif, of a georeferenced image)"}
_ZARR = "OME-Zarr (.zarr)"


def reject_options(names: Iterable[str], format: str) -> None:
    """Raise an error if there are ``names`` of options, which ``format`` does not have.

    Raises
    ------
    RequestError
        With the format that has the first of them.
    """
    for name in names:
        raise RequestError(f"{name!r} is not an option of {format}: only {_OWNERS.get(name, _ZARR)} has it.")
