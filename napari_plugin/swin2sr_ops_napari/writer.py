"""File > Save Selected Layers: an image layer as OME-Zarr 0.5, chunk by chunk, with pyramid, place and units."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin2sr_ops import create_sink
from swin2sr_ops.errors import RequestError
from swin2sr_ops.hosting import regions
from swin2sr_ops_napari.layers import image_of

__all__ = ["write_ome_zarr"]


def write_ome_zarr(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one layer, out of core; as napari's writers are called.

    Parameters
    ----------
    path : str
        Ending in ``.zarr``.
    data : array or list of arrays
        Levels where ``attributes["multiscale"]``; the pyramid is made anew from the first.
    attributes : dict
        The layer's: ``scale``, ``translate``, ``units``, ``axis_labels``, ``rgb``, ``metadata``, ...

    Raises
    ------
    RequestError
        The folder holds an image already, or the layer's axes do not fit OME-Zarr.
    """
    image = image_of(data, attributes)
    if not path.rstrip("/").lower().endswith(".zarr"):
        raise RequestError(f"{path!r} does not say that it is OME-Zarr: end the name with .ome.zarr.")
    sink = create_sink(path, image.info())
    try:
        for region in regions(image.shape, _unit(sink.write_unit, image.shape, image.axes)):
            sink[region] = np.asarray(image.levels[0][region])
        sink.finish((attributes.get("metadata") or {}).get("swin2sr_ops") or {})
    except BaseException:
        sink.abort()
        raise
    return [path]


def _unit(unit: tuple[int, ...], shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """Whole chunks, a few at a time along Y and X: lazy layers are computed in larger pieces."""
    return tuple(min(u * 2, n) if a in "YX" else u for u, n, a in zip(unit, shape, axes, strict=True))
