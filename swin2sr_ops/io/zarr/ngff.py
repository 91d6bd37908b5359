"""Read and write OME-Zarr (NGFF) metadata: the attributes of an image group.

Versions 0.1 to 0.5 are read, and 0.6 if its transformations are scales and translations;
0.4 (Zarr v2) and 0.5 (Zarr v3) are written. Input and output are plain dictionaries; no Zarr library is used.
https://ngff.openmicroscopy.org
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.base import ImageInfo, listing
from swin2sr_ops.io.units import unit_along
from swin2sr_ops.io.zarr.omero import read_channels, read_rest
from swin2sr_ops.io.zarr.transformations import PhysicalPlace, place_of

__all__ = [
    "Level",
    "Multiscale",
    "axis_letters",
    "image_attributes",
    "label_attributes",
    "ome_attributes",
    "read_multiscale",
    "stored_axes",
]

_LETTERS = {
    "time": "T", "frame": "T", "channel": "C", "channels": "C", "band": "C", "bands": "C", "wavelength": "C",
    "depth": "Z", "plane": "Z", "lat": "Y", "latitude": "Y", "row": "Y", "rows": "Y", "northing": "Y",
    "lon": "X", "longitude": "X", "column": "X", "columns": "X", "col": "X", "easting": "X", "sample": "S",
    "samples": "S", "rgb": "S", "rgba": "S",
}  # fmt: skip
_TYPE_LETTER = {"time": "T", "channel": "C"}
_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
_RGB = (("Red", "FF0000"), ("Green", "00FF00"), ("Blue", "0000FF"), ("Alpha", "FFFFFF"))
_PALETTE = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


@dataclass(frozen=True)
class Level:
    """One resolution level: the array's path in the group, and pixel size and origin per axis."""

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Multiscale:
    """An image at several resolutions, as described by a group's attributes."""

    version: str
    name: str
    axes: str
    units: dict[str, str]
    levels: tuple[Level, ...]
    channels: tuple[dict[str, Any], ...]
    omero: dict[str, Any]


def ome_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OME part of a group's attributes: under ``"ome"`` since 0.5, at the top before."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def axis_letters(names: Sequence[object], types: Sequence[object] = ()) -> str | None:
    """Map each axis name ("y", "time", "band") to a letter; use its type if the name is unknown.

    None if name and type leave a letter open, or two axes would share one.
    """
    letters = []
    for i, given in enumerate(names):
        name = str(given).lower()
        kind = types[i] if i < len(types) else None
        letter = name.upper() if len(name) == 1 and name.isalpha() else _LETTERS.get(name)
        if letter is None and kind == "space":  # spatial axes come last, slowest first
            letter = "XYZ"[len(names) - 1 - i] if len(names) - 1 - i < 3 else None
        if letter is None:
            letter = _TYPE_LETTER.get(str(kind))
        if letter is None:
            return None
        letters.append(letter)
    axes = "".join(letters)
    return axes if len(set(axes)) == len(axes) and {"Y", "X"} <= set(axes) else None


def read_multiscale(attributes: Mapping[str, Any], where: str, axes: str | None = None) -> Multiscale | None:
    """Read the image described by ``attributes`` of the group ``where``; None if it is no image group.

    ``axes``, one letter each, replaces the names in the metadata.

    Raises
    ------
    FormatError
        If there are multiscales but they are not valid.
    """
    ome = ome_attributes(attributes)
    if "multiscales" not in ome:
        return None
    try:
        return _read(ome, where, axes)
    except RequestError:  # a ValueError too, but this package's own
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as exc:
        raise FormatError(
            f"The OME-Zarr metadata of {where!r} are broken ({type(exc).__name__}: {exc}): `multiscales` must list"
            " axes and datasets, each with a path and a scale."
        ) from exc


def _read(ome: Mapping[str, Any], where: str, given: str | None) -> Multiscale:
    if not isinstance(ome["multiscales"], Sequence):
        raise TypeError("it is not a list")
    first = ome["multiscales"][0]
    if len(ome["multiscales"]) > 1:
        names = listing(dict(enumerate(_names(ome["multiscales"]))))
        warnings.warn(
            f"{where!r} contains {len(ome['multiscales'])} images in one group ({names}); the first is used."
            " To read another, without its metadata, give array= with the array's path.",
            stacklevel=2,
        )
    version = str(ome.get("version") or first.get("version") or "0.4")
    axes, units = _read_axes(first, where, version, given)
    ndim = len(axes)
    # Letters that fit the array, unlike the metadata, which then cannot give a place to its axes.
    fits = given is None or len(_axis_entries(first) or given) == ndim
    outer = place_of(first.get("coordinateTransformations") if fits else None, ndim, where)
    levels = []
    for dataset in first["datasets"]:
        scale, shift = _dataset_place(dataset if fits else {}, ndim, where)
        # The dataset's transformations are applied first, then the multiscale's.
        levels.append(
            Level(
                path=str(dataset["path"]),
                scale=tuple(a * b for a, b in zip(scale, outer[0], strict=True)),
                translation=tuple(t * s + o for t, s, o in zip(shift, outer[0], outer[1], strict=True)),
            )
        )
    if not levels:
        raise ValueError("no datasets")
    channels = read_channels(ome.get("omero"))
    rest = read_rest(ome.get("omero"))
    return Multiscale(version, str(first.get("name") or ""), axes, units, tuple(levels), channels, rest)


def _names(multiscales: Sequence[Any]) -> list[str]:
    """Name of each image, or the path of its first array."""
    firsts = [image.get("datasets") or [{}] for image in multiscales]
    return [
        str(image.get("name") or first[0].get("path", "")) for image, first in zip(multiscales, firsts, strict=True)
    ]


def _dataset_place(dataset: Mapping[str, Any], ndim: int, where: str) -> PhysicalPlace:
    """Return pixel size and origin of one level: NGFF's transformations, or ``transform`` of OpenOrganelle's files."""
    own = dataset.get("transform")
    if isinstance(own, Mapping) and "coordinateTransformations" not in dataset and own.get("scale"):
        steps = [{"type": "scale", "scale": own["scale"]}]
        shift = own.get("translate", own.get("translation"))
        return place_of([*steps, *([{"type": "translation", "translation": shift}] if shift else [])], ndim, where)
    return place_of(dataset.get("coordinateTransformations"), ndim, where)


def _read_axes(
    multiscale: Mapping[str, Any], where: str, version: str, given: str | None
) -> tuple[str, dict[str, str]]:
    entries = _axis_entries(multiscale)
    if given is not None:  # the user's letters have priority; units go by position
        if entries is not None and len(entries) != len(given):  # the array decides which count is right
            warnings.warn(
                f"{where!r} describes {len(entries)} axes, and axes={given!r} names {len(given)}: pixel size and origin"
                " are left out.",
                stacklevel=2,
            )
            return given, {}
        return given, _units(given, entries or [{} for _ in given])
    if entries is None and version in ("0.1", "0.2"):  # these versions have five unnamed axes
        return "TCZYX", {}
    if entries is None:
        raise FormatError(
            f"{where!r} is OME-Zarr {version} and names no axes: name them with axes=, one letter each, such as 'CYX'."
        )
    names = [entry["name"] for entry in entries]
    axes = axis_letters(names, [entry.get("type") for entry in entries])
    if axes is None:
        raise FormatError(
            f"The axes {names} of {where!r} are not unique or unknown: name them t, c, z, y, x, or give their letters"
            " with axes=, one letter each, such as 'CYX'."
        )
    return axes, _units(axes, entries)


def _axis_entries(multiscale: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Return the description of each axis: ``axes``, 0.6's coordinate systems, or OpenOrganelle's ``transform``."""
    given = multiscale.get("axes")
    if given is None and multiscale.get("coordinateSystems"):
        systems = {str(system.get("name")): system for system in multiscale["coordinateSystems"]}
        steps = multiscale["datasets"][0].get("coordinateTransformations") or [{}]
        output = steps[0].get("output")
        name = str(output.get("name") if isinstance(output, Mapping) else output)
        given = systems.get(name, multiscale["coordinateSystems"][0])["axes"]
    own = multiscale["datasets"][0].get("transform")
    if given is None and isinstance(own, Mapping) and own.get("axes"):
        units = own.get("units") or [None] * len(own["axes"])
        given = [{"name": a, "unit": u} for a, u in zip(own["axes"], units, strict=True)]
    if given is None:
        return None
    return [{"name": a} if isinstance(a, str) else a for a in given]


def _units(axes: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    placed = [(a, entry.get("unit")) for a, entry in zip(axes, entries, strict=True) if a not in "CS"]
    named = {a: unit_along(a, unit) for a, unit in placed}
    return {a: unit for a, unit in named.items() if unit}


def stored_axes(axes: str) -> str:
    """Sort ``axes`` into NGFF's order: time, channel (or one custom axis), space.

    NGFF has no colour samples: S takes the place of the channel axis, and is called ``c`` in the file.

    Raises
    ------
    RequestError
        If two axes need the place of the channel axis.
    """
    middle = [a for a in axes if a not in "TZYX"]
    if len(middle) > 1:
        free = [a for a in "TZ" if a not in axes]
        remedy = f"name one of them {' or '.join(free)} with axes=" if free else "write one index at a time"
        raise RequestError(
            f"The axes {axes!r} do not fit OME-Zarr, which has time, one of {', '.join(middle)}, and space:"
            f" {'write .ome.tif' if set(middle) == set('CS') else remedy}."
        )
    return "".join(a for a in ("T", *middle, "Z", "Y", "X") if a in axes)


def image_attributes(
    info: ImageInfo, *, version: str, levels: int, name: str, ranges: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """Create the group attributes of an image with axes in the order of `stored_axes` and levels "0", "1", ...

    ``ranges`` holds the lowest and highest value to display, per channel.
    """
    axes = stored_axes(info.axes)
    ome: dict[str, Any] = {
        "multiscales": [
            {
                "name": name,
                "axes": [_axis(a, info.units) for a in axes],
                "datasets": [
                    {"path": str(k), "coordinateTransformations": _transforms(info, axes, k)} for k in range(levels)
                ],
                "type": "mean of 2x2 pixels",
            }
        ]
    }
    if ranges:
        ome["omero"] = {"channels": _channels(info, ranges), **info.extra.get("omero", {})}
    if version == "0.5":
        return {"ome": {"version": version, **ome}}
    ome["multiscales"][0]["version"] = version
    return ome


#: Value, colour and meaning of the flags beside an image.
_FLAGS: dict[str, list[tuple[int, list[int], str]]] = {
    "nodata_context": [
        (1, [255, 200, 0, 96], "restored from surroundings that contained nodata"),
        (2, [255, 0, 0, 160], "nodata"),
    ],
    "not_trusted": [
        (1, [255, 160, 0, 128], "the interval is wider than the limit"),
        (2, [200, 0, 255, 128], "the mean of the new pixels is off from the input by more than the noise"),
        (3, [255, 0, 0, 160], "both"),
        (4, [128, 128, 128, 160], "no value"),
    ],
}


def label_attributes(info: ImageInfo, *, version: str, name: str) -> dict[str, Any]:
    """Create the group attributes of the flags beside an image, by their name: a label image with one level."""
    attributes = image_attributes(info, version=version, levels=1, name=name, ranges=())
    known = _FLAGS[name]
    colors = [{"label-value": value, "rgba": rgba} for value, rgba, _ in known]
    meaning = [{"label-value": value, "meaning": text} for value, _, text in known]
    label = {"colors": colors, "properties": meaning, "source": {"image": "../../"}}
    if version == "0.5":
        attributes["ome"]["image-label"] = label
    else:
        attributes["image-label"] = {"version": version, **label}
    return attributes


def _axis(letter: str, units: Mapping[str, str]) -> dict[str, str]:
    axis = {"name": "c" if letter == "S" else letter.lower()}
    kind = "channel" if letter == "S" else _TYPES.get(letter)
    if kind is not None:  # a custom axis may have no type
        axis["type"] = kind
    if letter in units:
        axis["unit"] = units[letter]
    return axis


def _transforms(info: ImageInfo, axes: str, level: int) -> list[dict[str, Any]]:
    scale, shift = [], []
    for axis in axes:
        size, origin = info.pixel_size.get(axis, 1.0), info.origin.get(axis, 0.0)
        factor = 2**level if axis in "YX" else 1
        scale.append(size * factor)
        shift.append(origin + size / 2 * (factor - 1))  # a mean is centred amid its pixels
    return [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]


def _channels(info: ImageInfo, ranges: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    channels = []
    for i, (low, high) in enumerate(ranges):
        known = info.channels[i] if i < len(info.channels) else {}
        if "S" in info.axes and i < len(_RGB):
            label, color = _RGB[i]
        else:
            label, color = f"Channel {i}", "FFFFFF" if len(ranges) == 1 else _PALETTE[i % len(_PALETTE)]
        window = {"start": low, "end": high, "min": low, "max": high, **known.get("window", {})}
        merged = {"label": label, "color": color, "active": True, **known, "window": window}
        channels.append(merged | {"label": str(merged["label"])})  # some writers store numbers
    return channels
