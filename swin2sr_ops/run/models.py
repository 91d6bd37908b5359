"""Choose the models of an image: for its colours together, for other bands alone, for opacity none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from swin2sr_ops.errors import ModelError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.geo.metadata import bands_by_colour
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.qualities import is_quality

__all__ = ["Group", "Spectrum", "choose_models", "spectrum_of"]

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


Chosen = list[tuple[ModelSpec | None, tuple[Group, ...] | None]]


def choose_models(
    model: str | PathLike[str] | ModelSpec, scale: int | None, info: ImageInfo, order: AxisOrder
) -> Chosen:
    """Choose the model for each group of bands: colours enter the network together, others alone.

    Parameters
    ----------
    model : str, path or ModelSpec
        For a raster with red, green, blue and further bands, two names separated by a comma are possible.
    scale : int, optional
    info : ImageInfo
    order : AxisOrder

    Returns
    -------
    list of (ModelSpec or None, tuple of Group or None)
        No model for opacity; no groups if every plane enters alone.

    Raises
    ------
    ModelError
        If a model does not exist or does not fit the bands.
    """
    bands = spectrum_of(info, order)
    if bands is None:
        if isinstance(model, str) and "," in model:
            raise ModelError(
                f"model={model!r} names several models, but only a raster with red, green and blue bands can use one"
                " for its colours and one for its other bands. Set the bands with `rio edit-info --colorinterp`."
            )
        return [(resolve_model(model, scale=scale, channels=order.model_channels), None)]
    names = [m.strip() for m in model.split(",")] if isinstance(model, str) else [model]
    if len(names) > (2 if bands.colour else 1):
        raise ModelError(f"model={model!r} names {len(names)} models: give one for colours and one for other bands.")
    first = resolve_model(names[0], scale=scale, channels=3 if bands.colour else 1)
    if first.channels not in (1, 3):  # a model of all bands
        return [(first, None)]
    chosen: Chosen = []
    lone = bands.lone
    if bands.colour and (first.channels == 3 or len(names) == 2):
        chosen.append((first, (bands.colour,)))
    else:
        lone = tuple(sorted((*((b,) for b in bands.colour), *lone)))
    if lone:
        # One named model restores all bands; a three-channel model receives a single band three times.
        same = len(names) == 1 and not (is_quality(names[0]) and bands.colour)
        chosen.append((first if same else resolve_model(names[-1], scale=first.scale, channels=1), lone))
    if bands.alpha:
        chosen.append((None, bands.alpha))
    _check_scales([spec for spec, _ in chosen if spec is not None])
    return chosen


def _check_scales(specs: Sequence[ModelSpec]) -> None:
    """Raise an error if models have different scales, because all bands of a raster share one grid."""
    if len({spec.scale for spec in specs}) > 1:
        scales = ", ".join(f"{spec.name} x{spec.scale}" for spec in specs)
        raise ModelError(f"All bands of an image need one scale, but the models have {scales}: choose others.")
