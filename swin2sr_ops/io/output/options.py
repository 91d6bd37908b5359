"""Describe the options of an output's format, and reject those that it does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swin2sr_ops.errors import RequestError

__all__ = ["FormatOption", "decisive", "reject_options"]

_OWNERS = {"creation": "a Cloud Optimized GeoTIFF (.tif, of a georeferenced image)"}
_ZARR = "OME-Zarr (.zarr)"


def _as_given(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class FormatOption:
    """What an option of a format means for its file.

    Attributes
    ----------
    default
        Value of ``create_sink`` if the option is not given, in the form of ``canonical``.
    canonical : callable
        Gives values that store the same bytes one form.
    stored : bool
        Whether the option changes the file.
    """

    default: Any
    canonical: Callable[[Any], Any] = _as_given
    stored: bool = True


def decisive(given: Mapping[str, Any], options: Mapping[str, FormatOption]) -> dict[str, Any]:
    """Return what of the ``given`` options changes a file, in canonical form: neither defaults nor None.

    Options that are not among ``options`` are returned as given; a plugin's format may have them.
    """
    found = {}
    for name, asked in given.items():
        option = options.get(name)
        value = asked if option is None or asked is None else option.canonical(asked)
        if value is not None and (option is None or (option.stored and value != option.default)):
            found[name] = value
    return found


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
