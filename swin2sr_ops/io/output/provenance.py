"""Read the provenance in an output of this program, in any format."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin2sr_ops.io.storage.files import files_at
from swin2sr_ops.io.storage.paths import local_path

__all__ = ["read_provenance"]

_NAME = "swin2sr_ops"


def read_provenance(uri: str) -> dict[str, Any] | None:
    """Read the provenance of the output at ``uri``; None if it does not exist or is not this program's."""
    path = local_path(uri)
    if path is None or path.is_dir():
        return _of_zarr(uri)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"\x89PNG"):
        return _of_png(path)
    return _of_tiff(path) if start[:2] in (b"II", b"MM") else None


def _parsed(text: str | bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text or b"null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _of_zarr(uri: str) -> dict[str, Any] | None:
    files = files_at(uri)
    if files.read(".zgroup") is not None:
        attributes: Any = _parsed(files.read(".zattrs"))
    else:
        attributes = (_parsed(files.read("zarr.json")) or {}).get("attributes")
    own = attributes.get(_NAME) if isinstance(attributes, Mapping) else None
    return dict(own) if isinstance(own, Mapping) else None


def _of_png(path: Path) -> dict[str, Any] | None:
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind != b"iTXt":
                file.seek(size + 4, 1)
                continue
            body = file.read(size + 4)[:-4]
            if body.startswith(_NAME.encode() + b"\0"):
                packed, text = body[len(_NAME) + 1], body[len(_NAME) + 5 :]
                return _parsed(zlib.decompress(text) if packed else text)
    return None


def _of_tiff(path: Path) -> dict[str, Any] | None:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            if tiff.is_ome:
                return _of_ome(tiff.ome_metadata or "")
            shaped = tiff.shaped_metadata
            if shaped:
                return _parsed(shaped[0].get(_NAME))
    except (tifffile.TiffFileError, OSError, ValueError, KeyError, IndexError, struct.error):
        return None  # not a finished output of this program
    from swin2sr_ops.io.geo import cog

    return cog.read_provenance(path)


def _of_ome(xml: str) -> dict[str, Any] | None:
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(xml)  # noqa: S314  # the user's own output
    except ElementTree.ParseError:
        return None
    for note in root.iter():
        if note.tag.endswith("CommentAnnotation") and note.get("Namespace") == _NAME:
            return _parsed("".join(value.text or "" for value in note))
    return None
