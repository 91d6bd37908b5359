"""Read a TIFF's pixel size, origin and channels from OME-XML, ImageJ or plain tags."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isclose, isfinite
from typing import Any

from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.tiff.planes import first_position, planes_of
from swin2sr_ops.io.tiff.sets import ome_root
from swin2sr_ops.io.tiff.tags import GDAL_NODATA
from swin2sr_ops.io.tiff.vendors import vendor_of, vendor_sizes
from swin2sr_ops.io.units import unit_along, unit_name

__all__ = ["Place", "carried_planes", "channels_of", "nodata_of", "place_of"]

# Dots per inch that programs write by default, which say nothing about the object.
_DEFAULT_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 240, 250, 300, 350, 360, 400, 600, 720, 1200, 2400)


@dataclass
class Place:
    """Pixel size, origin and unit per axis letter, as in `ImageInfo`."""

    pixel_size: dict[str, float] = field(default_factory=dict)
    origin: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def add(self, axis: str, size: object, unit: object) -> None:
        """Set the pixel size along ``axis`` if it is a positive number."""
        value = _number(size)
        if value is not None and value > 0:
            self.pixel_size[axis] = value
            name = unit_along(axis, unit)
            if name:
                self.units[axis] = name

    def at_level(self, fine: Mapping[str, int], coarse: Mapping[str, int]) -> Place:
        """Compute the place of a pyramid level from the sizes of the full level and its own.

        TIFF does not store it. The level is assumed to have the image's corner, and a whole factor if
        rounding the size up or down explains the difference.
        """
        size, origin = dict(self.pixel_size), dict(self.origin)
        for axis in "YX":
            factor = fine[axis] / coarse[axis]
            whole = max(1, round(factor))
            if coarse[axis] in (fine[axis] // whole, -(-fine[axis] // whole)):
                factor = float(whole)
            if axis in size and factor != 1:
                origin[axis] = origin.get(axis, 0.0) + size[axis] / 2 * (factor - 1)
                size[axis] *= factor
        return Place(size, origin, dict(self.units))


def place_of(tiff: Any, page: Any, series: int) -> Place:
    """Read pixel sizes, origin and units of image ``series``, whose first page is ``page``."""
    if tiff.is_ome:
        return _ome_place(_ome_pixels(tiff, series))
    if tiff.is_imagej:
        return _imagej_place(tiff.imagej_metadata or {}, page)
    if tiff.is_shaped and series < len(tiff.shaped_metadata or ()):
        return _own_place(tiff.shaped_metadata[series]) or _tag_place(page)
    return _vendor_place(tiff, page)


def channels_of(tiff: Any, series: int, count: int) -> tuple[dict[str, Any], ...]:
    """Read names, colours and display ranges of ``count`` channels, if the file has them."""
    if tiff.is_ome:
        return _ome_channels(_ome_pixels(tiff, series), count)
    return _imagej_channels(tiff.imagej_metadata or {}, count) if tiff.is_imagej else ()


def nodata_of(page: Any) -> float | None:
    """Read GDAL's nodata tag, which is text."""
    return _number(str(page.tags.valueof(GDAL_NODATA, "")).strip("\0 "), finite=False)


def _number(value: object, *, finite: bool = True) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # a file may contain anything
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) or not finite else None


def _ome_pixels(tiff: Any, series: int) -> dict[str, Any]:
    """Return the ``Pixels`` element of an image, its attributes and children by name."""
    image = _listed(ome_root(tiff).get("Image"))
    pixels = image[series].get("Pixels", {}) if series < len(image) else {}
    return pixels if isinstance(pixels, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _ome_place(pixels: Mapping[str, Any]) -> Place:
    place = Place()
    for axis in "ZYX":
        place.add(axis, pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    place.add("T", pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    for axis in place.pixel_size.keys() & set("ZYX"):
        position = first_position(_ome_planes(pixels), axis, place.units.get(axis, ""))
        if position is not None:
            place.origin[axis] = position
    return place


def _ome_planes(pixels: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [plane for plane in _listed(pixels.get("Plane")) if isinstance(plane, dict)]


def carried_planes(tiff: Any, series: int, given: str, info: ImageInfo) -> dict[str, Any]:
    """Read the facts of single planes of an OME-TIFF's image, as `planes` has them; empty if there are none.

    Parameters
    ----------
    tiff, series
        As in `place_of`.
    given : str
        tifffile's axes of the image.
    info : ImageInfo
        The image, with its own axes.
    """
    if not tiff.is_ome:
        return {}
    pixels = _ome_pixels(tiff, series)
    axes = [axis for axis in zip(given, info.axes, info.shape, strict=True) if axis[0] not in "YXS"]
    place = _ome_place(pixels)
    sizes = {a: size for a, size in place.pixel_size.items() if a in info.axes}  # a single plane has none along Z
    return planes_of(_ome_planes(pixels), axes, sizes, place.origin, place.units)


def _ome_channels(pixels: Mapping[str, Any], count: int) -> tuple[dict[str, Any], ...]:
    channels = []
    for given in _listed(pixels.get("Channel"))[:count]:
        channel: dict[str, Any] = {}
        if isinstance(given, dict) and given.get("Name") not in (None, ""):
            channel["label"] = str(given["Name"])
        color = _number(given.get("Color")) if isinstance(given, dict) else None
        if color is not None:  # a signed 32-bit number: red, green, blue, alpha
            channel["color"] = f"{(int(color) & 0xFFFFFFFF) >> 8:06X}"
        channels.append(channel)
    return tuple(channels) if any(channels) else ()


def _imagej_place(metadata: Mapping[str, Any], page: Any) -> Place:
    place = Place()
    unit = metadata.get("unit")
    if unit_name(unit):
        for axis, tag in (("Y", "YResolution"), ("X", "XResolution")):
            place.add(
                axis, 1 / (_ratio(page.tags.valueof(tag)) or float("inf")), metadata.get(axis.lower() + "unit", unit)
            )
        place.add("Z", metadata.get("spacing"), metadata.get("zunit", unit))
    place.add("T", metadata.get("finterval"), metadata.get("tunit", "s"))
    return place


def _imagej_channels(metadata: Mapping[str, Any], count: int) -> tuple[dict[str, Any], ...]:
    """Read channels of ImageJ, which counts channels fastest; its labels may start with "c:1/3 z:2/5 - "."""
    labels, tables = _listed(metadata.get("Labels")), _listed(metadata.get("LUTs"))
    if metadata.get("channels", 1) != count:  # the labels belong to slices or frames
        labels = []
    ranges = metadata.get("Ranges") or ()
    channels: list[dict[str, Any]] = []
    for c in range(count):
        channel: dict[str, Any] = {}
        label = re.sub(r"^(?:[czt]:\d+/\d+\s*)+(?:-\s*)?", "", str(labels[c] or "")) if c < len(labels) else ""
        if label:
            channel["label"] = label
        if c < len(tables):
            channel["color"] = "".join(f"{int(v):02X}" for v in tables[c][:, -1])
        if len(ranges) >= 2 * c + 2:
            low, high = float(ranges[2 * c]), float(ranges[2 * c + 1])
            channel["window"] = {"start": low, "end": high, "min": low, "max": high}
        channels.append(channel)
    return tuple(channels) if any(channels) else ()


def _own_place(metadata: Mapping[str, Any]) -> Place | None:
    """Read the JSON that `TiffSink` writes if OME-XML does not know the pixel type."""
    if "swin2sr_ops" not in metadata:
        return None
    return Place(*(dict(metadata.get(key) or {}) for key in ("pixel_size", "origin", "units")))


def _vendor_place(tiff: Any, page: Any) -> Place:
    """Read vendors' tags, else the resolution tags; warn if a vendor's file has neither."""
    place = Place()
    for axis, size, unit in vendor_sizes(tiff, page):
        if unit_name(unit):  # "pixel" is not a length
            place.add(axis, size, unit)
    if {"Y", "X"} <= place.pixel_size.keys():
        return place
    tags = _tag_place(page)
    vendor = vendor_of(tiff)
    if vendor and not tags.pixel_size:
        warnings.warn(
            f"{tiff.filename!r} is a {vendor} file without a pixel size that can be read: the output has none, and"
            " other programs will use pixels as unit.",
            stacklevel=2,
        )
    return Place(place.pixel_size | tags.pixel_size, {}, place.units | tags.units)


def _tag_place(page: Any) -> Place:
    """Read the resolution tags, unless they have a default that says nothing about the object."""
    place = Place()
    inches = {2: 1.0, 3: 1 / 2.54}.get(int(page.tags.valueof("ResolutionUnit", 1) or 1))  # per resolution unit
    rows, columns = _ratio(page.tags.valueof("YResolution")), _ratio(page.tags.valueof("XResolution"))
    if inches is None or not rows or not columns:
        return place
    if columns == 1 or any(isclose(columns / inches, dpi, rel_tol=0.005) for dpi in _DEFAULT_DPI):
        return place
    for axis, per_unit in (("Y", rows), ("X", columns)):
        place.add(axis, 25400 * inches / per_unit, "µm")
    return place


def _ratio(value: Any) -> float | None:
    """Convert a TIFF rational, two numbers, to a float; None if it is not positive."""
    pair = value if isinstance(value, tuple) and len(value) == 2 else (value, 1)
    over, under = _number(pair[0]), _number(pair[1])
    return over / under if over and under and over > 0 and under > 0 else None
