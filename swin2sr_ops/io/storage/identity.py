"""Is this still the image that it was? Sizes, times and small documents; never all pixels."""

from __future__ import annotations

import os
from typing import Any

from swin2sr_ops.io.base import IdentifiedSource, ImageSource
from swin2sr_ops.io.storage.paths import local_path

__all__ = ["identity_of"]


def identity_of(source: ImageSource) -> dict[str, Any]:
    """What changes when the image does; its place does not count.

    A source says it itself in a method ``identity()``. Of others, the file's size and time of its
    last change are taken, or nothing where it is no file.
    """
    if isinstance(source, IdentifiedSource):
        return source.identity()
    path = local_path(source.uri)
    if path is None or not path.is_file():
        return {}
    seen = os.stat(path)
    which = {name: getattr(source, name) for name in ("series", "level") if hasattr(source, name)}
    return {"bytes": seen.st_size, "changed": seen.st_mtime_ns, **which}
