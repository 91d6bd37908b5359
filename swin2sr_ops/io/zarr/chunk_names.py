"""Check that an array's chunks have the names that its metadata give; otherwise all pixels read as the fill value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from swin2sr_ops.errors import FormatError
from swin2sr_ops.io.zarr.documents import DOCUMENTS

__all__ = ["check_chunk_names"]

_LOOK_AT = 200  # most keys to check; one right name is enough
_DEEPEST = 6
_CHUNK = re.compile(r"(?:c[/.])?\d+(?:[/.]\d+)*")


def check_chunk_names(where: str, array: Any) -> None:
    """Reject an array that has chunks, but none under a name that its metadata give.

    Stores that cannot list their keys are not checked.

    Raises
    ------
    FormatError
        If all pixels would read as the fill value although chunks exist.
    """
    if not _worth_a_look(array):
        return
    strange = ""
    try:
        for key in islice(_keys(array.store_path, "", _DEEPEST), _LOOK_AT):
            if _is_name(array, key):
                return
            if not strange and _CHUNK.fullmatch(key) and _is_file(array.store_path, key):
                strange = key
    except (OSError, NotImplementedError):
        return
    if not strange:
        return
    expected = array.metadata.encode_chunk_key((0,) * array.ndim)
    remedy = (
        f' Its .zarray probably lacks "dimension_separator": {"/" if "/" in strange else "."!r}; add it to a copy.'
        if array.metadata.zarr_format == 2
        else " Correct the chunk_key_encoding in its zarr.json."
    )
    raise FormatError(
        f"{where!r} has chunks named {strange!r}, but its metadata name the first one {expected!r}: all pixels would"
        f" be read as empty.{remedy}"
    )


def _worth_a_look(array: Any) -> bool:
    """Return True if listing is cheap, or if the metadata are of the kind in which the names are often wrong."""
    if type(array.store_path.store).__name__ in ("LocalStore", "ZipStore"):
        return True
    return bool(array.metadata.zarr_format == 2 and array.metadata.dimension_separator == ".")


def _is_name(array: Any, key: str) -> bool:
    """Return True if the metadata give a chunk or shard the name ``key``."""
    numbers = [int(n) for n in re.findall(r"\d+", key)]
    if array.ndim != len(numbers):
        return False
    return bool(array.metadata.encode_chunk_key(tuple(numbers)) == key)


def _is_file(place: Any, key: str) -> bool:
    """Return True if ``key`` has a value: a folder whose chunks were removed has a chunk's name too."""
    from zarr.core.sync import sync

    return bool(sync((place / key).exists()))


def _keys(place: Any, inside: str, depth: int) -> Iterator[str]:
    """Iterate over keys below the array's path, folder by folder, if the store can list them."""
    from zarr.core.sync import sync  # zarr-python has no public function to list one folder

    async def listed() -> list[str]:
        found = []
        async for name in place.store.list_dir(f"{place.path}/{inside}".strip("/")):
            found.append(name.strip("/"))
            if len(found) >= _LOOK_AT:
                break
        return found

    for name in sync(listed()):
        if not name or name in DOCUMENTS or name.startswith("."):
            continue
        key = f"{inside}/{name}".lstrip("/")
        if re.fullmatch(r"c|\d+", name):  # a chunk, or a folder of chunks
            below = list(islice(_keys(place, key, depth - 1), _LOOK_AT)) if depth else []
            yield from below or [key]
        else:
            yield key
