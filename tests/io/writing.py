"""Write images by a format's sink, for the tests of all formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.testing import pieces


def info_of(image: np.ndarray, axes: str, **known: Any) -> ImageInfo:
    """Describe an image that is one chunk."""
    return ImageInfo(shape=image.shape, axes=axes, dtype=image.dtype, chunks=image.shape, **known)


def writer(create_sink: Callable[..., Any]) -> Callable[..., str]:
    """Return a function that writes an image by ``create_sink``, and returns its path."""

    def written(path, image, axes, *, known=None, provenance=None, **options):
        sink = create_sink(str(path), info_of(image, axes, **(known or {})), **options)
        for region in pieces(image.shape, sink.write_unit):
            sink[region] = image[region]
        sink.finish(provenance or {})
        return str(path)

    return written
