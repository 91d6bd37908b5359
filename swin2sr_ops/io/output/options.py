"""Reject options of an output that its format does not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from swin2sr_ops.errors import RequestError

__all__ = ["reject_options"]

_OWNERS = {"creation": "a Cloud Optimized GeoTIFF (.tif, of a georeferenced image)"}
_ZARR = "OME-Zarr (.zarr)"


def reject_options(names: Iterable[str], format: str) -> None:
    """Raise an error if there are ``names`` of options, which ``format`` does not have.

    Raises
    ------
    RequestError
        With all of them, and the formats that have them.
    """
    owned: dict[str, list[str]] = {}
    for name in names:
        owned.setdefault(_OWNERS.get(name, _ZARR), []).append(name)
    if not owned:
        return
    given = [name for group in owned.values() for name in group]
    are = "is not an option" if len(given) == 1 else "are not options"
    has = ["it" if len(given) == 1 else "them"] if len(owned) == 1 else [_listed(group) for group in owned.values()]
    owners = " and ".join(f"only {owner} has {what}" for owner, what in zip(owned, has, strict=True))
    raise RequestError(f"{_listed(given)} {are} of {format}: {owners}.")


def _listed(names: Sequence[str]) -> str:
    *some, last = map(repr, names)
    return f"{', '.join(some)} and {last}" if some else last
