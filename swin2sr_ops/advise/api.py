"""Measure samples of an image, and recommend a model."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import asdict, dataclass
from itertools import product
from os import PathLike, fspath
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.advise.measure import Measured, measure, shared_detail, without_shared
from swin2sr_ops.advise.recommend import Advice, recommend
from swin2sr_ops.errors import without_secrets
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.io.base import ImageSource, Region, json_ready
from swin2sr_ops.io.masks import valid_pixels
from swin2sr_ops.pixels.holes import invalid_pixels
from swin2sr_ops.pixels.intensity import check_dtype
from swin2sr_ops.run.models import spectrum_of
from swin2sr_ops.weights.qualities import names_of_quality

__all__ = ["AdviceReport", "advise"]

#: Side of a sample, a multiple of 8 so that JPEG blocks start at the same offset in all; number of samples per channel.
_SIDE, _SAMPLES = 256, 16
#: Largest number of channels that are measured.
_CHANNELS = 8


@dataclass(frozen=True)
class AdviceReport:
    """Describe the measurements and the recommendation.

    Attributes
    ----------
    source : str
    channels : dict
        Measurements by channel name; channels with one value only are omitted.
    advice : Advice
        The recommendation for the most demanding channel: the one with the strongest noise.
    pixels : int
        Number of measured pixels.
    """

    source: str
    channels: dict[str, Measured]
    advice: Advice
    pixels: int

    def to_dict(self) -> dict[str, Any]:
        """Return the report's fields, JSON-ready."""
        found: dict[str, Any] = json_ready(asdict(self))
        return found

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.pixels / 1e6:.2f} megapixels measured"]
        lines += [f"  {name:<12}{_words(one)}" for name, one in self.channels.items()]
        lines += [f"  note: {note}" for note in self.advice.notes]
        advice = self.advice
        more = "".join(f" {name} {value}" for name, value in advice.options.items())
        named = f"{advice.model}{_quality_of(advice.model)}" if advice.model else "none fits"
        lines.append(f"model: {named}{f' (with{more})' if more else ''}")
        lines += [f"  {reason}" for reason in advice.reasons]
        if advice.trained:
            lines.append(f"  Trained on {advice.trained}.")
        lines += [f"  or {name}{_quality_of(name)}: {what}" for name, what in advice.others.items()]
        return "\n".join(lines)


def advise(
    source: str | PathLike[str],
    *,
    axes: str | None = None,
    level: int | None = None,
    series: int | None = None,
    array: str | None = None,
    nodata: float | None = None,
    seed: int = 0,
) -> AdviceReport:
    """Measure noise, JPEG blocks, sharpness and range on samples of an image, and recommend a model.

    Parameters
    ----------
    source : str or path
        An image that `swin2sr_ops.restore_image` accepts.
    axes, level, series, array, nodata
        As in `swin2sr_ops.restore_image`.
    seed : int
        Seed of the random samples.

    Returns
    -------
    AdviceReport

    Examples
    --------
    >>> advise("sample:cells").advice.model  # doctest: +SKIP
    'small-x2-gray'
    """
    opened = open_source(source, axes=axes, level=level, series=series, array=array)
    info = opened.info
    check_dtype(info.dtype)
    order = AxisOrder.of(info.shape, info.axes, last_c_is_colour=axes is not None)
    nodata = info.nodata if nodata is None else nodata
    bands = spectrum_of(info, order)
    opaque = set() if bands is None else {band for group in bands.alpha for band in group}
    samples = {
        name: [_sample(opened, order, region, nodata) for region in regions]
        for name, regions in _regions(order, _names(opened, order, opaque), seed).items()
    }
    pixels = sum(s.size for some in samples.values() for s in some)
    found = {name: one for name, some in samples.items() if (one := measure(some)) is not None}
    if order.channel is not None:  # colours of a photograph share noise, too: it is demosaicked and compressed
        shares = dict(zip(samples, shared_detail(list(samples.values())), strict=True))
        found = {name: without_shared(one, shares[name]) for name, one in found.items()}
    colour = order.model_channels == 3 or (bands is not None and bool(bands.colour))
    shown = without_secrets(fspath(source))
    if not found:
        reason = "All measured pixels have one value: there is nothing to restore."
        return AdviceReport(shown, {}, Advice(None, (reason,)), pixels)
    worst = max(found.values(), key=lambda one: (one.sigma255, one.blocks))
    return AdviceReport(shown, found, recommend(worst, colour=colour), pixels)


def _names(source: ImageSource, order: AxisOrder, opaque: Container[int]) -> dict[int, str]:
    """Return position and name of the channels or colours; one name for an image without any."""
    if order.colour is not None:
        names = ["red", "green", "blue"][: order.colours] if order.colours >= 3 else ["gray"]
        return dict(enumerate(names))
    if order.channel is None:
        return {0: "image"}
    labels = [str(channel.get("label", "")) for channel in source.info.channels]
    chosen = [i for i in range(order.shape[order.channel]) if i not in opaque][:_CHANNELS]
    return {i: labels[i] if i < len(labels) and labels[i] else f"channel {i}" for i in chosen}


def _regions(order: AxisOrder, names: dict[int, str], seed: int) -> dict[str, list[Region]]:
    """Choose squares at multiples of 8 px for each channel, in planes from the whole image."""
    rows, columns = order.shape[order.y], order.shape[order.x]
    corners = list(product(range(0, max(rows - 31, 1), _SIDE), range(0, max(columns - 31, 1), _SIDE)))
    found: dict[str, list[Region]] = {}
    for number, name in names.items():
        random = Random(seed)  # noqa: S311  # samples, no secret; channels have theirs at the same places
        chosen = random.sample(corners, min(_SAMPLES, len(corners)))
        regions = [_region(order, number, y, x, random) for y, x in chosen]
        found[name if name not in found else f"{name} {number}"] = regions
    return found


def _region(order: AxisOrder, number: int, y: int, x: int, random: Random) -> Region:
    region = []
    for axis, n in enumerate(order.shape):
        if axis == order.y:
            region.append(slice(y, min(y + _SIDE, n)))
        elif axis == order.x:
            region.append(slice(x, min(x + _SIDE, n)))
        else:
            at = number if axis in (order.colour, order.channel) else random.randrange(n)
            region.append(slice(at, at + 1))
    return tuple(region)


def _sample(source: ImageSource, order: AxisOrder, region: Region, nodata: float | None) -> NDArray[Any]:
    """Read one plane, rows first, with NaN for invalid pixels."""
    block = source.read(region)
    valid = valid_pixels(source, None, order, region)
    invalid = invalid_pixels(block, nodata, valid)
    if invalid is not None:
        block = np.where(invalid, np.nan, block.astype(np.float64))
    plane = block.squeeze(tuple(a for a in range(block.ndim) if a not in (order.y, order.x)))
    return plane if order.y < order.x else plane.T


def _quality_of(name: str) -> str:
    """Return the word that also names this model; ``best`` is ``good`` in eight views."""
    word = next((word for word in ("good", "fast") if name in names_of_quality(word)), "")
    return f" ({word})" if word else ""


def _words(one: Measured) -> str:
    parts = [f"{one.low:g} to {one.high:g}", f"noise {one.sigma255:.1f} of 255"]
    if one.noise.gain > 0:
        parts.append(f"{one.photons:.0f} photons")
    parts.append(f"JPEG blocks {one.blocks:.0%}" if one.blocks else "no JPEG blocks")
    parts.append(f"signal up to {one.cutoff:.2f} cycles/px" if one.cutoff else "no limit of the signal found")
    if one.shared:
        parts.append(f"{one.shared:.0%} of the finest detail is another channel's, too, and is not noise")
    if one.saturated:
        parts.append(f"{one.saturated:.2%} saturated")
    return ", ".join(parts)
