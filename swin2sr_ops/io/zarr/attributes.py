"""Copy attributes of Zarr groups and arrays that this package does not interpret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swin2sr_ops.io.base import json_ready

__all__ = ["ATTRIBUTE", "carried", "other_attributes"]

#: Attribute that holds this package's provenance.
ATTRIBUTE = "swin2sr_ops"
_NGFF = frozenset({
    "multiscales", "omero", "ome", "labels", "image-label", "plate", "well", "series", "bioformats2raw.layout",
    "_creator", "version",
})  # fmt: skip
# xarray's list of other arrays in the group; these are not copied with the array.
_XARRAY = frozenset({"_ARRAY_DIMENSIONS", "coordinates"})
_MOST = 64 * 1024  # bytes of JSON: larger attributes hold tables rather than metadata


def other_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes except NGFF's, this package's and xarray's internal ones, ready for JSON."""
    return {k: json_ready(v) for k, v in attributes.items() if k not in _NGFF | _XARRAY and k != ATTRIBUTE}


def carried(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Select an image's attributes for `ImageInfo.extra`.

    ``attributes`` holds the other attributes in their order, as many as fit into 64 KB of JSON;
    ``attributes_left_out`` names the rest; ``provenance`` is what this package wrote.
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
