"""The built-in formats, in the order in which they are asked."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from swin2sr_ops.io.base import ImageInfo, ImageSink, ImageSource, existing_path

__all__ = ["create_builtin_sink", "open_builtin_source"]

# Each knows its own kind by what is there, not by its place in this list; a module is loaded when
# its turn comes.
_SOURCES = ("zarr_source", "tiff_source", "picture")
_SINKS = ("zarr_sink", "tiff_sink", "picture")


def open_builtin_source(
    uri: str, *, axes: str | None = None, level: int = 0, series: int = 0, array: str | None = None
) -> ImageSource | None:
    """Open ``uri`` with the first built-in format that knows it, or return None.

    Parameters
    ----------
    uri : str
        A Zarr (folder or URL), a TIFF, or a picture.
    axes : str, optional
        One letter per dimension, where the image does not name them or names them wrongly.
    level, series : int
        Resolution level of a pyramid; image number in a TIFF.
    array : str, optional
        Path of a group or array inside a Zarr.

    Raises
    ------
    FormatError
        Nothing is there, or it is damaged, or holds no single image.
    RequestError
        An option does not fit what is there.
    """
    existing_path(uri)
    for name in _SOURCES:
        module = import_module(f"swin2sr_ops.io.{name}")
        source: ImageSource | None = module.open_source(uri, axes=axes, level=level, series=series, array=array)
        if source is not None:
            return source
    return None


def create_builtin_sink(uri: str, info: ImageInfo, **options: Any) -> ImageSink | None:
    """Start an output at ``uri`` in the built-in format that its suffix names, or return None.

    ``options`` are those of the format's own ``create_sink``; all of them have ``overwrite`` and
    ``source``.

    Raises
    ------
    OutputError
        The output may not or cannot be written there.
    RequestError
        The format cannot hold such an image, or has no such option.
    """
    for name in _SINKS:
        module = import_module(f"swin2sr_ops.io.{name}")
        sink: ImageSink | None = module.create_sink(uri, info, **options)
        if sink is not None:
            return sink
    return None
