"""Files behind layers: which file a layer shows, and a finished OME-Zarr as levels that a viewer reads. No Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np

from swin2sr_ops import open_source
from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.hosting import ImageSource
from swin2sr_ops_napari.layers import LayerImage

__all__ = ["FileOf", "array_beside", "file_of", "levels_of"]

#: Side of the square whose pixels are compared.
_LOOK = 64


@dataclass(frozen=True)
class FileOf:
    """The file that a layer shows; ``channel`` where it shows one of several."""

    source: ImageSource
    channel: int | None = None

    @property
    def uri(self) -> str:
        """Address of the file."""
        return self.source.uri


def _opened(layer: Any) -> ImageSource | None:
    own = (layer.metadata or {}).get("swin2sr_ops", {})
    uri = own.get("uri") if isinstance(own, dict) else None
    uri = uri or getattr(layer.source, "path", None)
    try:
        return open_source(uri) if uri else None
    except (FormatError, RequestError, OSError):
        return None


def file_of(layer: Any, image: LayerImage) -> FileOf | None:
    """The file that ``layer`` shows, or one channel of; None where there is none, or it holds something else.

    Readers of channels make a layer of each. The pixels in the middle are compared: a layer may have been given
    other data since it was opened.
    """
    source = _opened(layer)
    if source is None:
        return None
    info = source.info
    if image.dtype != info.dtype or ("S" in info.axes) != ("S" in image.axes):
        return None
    if image.shape == info.shape:
        return FileOf(source) if _same(source, image, None) else None
    if image.shape != tuple(n for n, a in zip(info.shape, info.axes, strict=True) if a != "C"):
        return None
    for channel in range(info.size("C")):
        if _same(source, image, channel):
            return FileOf(source, channel)
    return None


def _same(source: ImageSource, image: LayerImage, channel: int | None) -> bool:
    """Return True if file and layer have the same pixels in the centre."""
    own = []
    for n, a in zip(image.shape, image.axes, strict=True):
        first = max(n // 2 - _LOOK // 2, 0) if a in "YX" else 0 if a == "S" else n // 2
        own.append(slice(first, min(first + _LOOK, n) if a in "YX" else n if a == "S" else first + 1))
    theirs = list(own)
    if channel is not None:
        theirs.insert(source.info.axes.index("C"), slice(channel, channel + 1))
    try:
        block = source.read(tuple(theirs))
    except (FormatError, OSError):
        return False
    shown = np.asarray(image.levels[0][tuple(own)])
    return np.array_equal(block.reshape(shown.shape), shown, equal_nan=shown.dtype.kind == "f")


def levels_of(path: str, axes: str, channel: int | None = None) -> list[da.Array]:
    """All levels of the OME-Zarr at ``path``, read where they are looked at, with the axes of a layer.

    Parameters
    ----------
    path : str
    axes : str
        The layer's; colour is stored as channels.
    channel : int, optional
        Take one channel, of an image with more axes than the layer.
    """
    from swin2sr_ops.hosting import open_node, zarr_root

    first: Any = open_source(path)
    levels = []
    for level in range(first.info.levels):
        source: Any = open_source(path, level=level)
        stored = open_node(zarr_root(path), source.path)
        levels.append(_arranged(stored, source.info.axes, axes, channel))
    return levels


def array_beside(path: str, name: str, axes: str, channel: int | None = None) -> da.Array:
    """Return the full-size array ``name`` that lies beside the pixels of the OME-Zarr at ``path``; see `levels_of`."""
    from swin2sr_ops.hosting import open_node, zarr_root

    return _arranged(open_node(zarr_root(path), f"{name}/0"), open_source(path).info.axes, axes, channel)


def _arranged(stored: Any, letters: str, axes: str, channel: int | None) -> da.Array:
    """Return a stored array with the axes of a layer."""
    array = da.from_array(stored, chunks=stored.chunks, name=False)
    if channel is not None:
        array = array[(slice(None),) * letters.index("C") + (channel,)]
        letters = letters.replace("C", "")
    wanted = axes if "S" not in axes else axes.replace("S", "C")
    return array.transpose([letters.index(a) for a in wanted])
