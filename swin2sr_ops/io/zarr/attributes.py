"""Attributes of Zarr groups and arrays that are not ours to understand, but to carry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swin2sr_ops.io.base import json_ready

__all__ = ["ATTRIBUTE", "carried", "other_attributes"]

#: Where our provenance stands in what we write.
ATTRIBUTE = "swin2sr_ops"
_NGFF = frozenset({
    "multiscales", "omero", "ome", "labels", "image-label", "plate", "well", "series", "bioformats2raw.layout",
    "_creator", "version",
})  # fmt: skip
# Which other arrays of its group belong to an array: they do not come along.
_XARRAY = frozenset({"_ARRAY_DIMENSIONS", "coordinates"})
_MOST = 64 * 1024  # bytes of JSON: a table hidden in attributes is no metadata


def other_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What is neither NGFF's, nor ours, nor xarray's bookkeeping, JSON-ready."""
    return {k: json_ready(v) for k, v in attributes.items() if k not in _NGFF | _XARRAY and k != ATTRIBUTE}


def carried(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What `ImageInfo.extra` keeps of an image's attributes.

    ``attributes`` holds the others, in their order, as many as fit into 64 KB of JSON;
    ``attributes_left_out`` names those that do not; ``provenance`` is what we wrote ourselves.
    """
    kept: dict[str, Any] = {}
    left_out, size = [], 0
    for key, value in other_attributes(attributes).items():
        cost = len(json.dumps({key: value}))
        if size + cost > _MOST:
            left_out.append(key)
            continue
        kept[key] = value
        size += cost
    own = attributes.get(ATTRIBUTE)
    extra = {
        "attributes": kept,
        "attributes_left_out": left_out,
        "provenance": json_ready(dict(own)) if isinstance(own, Mapping) else {},
    }
    return {key: value for key, value in extra.items() if value}
