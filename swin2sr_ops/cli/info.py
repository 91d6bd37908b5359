"""Run ``swin2sr-ops info``."""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from typing import Any

from swin2sr_ops.cli.notes import warnings_as_notes
from swin2sr_ops.errors import FormatError, without_secrets
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.io.base import ImageInfo, json_ready

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Print facts about an image."""
    with warnings_as_notes():
        return _info(args)


def _info(args: argparse.Namespace) -> int:
    archive = None if args.array else _archive(args.src)
    if archive is not None:
        return _tell(archive, args)
    source = open_source(args.src, axes=args.axes, level=args.level, series=args.series, array=args.array)
    return _tell(_facts(without_secrets(source.uri), source.info) | _rasters(args), args)


def _tell(facts: dict[str, Any], args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps(json_ready(facts)))
        return 0
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            print(f"{name.replace('_', ' '):<12}{_text(value)}")
    return 0


def _archive(uri: str) -> dict[str, Any] | None:
    """Return facts about a Zarr of many images; None if ``uri`` is something else."""
    from swin2sr_ops.io.zarr.collection import open_collection

    try:
        found = open_collection(uri)
    except FormatError:
        return None  # `open_source` reports the error, and knows more kinds of addresses
    if found is None or (len(found.images) == 1 and found.kind != "plate"):
        return None
    return {
        "source": uri,
        "kind": found.kind,
        "format": ("Zarr " if found.version.startswith("v") else "OME-Zarr ") + found.version,
        "images": len(found.images),
        "paths": list(found.images),
        "missing": dict(found.missing),
        "left_out": list(found.left_out),
    }


def _facts(uri: str, info: ImageInfo) -> dict[str, Any]:
    return {
        "source": uri,
        "name": info.name,
        "format": info.format,
        "axes": info.axes,
        "shape": list(info.shape),
        "dtype": str(info.dtype),
        "bytes": info.nbytes,
        "chunks": list(info.chunks),
        "levels": info.levels,
        "pixel_size": info.pixel_size,
        "origin": info.origin,
        "units": info.units,
        "channels": list(info.channels),
        "nodata": info.nodata,
        **_place(info),
    }


def _rasters(args: argparse.Namespace) -> dict[str, Any]:
    """List the rasters in a file of several, and the index of this one."""
    if args.array or find_spec("rasterio") is None:
        return {}
    from swin2sr_ops.io.geo.source import rasters_in

    names = rasters_in(args.src)
    return {"rasters": names, "series": args.series or 0} if names else {}


def _place(info: ImageInfo) -> dict[str, Any]:
    """Return the georeference of a raster, and the colours of its bands."""
    geo = info.extra.get("geo")
    if geo is None:
        return {}
    return {
        "crs": _crs(geo["crs"] or geo["gcp_crs"]),
        "affine": geo["transform"],
        "bounds": _bounds(geo["transform"], info),
        "control_points": len(geo["gcps"]) or None,
        "rpcs": "yes" if geo["rpcs"] else None,
        "colours": geo["colorinterp"],
    }


def _crs(wkt: str | None) -> str | None:
    """Return ``EPSG:32632`` if the CRS has such a code, else WKT."""
    if wkt is None:
        return None
    from rasterio.crs import CRS

    return str(CRS.from_wkt(wkt).to_string())


def _bounds(affine: list[float] | None, info: ImageInfo) -> list[float] | None:
    """Return least x and y, largest x and y of the four corners, in units of the CRS."""
    if affine is None:
        return None
    a, b, c, d, e, f = affine
    corners = [(x, y) for x in (0, info.size("X")) for y in (0, info.size("Y"))]
    xs, ys = [a * x + b * y + c for x, y in corners], [d * x + e * y + f for x, y in corners]
    return [min(xs), min(ys), max(xs), max(ys)]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_number(v) if isinstance(v, float) else v}" for k, v in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(str(c.get("label", "?")) for c in value)
    if isinstance(value, list) and value and isinstance(value[0], str):
        shown = ", ".join(value[:8])
        return shown if len(value) <= 8 else f"{shown} and {len(value) - 8} more"
    if isinstance(value, list) and value and isinstance(value[0], float):
        return ", ".join(map(_number, value))
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: float) -> str:
    """Format with enough digits to locate a pixel anywhere on Earth."""
    return f"{value:.12g}"
