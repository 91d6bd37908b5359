"""``swin2sr-ops info``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from swin2sr_ops.errors import FormatError
from swin2sr_ops.io.base import ImageInfo, json_ready
from swin2sr_ops.plugins import open_source

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Print what an image is."""
    archive = None if args.array else _archive(args.src)
    if archive is not None:
        return _tell(archive, args)
    source = open_source(args.src, axes=args.axes, level=args.level, series=args.series, array=args.array)
    return _tell(_facts(source.uri, source.info), args)


def _tell(facts: dict[str, Any], args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps(json_ready(facts)))
        return 0
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            print(f"{name.replace('_', ' '):<12}{_text(value)}")
    return 0


def _archive(uri: str) -> dict[str, Any] | None:
    """Facts of a Zarr of many images; None where ``uri`` is something else."""
    from swin2sr_ops.io.collection import open_collection

    try:
        found = open_collection(uri)
    except FormatError:
        return None  # `open_source` says what is wrong, and knows more kinds of addresses
    if found is None or (len(found.images) == 1 and found.kind != "plate"):
        return None
    return {
        "source": uri,
        "kind": found.kind,
        "format": ("Zarr " if found.version.startswith("v") else "OME-Zarr ") + found.version,
        "images": len(found.images),
        "paths": list(found.images),
        "missing": dict(found.missing),
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
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(str(c.get("label", "?")) for c in value)
    if isinstance(value, list) and value and isinstance(value[0], str):
        shown = ", ".join(value[:8])
        return shown if len(value) <= 8 else f"{shown} and {len(value) - 8} more"
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)
