"""Read NGFF's coordinate transformations: scales, translations, sequences of them, and alternatives."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["PhysicalPlace", "place_of"]

#: Scale and translation, one number per axis.
PhysicalPlace = tuple[list[float], list[float]]


class _NoPlace(Exception):
    """A transformation that is more than a scale and a translation; the text says how."""


def place_of(transforms: Any, ndim: int, where: str) -> PhysicalPlace:
    """Return the scale and translation that ``transforms`` give to ``ndim`` axes.

    Entries that name an output are alternatives, one per coordinate system: the first one counts that is
    a scale, a translation or both; an identity counts only if there is nothing else. Entries without
    names are applied one after the other. A warning names each transformation that is not kept; the
    pixels do not depend on it.
    """
    steps = [step for step in _listed(transforms) if isinstance(step, Mapping)]
    if len(steps) > 1 and all(_output(step) for step in steps):
        return _chosen(steps, ndim, where)
    place = _unity(ndim)
    for step in steps:
        try:
            place = _after(place, _single(step, ndim))
        except _NoPlace as exc:
            _say_lost(where, step, exc)
    return place


def _chosen(steps: Sequence[Mapping[str, Any]], ndim: int, where: str) -> PhysicalPlace:
    """Return scale and translation of the first coordinate system that has them."""
    places: list[tuple[str, PhysicalPlace]] = []
    for step in steps:
        try:
            places.append((_output(step), _single(step, ndim)))
        except _NoPlace as exc:
            _say_lost(where, step, exc)
    if not places:
        return _unity(ndim)
    name, chosen = next((found for found in places if found[1] != _unity(ndim)), places[0])
    others = [repr(other) for other, place in places if place not in (chosen, _unity(ndim))]
    if others:
        warnings.warn(
            f"{where!r} has several coordinate systems: scale and translation of {name!r} are kept, not those of"
            f" {', '.join(others)}.",
            stacklevel=2,
        )
    return chosen


def _say_lost(where: str, step: Mapping[str, Any], reason: Exception) -> None:
    system = f" to {_output(step)!r}" if _output(step) else ""
    warnings.warn(
        f"{where!r} has a coordinate transformation{system} that is not kept: {reason}. The pixels do not need it.",
        stacklevel=2,
    )


def _single(step: Mapping[str, Any], ndim: int) -> PhysicalPlace:
    kind = step.get("type")
    if kind == "identity":
        return _unity(ndim)
    if kind == "sequence":
        place = _unity(ndim)
        for inner in _listed(step.get("transformations")):
            place = _after(place, _single(inner, ndim))
        return place
    if kind not in ("scale", "translation") or not isinstance(step.get(kind), (list, tuple)):
        raise _NoPlace(
            f"its type is {kind!r}" if kind not in ("scale", "translation") else f"its {kind} is stored elsewhere"
        )
    values = [float(v) for v in step[kind]]
    if len(values) != ndim:
        raise ValueError(f"{kind} {values} for {ndim} axes")
    return (values, [0.0] * ndim) if kind == "scale" else ([1.0] * ndim, values)


def _after(first: PhysicalPlace, second: PhysicalPlace) -> PhysicalPlace:
    """Combine two transformations: apply ``first``, then ``second`` to its result."""
    scale = [a * b for a, b in zip(first[0], second[0], strict=True)]
    shift = [a * b + c for a, b, c in zip(first[1], second[0], second[1], strict=True)]
    return scale, shift


def _unity(ndim: int) -> PhysicalPlace:
    return [1.0] * ndim, [0.0] * ndim


def _output(step: Mapping[str, Any]) -> str:
    """Return the name of the coordinate system that ``step`` leads to; "" if it names none."""
    output = step.get("output")
    return str(output.get("name") or "") if isinstance(output, Mapping) else str(output or "")


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
