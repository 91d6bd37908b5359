"""``swin2sr-ops info``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from swin2sr_ops.io.base import ImageInfo, json_ready
from swin2sr_ops.plugins import open_source

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Print what an image is."""
    source = open_source(args.src, axes=args.axes, level=args.level, series=args.series, array=args.array)
    facts = _facts(source.uri, source.info)
    if args.json:
        print(json.dumps(json_ready(facts)))
        return 0
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            print(f"{name.replace('_', ' '):<12}{_text(value)}")
    return 0


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
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)
