"""Describe a georeferenced raster in plain numbers and strings.

`describe` reads an open rasterio dataset, `scaled` adapts the description to a new scale; this
module does not import rasterio. Keys of the description (all can be stored as JSON):

``crs``, ``transform``, ``area_or_point``
    WKT2; the six numbers a, b, c, d, e, f of the affine from pixel *corners*; GDAL's tag.
``gcps``, ``gcp_crs``
    Ground control points as ``[row, col, x, y, z, id, info]``, pixel positions from the corner.
``geolocation``
    GDAL's items for a location per pixel: datasets of x and y, offsets and steps.
``rpcs``
    Rational polynomial coefficients, strings under GDAL's names; offsets from a pixel *centre*.
``nodata``, ``descriptions``, ``colorinterp``, ``scales``, ``offsets``, ``units``, ``mask_flags``
    Lists with one entry per band.
``tags``, ``band_tags``, ``domains``, ``band_domains``
    Items of the dataset, of each band, and of other domains of both by name, except those
    that describe the file or its old pixels (structure, statistics).
``alpha``
    ``"premultiplied"`` if colours are stored multiplied by their opacity; the source adds it.
``driver``, ``layout``, ``photometric``
    Origin of the description: GDAL's driver; ``"COG"`` if the file is one; ``"miniswhite"`` if
    small values are bright.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import isfinite
from typing import Any

from swin2sr_ops.io.geo.address import absolute_address

__all__ = ["bands_by_colour", "channels_of", "describe", "is_georeferenced", "place", "scaled"]

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_STALE = ("STATISTICS_", "TIFFTAG_MINSAMPLEVALUE", "TIFFTAG_MAXSAMPLEVALUE", "OVR_RESAMPLING", "OVERVIEW_RESAMPLING")
_RESOLUTION = ("TIFFTAG_XRESOLUTION", "TIFFTAG_YRESOLUTION")
# Domains that describe the file rather than the image, or whose pixel positions are in other files.
_FILE_DOMAINS = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "RPC", "GEOLOCATION", "TIFF", "COG"}
_CENTRED = "PIXEL_CENTER"  # GDAL's name for positions relative to the centre of the first pixel
_COLOURS = ("red", "green", "blue", "alpha")
_DISPLAY = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}
_FOOT = 0.3048


def describe(dataset: Any) -> dict[str, Any]:
    """Collect all metadata of an open rasterio ``dataset`` that a copy should have too."""
    bands = range(1, dataset.count + 1)
    gcps, gcp_crs = dataset.gcps
    tags, structure = _fresh(dataset.tags()), dataset.tags(ns="IMAGE_STRUCTURE")
    spaces = [s for s in dataset.tag_namespaces() if _worth_keeping(s)]
    rpcs = dict(dataset.tags(ns="RPC"))
    return {
        "driver": dataset.driver,
        "layout": structure.get("LAYOUT"),
        "photometric": "miniswhite" if structure.get("MINISWHITE") == "YES" else None,
        "crs": _wkt(dataset.crs),
        "transform": _affine(dataset, placed=bool(dataset.crs) and not gcps and not rpcs),
        "area_or_point": tags.pop("AREA_OR_POINT", None),
        "gcps": [[p.row, p.col, p.x, p.y, p.z, p.id, p.info] for p in gcps],
        "gcp_crs": _wkt(gcp_crs),
        "rpcs": rpcs,
        "geolocation": _geolocation(dataset),
        "nodata": [_number(v) for v in dataset.nodatavals],
        "descriptions": list(dataset.descriptions),
        "colorinterp": [c.name for c in dataset.colorinterp],
        "scales": [float(v) for v in dataset.scales],
        "offsets": [float(v) for v in dataset.offsets],
        "units": list(dataset.units),
        "mask_flags": [[flag.name for flag in flags] for flags in dataset.mask_flag_enums],
        "tags": tags,
        "band_tags": [_fresh(dataset.tags(b)) for b in bands],
        "domains": {s: dict(dataset.tags(ns=s)) for s in spaces},
        "band_domains": [
            {s: dict(dataset.tags(b, ns=s)) for s in dataset.tag_namespaces(b) if _worth_keeping(s)} for b in bands
        ],
    }


def is_georeferenced(dataset: Any) -> bool:
    """Return True if an open ``dataset`` has a CRS, an affine, control points, RPCs or a location per pixel."""
    if dataset.crs or not _is_identity(dataset.transform) or dataset.gcps[0]:
        return True
    return bool(dataset.tags(ns="RPC") or dataset.tags(ns="GEOLOCATION"))


def scaled(geo: Mapping[str, Any], s: int) -> dict[str, Any]:
    """Adapt ``geo`` to ``s`` times finer pixels of the same ground; ``geo`` itself does not change.

    The corner does not move, so the bounds are the same: ``affine * Affine.scale(1 / s)``. GDAL
    measures pixel positions of control points from the corner, so they are multiplied by ``s``; those of
    RPCs are measured from the centre of the first pixel. Statistics describe the old pixels and are removed.
    """
    new = dict(geo)
    if geo.get("transform"):
        a, b, c, d, e, f = geo["transform"]
        new["transform"] = [a / s, b / s, c, d / s, e / s, f]
    new["gcps"] = [[row * s, col * s, *rest] for row, col, *rest in geo.get("gcps") or ()]
    if geo.get("rpcs"):
        new["rpcs"] = _scaled_rpcs(geo["rpcs"], s)
    if geo.get("geolocation"):
        new["geolocation"] = _scaled_geolocation(geo["geolocation"], s)
    tags = _fresh(geo.get("tags") or {})
    new["tags"] = {k: _times(v, s) if k in _RESOLUTION else v for k, v in tags.items()}
    new["band_tags"] = [_fresh(tags) for tags in geo.get("band_tags") or ()]
    return new


def _scaled_rpcs(rpcs: Mapping[str, str], s: int) -> dict[str, str]:
    new = dict(rpcs)
    for axis in ("LINE", "SAMP"):
        if f"{axis}_OFF" in new:
            new[f"{axis}_OFF"] = repr((float(new[f"{axis}_OFF"]) + 0.5) * s - 0.5)
        if f"{axis}_SCALE" in new:
            new[f"{axis}_SCALE"] = repr(float(new[f"{axis}_SCALE"]) * s)
    return new


def _scaled_geolocation(items: Mapping[str, str], s: int) -> dict[str, str]:
    """Scale steps and offsets, in pixels; offsets are measured from the corner unless `_CENTRED` is set."""
    new = dict(items)
    half = 0.5 if items.get("GEOREFERENCING_CONVENTION") == _CENTRED else 0.0
    for axis in ("PIXEL", "LINE"):
        offset, step = float(items.get(f"{axis}_OFFSET", 0)), float(items.get(f"{axis}_STEP", 1))
        new[f"{axis}_OFFSET"] = f"{(offset + half) * s - half:.17g}"
        new[f"{axis}_STEP"] = f"{step * s:.17g}"
    return new


def bands_by_colour(geo: Mapping[str, Any]) -> dict[str, Any]:
    """Assign bands to colours: ``{"red": 2, "green": 1, "blue": 0, "alpha": None, "others": [3, 4]}``.

    Positions count from 0. The colour interpretation decides. If it names none of red, green and
    blue, bands *called* "red", "green" and "blue" are taken. If one of the three is missing, none is
    assigned. Band codes (B02, B4) mean other colours on each satellite, so they are not used.
    """
    names = [str(c).lower() for c in geo.get("colorinterp") or ()]
    called = [str(d or "").strip().lower() for d in geo.get("descriptions") or ()]
    found: dict[str, Any] = {c: names.index(c) if c in names else None for c in _COLOURS}
    rgb = _COLOURS[:3]
    if all(found[c] is None for c in rgb):
        found.update({c: called.index(c) if c in called else None for c in rgb})
    if any(found[c] is None for c in rgb):
        found.update(dict.fromkeys(rgb))
    taken = {v for v in found.values() if v is not None}
    return {**found, "others": [b for b in range(max(len(names), len(called))) if b not in taken]}


def channels_of(geo: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return labels and display colours of the bands in NGFF's ``omero`` format; empty if there are none."""
    channels = []
    for name, description in zip(geo["colorinterp"], geo["descriptions"], strict=True):
        label = description or ("" if name in ("gray", "undefined") else name)
        channels.append({"label": label} if label else {})
        if name in _DISPLAY:
            channels[-1]["color"] = _DISPLAY[name]
    return tuple(channels) if any(channels) else ()


def place(dataset: Any) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Return pixel size, origin and units along Y and X for `ImageInfo`; empty if they do not fit.

    They fit a north-up affine with a projected CRS. Y increases with the rows there, while northings
    decrease: Y is *minus* the northing. So rows are at the right place relative to another raster, and
    `ImageInfo.scaled` keeps them there. The affine of `describe` remains authoritative.
    """
    a, b, c, d, e, f = dataset.transform[:6]
    if not (dataset.crs and dataset.crs.is_projected and b == d == 0 and a > 0 > e):
        return {}, {}, {}
    _, meters = dataset.crs.linear_units_factor
    name, factor = ("foot", 1.0) if meters == _FOOT else ("meter", float(meters))
    size = {"Y": -e * factor, "X": a * factor}
    origin = {"Y": (-f - e / 2) * factor, "X": (c + a / 2) * factor}
    return size, origin, {"Y": name, "X": name}


def _worth_keeping(space: str) -> bool:
    """Return True for domains of items; ``xml:`` and ``json:`` hold one text, which rasterio cannot pass on."""
    return space not in _FILE_DOMAINS and ":" not in space and not space.startswith("rio_")


def _affine(dataset: Any, *, placed: bool) -> list[float] | None:
    """Return the affine, for which rasterio gives the identity if there is none.

    With a CRS and no other georeference, pixels are its units: then the identity is valid too.
    """
    if _is_identity(dataset.transform) and not placed:
        return None
    return [float(v) for v in dataset.transform[:6]]


def _geolocation(dataset: Any) -> dict[str, str]:
    """Return the items with absolute addresses of the datasets of x and y."""
    items = dict(dataset.tags(ns="GEOLOCATION"))
    folder = os.path.dirname(dataset.name)
    for key in ("X_DATASET", "Y_DATASET"):
        name = items.get(key)
        if name is None:
            continue
        beside = os.path.join(folder, name)
        items[key] = absolute_address(name if os.path.exists(name) or not os.path.exists(beside) else beside)
    items.pop("X_DATASET_RELATIVE_TO_SOURCE", None)
    items.pop("Y_DATASET_RELATIVE_TO_SOURCE", None)
    return items


def _fresh(tags: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in tags.items() if not k.startswith(_STALE)}


def _is_identity(transform: Any) -> bool:
    return tuple(transform[:6]) == _IDENTITY


def _wkt(crs: Any) -> str | None:
    return crs.to_wkt(version="WKT2_2019") if crs else None


def _number(value: Any) -> float | int | str | None:
    """Convert a nodata value; strict JSON lacks NaN and infinity, which become their names."""
    if value is None or isinstance(value, int):
        return value
    return float(value) if isfinite(value) else str(float(value))


def _times(text: str, s: int) -> str:
    try:
        return f"{float(text) * s:.10g}"
    except ValueError:
        return text
