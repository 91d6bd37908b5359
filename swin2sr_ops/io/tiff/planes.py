"""Read and write facts of single planes in OME-XML: stage positions, times, exposures.

`ImageInfo` has one origin for all planes. ``info.extra["planes"]`` has the rest: ``axes`` and ``sizes`` count the
planes, and by OME's names (``PositionX``, ``DeltaT``, ...) there is a dict with ``values``, one per plane or None, the
last axis fastest, and their ``unit`` as OME spells it. A position also has ``origin``, that of the image when it
was read; its entry is None if the file has positions that cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose, isfinite
from typing import Any

import numpy as np

from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.units import OME_SYMBOLS, converted, unit_name

__all__ = ["first_position", "plane_attributes", "planes_of"]

_TIMES = ("DeltaT", "ExposureTime")
_UNPLACED = "reference frame"  # OME's unit of a position that has none


def first_position(planes: Sequence[Mapping[str, Any]], axis: str, unit: str) -> float | None:
    """Return the position of the first plane along ``axis``, converted to ``unit``; None if it has none.

    Parameters
    ----------
    planes : sequence of mapping
        Attributes of the ``Plane`` elements.
    axis : {"X", "Y", "Z"}
        Along Z, only planes with the index 0 count.
    unit : str
        Name of the unit of the pixel size, "" for pixels.
    """
    for plane in sorted(planes, key=lambda plane: [_index(plane, a) for a in "TZC"]):
        position = _position(plane, axis, unit)
        if position is not None and (axis != "Z" or _index(plane, "Z") == 0):
            return position
    return None


def planes_of(
    planes: Sequence[Mapping[str, Any]],
    axes: Sequence[tuple[str, str, int]],
    pixel_size: Mapping[str, float],
    origin: Mapping[str, float],
    units: Mapping[str, str],
) -> dict[str, Any]:
    """Collect the facts of single planes that an origin and a pixel size cannot express, as ``info.extra`` has them.

    Parameters
    ----------
    planes : sequence of mapping
        Attributes of the ``Plane`` elements.
    axes : sequence of (str, str, int)
        Each axis that counts planes: OME's letter, the image's letter, and its length.
    pixel_size, origin, units : mapping
        As in `ImageInfo`, of the full level.
    """
    if any(letter not in "TZC" for letter, _, _ in axes):  # tiles or angles: their planes have no index of their own
        return {}
    here = {tuple(_index(plane, a) for a in "TZC"): plane for plane in planes}
    ordered = [
        here.get(tuple(dict(zip((letter for letter, _, _ in axes), where, strict=True)).get(a, 0) for a in "TZC"), {})
        for where in np.ndindex(*(size for _, _, size in axes))
    ]
    found: dict[str, Any] = {}
    for name in _TIMES:
        item = _as_stored(ordered, name, "s")
        if item:
            found[name] = item
    for axis in "XYZ":
        if any(plane.get(f"Position{axis}") is not None for plane in ordered):
            found |= _positions(ordered, axis, pixel_size, origin, units)
    counted = {"axes": "".join(own for _, own, _ in axes), "sizes": [size for _, _, size in axes]}
    return {**counted, **found} if found else {}


def _positions(
    ordered: Sequence[Mapping[str, Any]],
    axis: str,
    pixel_size: Mapping[str, float],
    origin: Mapping[str, float],
    units: Mapping[str, str],
) -> dict[str, Any]:
    """Return the entry of the positions along ``axis``, empty if pixel size and origin express them."""
    name, first = f"Position{axis}", origin.get(axis)
    if axis not in pixel_size or first is None:
        # Planes do not become finer along Z, so positions in any unit stay true; along X and Y they move.
        stored = _as_stored(ordered, name, _UNPLACED) if axis == "Z" else None
        return {name: stored}
    unit = units.get(axis, "")
    values = [_position(plane, axis, unit) for plane in ordered]
    step = pixel_size[axis] if axis == "Z" else 0.0
    regular = [first + step * _index(plane, "Z") for plane in ordered]
    near = 1e-9 * pixel_size[axis]
    if all(v is not None and isclose(v, r, rel_tol=1e-12, abs_tol=near) for v, r in zip(values, regular, strict=True)):
        return {}
    return {name: {"values": values, "unit": OME_SYMBOLS.get(unit, "pixel"), "origin": first}}


def _as_stored(ordered: Sequence[Mapping[str, Any]], name: str, default: str) -> dict[str, Any] | None:
    """Return the values of ``name`` in the unit of the first one; None if no plane has any."""
    units = [str(plane.get(f"{name}Unit") or default) for plane in ordered if _number(plane.get(name)) is not None]
    if not units:
        return None
    first = unit_name(units[0])
    values = [_converted(_number(plane.get(name)), plane.get(f"{name}Unit") or default, first) for plane in ordered]
    return {"values": values, "unit": OME_SYMBOLS.get(first, units[0] if units[0] == "pixel" else default)}


def _position(plane: Mapping[str, Any], axis: str, unit: str) -> float | None:
    given = plane.get(f"Position{axis}Unit") or _UNPLACED
    # "pixel" may be a unit; "reference frame" says that there is none.
    return None if given == _UNPLACED else _converted(_number(plane.get(f"Position{axis}")), given, unit)


def _converted(value: float | None, given: object, unit: str) -> float | None:
    return None if value is None else converted(value, unit_name(given), unit)


def _index(plane: Mapping[str, Any], axis: str) -> int:
    return int(_number(plane.get(f"The{axis}")) or 0)


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # a file may contain anything
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None


def plane_attributes(info: ImageInfo, leading: str) -> list[dict[str, Any]]:
    """Return the attributes of each ``Plane`` element of ``info``, for planes counted by the axes ``leading``.

    Positions are those of the first pixel's centre: the source's planes keep their distances, and all of them move
    with the origin. The list is empty if there is nothing to say.
    """
    order = list(np.ndindex(*(info.size(a) for a in leading)))
    planes: list[dict[str, Any]] = [{} for _ in order]
    carried = _carried(info, leading)
    for axis in "XYZ":
        name = f"Position{axis}"
        if name not in carried and info.origin.get(axis) and axis in info.pixel_size:
            unit = OME_SYMBOLS.get(info.units.get(axis, ""), "pixel")  # as for the sizes
            for plane, where in zip(planes, order, strict=True):
                steps = where[leading.index(axis)] if axis in leading else 0
                plane |= {name: float(info.origin[axis] + steps * info.pixel_size[axis]), f"{name}Unit": unit}
    for name, item in carried.items():
        if item is None:
            continue
        shift = info.origin.get(name[-1], item["origin"]) - item["origin"] if "origin" in item else 0.0
        for plane, where in zip(planes, order, strict=True):
            value = item["values"][_number_of(where, leading, info.extra["planes"])]
            if value is not None:
                plane |= {name: value + shift, f"{name}Unit": item["unit"]}
    return planes if any(planes) else []


def _carried(info: ImageInfo, leading: str) -> dict[str, Any]:
    """Return the entries of the source's planes by name, if they are those of ``info``."""
    planes = info.extra.get("planes") or {}
    counted = zip(planes.get("axes", ""), planes.get("sizes", ()), strict=True)
    if not all(size == 1 or (axis in leading and info.size(axis) == size) for axis, size in counted):
        return {}
    return {name: item for name, item in planes.items() if name not in ("axes", "sizes")}


def _number_of(where: Sequence[int], leading: str, planes: Mapping[str, Any]) -> int:
    """Return the number, among the source's planes, of the output's plane at ``where``."""
    number = 0
    for axis, size in zip(planes["axes"], planes["sizes"], strict=True):
        number = number * size + (where[leading.index(axis)] if axis in leading else 0)
    return number
