"""Check that the outputs fit the disk before anything runs."""

from __future__ import annotations

import os

from swin2sr_ops.batch.cost import Estimate, ImagePlan, size_of
from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.storage.paths import local_path

__all__ = ["check_disk"]

#: Typical compressed size relative to the size of the pixels.
_COMPRESSED = 0.7
#: No image compresses below this share: if even that does not fit, raise an error instead of a warning.
_LEAST = 0.5


def check_disk(found: Estimate, *, overwrite: bool = False) -> str:
    """Return a warning if the outputs may not fit the disk, else an empty string.

    A TIFF or PNG is encoded at the end from arrays of the same size, so the largest one counts twice.
    Existing outputs, finished or partial, need no space again.

    Raises
    ------
    OutputError
        If not even half of their bytes fit.
    """
    if found.free_bytes is None:
        return ""
    todo = [image for image in found.todo if overwrite or not _is_there(image)]
    staged = max((image.staged_bytes for image in todo), default=0)
    need = sum(image.output_bytes for image in todo) + staged
    if need * _COMPRESSED > found.free_bytes and not overwrite:
        need = max(need - sum(_written(image) for image in todo), 0)
    if need * _COMPRESSED <= found.free_bytes:
        return ""
    beside = f" ({size_of(staged)} of it until the largest is encoded)" if staged else ""
    needed = f"the outputs take {size_of(need)}{beside} before compression, and {size_of(found.free_bytes)} are free"
    if need * _LEAST > found.free_bytes:
        raise OutputError(
            f"There is too little space: {needed} on the disk. Free some, choose another place, or give --no-disk-check"
            " if you know that the images compress well."
        )
    return f"{needed} on the disk: it may run full."


def _is_there(image: ImagePlan) -> bool:
    path = local_path(image.output)
    return path is not None and path.exists()


def _written(image: ImagePlan) -> int:
    """Estimate the uncompressed bytes that a partial output has already written."""
    path = local_path(image.output)
    if path is None:
        return 0
    partial = path.with_name(path.name + ".partial")
    files = (os.path.join(folder, name) for folder, _, names in os.walk(partial) for name in names)
    # Compressed chunks represent more bytes than their files have.
    return int(sum(os.path.getsize(name) for name in files) / _COMPRESSED)
