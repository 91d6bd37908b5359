"""Warn of facts about an input that the format of the output leaves out, in the same words for all formats."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from swin2sr_ops.io.base import ImageInfo

__all__ = ["warn_of_opacity", "warn_of_orientation", "warn_of_positions"]

_NOTABLE = 0.01  # of a pixel: smaller differences between planes are noise of the stage


def warn_of_opacity(info: ImageInfo, kind: str, remedy: str = "") -> None:
    """Warn that colours stay multiplied by their opacity, and ``kind``, such as ``"OME-Zarr"``, does not say so."""
    if info.extra.get("alpha") == "premultiplied":
        warnings.warn(
            "The colours of the input are multiplied by their opacity (premultiplied alpha), which"
            f" {kind} cannot record: {remedy}divide them by the opacity before they are shown.",
            stacklevel=3,
        )


def warn_of_orientation(info: ImageInfo, kind: str) -> None:
    """Warn that the image is to be shown turned or mirrored, and ``kind`` does not say so."""
    if "orientation" in info.extra:
        warnings.warn(
            f"The input is to be shown turned or mirrored (TIFF orientation {info.extra['orientation']}), which {kind}"
            " cannot record: its rows and columns are as stored. Write .tif or .png to keep the orientation.",
            stacklevel=3,
        )


def warn_of_positions(info: ImageInfo, kind: str, *, per_plane: bool) -> None:
    """Say which stage positions an output lacks.

    Parameters
    ----------
    info : ImageInfo
        Image to write.
    kind : str
        Its format, for the message.
    per_plane : bool
        Whether the format has a position for each plane.
    """
    planes = info.extra.get("planes") or {}
    useless = [a for a in "XY" if f"Position{a}" in planes and planes[f"Position{a}"] is None]
    if useless:
        warnings.warn(
            f"The input's stage position along {' and '.join(useless)} is not in the output: it has no unit that can be"
            " converted to that of the pixel size, so where the finer pixels lie is not known. Set PositionXUnit,"
            " PositionYUnit and the physical sizes in the input's OME-XML to keep it.",
            stacklevel=3,
        )
    differing = [] if per_plane else [a for a in "XYZ" if _differ(info, planes.get(f"Position{a}"), a)]
    if differing:
        warnings.warn(
            f"The planes of the input have different stage positions along {' and '.join(differing)}: {kind} has one"
            " for all planes, and the first plane's is written. Write .ome.tif to keep all of them.",
            stacklevel=3,
        )


def _differ(info: ImageInfo, item: Mapping[str, Any] | None, axis: str) -> bool:
    """Return True if positions along ``axis`` lie off those of origin and pixel size by more than noise."""
    if not item or "origin" not in item:
        return False
    step = info.pixel_size.get(axis, 1.0)
    planes = info.extra["planes"]
    wheres = np.ndindex(*planes["sizes"])
    along = planes["axes"].find("Z") if axis == "Z" else -1
    off = [
        value - item["origin"] - (where[along] * step if along >= 0 else 0.0)
        for value, where in zip(item["values"], wheres, strict=True)
        if value is not None
    ]
    return any(abs(distance) > _NOTABLE * step for distance in off)
