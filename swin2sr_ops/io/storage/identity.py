"""Identify an image by sizes, times and small documents, without reading its pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Any

from swin2sr_ops.io.base import ComposedSource, IdentifiedSource, ImageSource
from swin2sr_ops.io.storage.paths import local_path

__all__ = ["identity_of", "stamp_of"]


def identity_of(source: ImageSource) -> dict[str, Any]:
    """Return facts that change when the image changes; its location does not count.

    A source provides them in a method ``identity()``. For other sources they are the file's size and
    modification time; empty if the source is not a file.
    """
    if isinstance(source, IdentifiedSource):
        return source.identity()
    path = local_path(source.uri)
    if path is None or not path.is_file():
        return {}
    seen = os.stat(path)
    which = {name: getattr(source, name) for name in ("series", "level") if hasattr(source, name)}
    return {"bytes": seen.st_size, "changed": seen.st_mtime_ns, **which}


def stamp_of(source: ImageSource) -> str:
    """Return what changes whenever a file of the image is written, replaced or put back, even with its old time.

    It changes also where a file is only copied or renamed, so another stamp is a reason to look, not to refuse. Empty
    for what lies on no file system: a server's own times cannot be put back.
    """
    path = local_path(source.uri)
    own: list[str] = [] if path is None or not path.is_file() else [str(path)]
    names: Iterable[str] = source.files() if isinstance(source, ComposedSource) else own
    digest, empty = hashlib.sha256(), True
    for name in names:
        try:
            seen = os.stat(name)
        except OSError:  # it is gone, which its next reader says
            seen = os.stat_result((0,) * 10)
        digest.update(f"{seen.st_ino} {seen.st_ctime_ns} {seen.st_mtime_ns} {seen.st_size}\n".encode())
        empty = False
    return "" if empty else digest.hexdigest()[:32]
