"""Assign roles to the bands of a raster: colours enter the network together, others alone, opacity not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swin2sr_ops.errors import ModelError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.geo.metadata import bands_by_colour
from swin2sr_ops.spec import ModelSpec

__all__ = ["Group", "Spectrum", "check_scales", "spectrum_of"]

#: Positions along C, in the order that a network expects.
Group = tuple[int, ...]


@dataclass(frozen=True)
class Spectrum:
    """Positions along C of the bands of a raster."""

    colour: Group  # red, green, blue; empty if the raster has none
    lone: tuple[Group, ...]  # one each
    alpha: tuple[Group, ...]


def spectrum_of(info: ImageInfo, order: AxisOrder) -> Spectrum | None:
    """Group the bands of ``info``; return None if every band enters alone.

    ``info.extra["geo"]`` of a raster says it: by the colour interpretation of its bands, or by
    bands that are called red, green and blue. ``info.extra["bands"]`` of a plain TIFF says it of its samples.
    """
    geo = info.extra.get("geo") or info.extra.get("bands") or {}
    if order.channel is None or len(geo.get("colorinterp", ())) != info.size("C"):
        return None
    found = bands_by_colour(geo)
    colour = tuple(found[name] for name in ("red", "green", "blue"))
    alpha = () if found["alpha"] is None else ((found["alpha"],),)
    if None in colour:
        colour = ()
    if not colour and not alpha:
        return None
    lone = tuple((i,) for i in range(info.size("C")) if i not in colour and (i,) not in alpha)
    return Spectrum(colour, lone, alpha)


def check_scales(specs: Sequence[ModelSpec]) -> None:
    """Raise an error if models have different scales, because all bands of a raster share one grid."""
    if len({spec.scale for spec in specs}) > 1:
        scales = ", ".join(f"{spec.name} x{spec.scale}" for spec in specs)
        raise ModelError(f"All bands of an image need one scale, but the models have {scales}: choose others.")
