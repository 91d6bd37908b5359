"""Rasters of many bands: which are colours and go together, which go alone, which is opacity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swin2sr_ops.axes import AxisOrder
from swin2sr_ops.errors import ModelError
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.spec import ModelSpec

__all__ = ["Group", "Spectrum", "check_scales", "spectrum_of"]

#: Positions along C, in the order in which a network wants them.
Group = tuple[int, ...]


@dataclass(frozen=True)
class Spectrum:
    """Positions along C of the bands of a raster."""

    colour: Group  # red, green, blue; empty where the raster has none of its own
    lone: tuple[Group, ...]  # one each
    alpha: tuple[Group, ...]


def spectrum_of(info: ImageInfo, order: AxisOrder) -> Spectrum | None:
    """How the bands of ``info`` are grouped; None where all of them go alone.

    The names are the colour interpretation that GDAL gives bands, in ``info.extra["geo"]``.
    """
    geo = info.extra.get("geo") or {}
    names = [str(name).lower() for name in geo.get("colorinterp", ())]
    if order.channel is None or len(names) != info.size("C"):
        return None
    wanted = ("red", "green", "blue")
    colour = tuple(names.index(name) for name in wanted) if set(wanted) <= set(names) else ()
    alpha = tuple((i,) for i, name in enumerate(names) if name == "alpha")
    if not colour and not alpha:
        return None
    lone = tuple((i,) for i in range(len(names)) if i not in colour and (i,) not in alpha)
    return Spectrum(colour, lone, alpha)


def check_scales(specs: Sequence[ModelSpec]) -> None:
    """Refuse models that enlarge differently: bands of one raster lie on one another."""
    if len({spec.scale for spec in specs}) > 1:
        told = ", ".join(f"{spec.name} x{spec.scale}" for spec in specs)
        raise ModelError(f"The bands of one image cannot be enlarged differently ({told}): choose models of one scale.")
