"""Read and change the documents of wells and plates: one task at a time changes them, and writes them completely."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import FormatError
from swin2sr_ops.hosting import acquire, files_at, local_path, lock_for, ome_attributes

__all__ = ["add_to_well", "alone", "attributes_of", "in_well", "split"]

#: Seconds that a task waits for other tasks of the same well, which change its document in milliseconds.
PATIENCE = 60.0
_LOCK = ".swin2sr_ops.lock"


def split(url: str) -> tuple[str, str]:
    """Split a group's URL into parent and name."""
    parent, _, name = url.rstrip("/").rpartition("/")
    return parent, name


def attributes_of(url: str) -> dict[str, Any] | None:
    """Return the attributes of the group at ``url``; None if there is none."""
    found = _document(url)
    return None if found is None else _attributes(*found)


def in_well(zarr_url: str) -> bool:
    """Return True if the group that contains ``zarr_url`` is a well that lists it."""
    parent, name = split(zarr_url)
    images = (ome_attributes(attributes_of(parent) or {}).get("well") or {}).get("images") or ()
    return any(str(image.get("path")) == name for image in images)


def add_to_well(zarr_url: str, target: str) -> None:
    """List ``target`` in the well of ``zarr_url``, with the same acquisition, unless it is listed.

    Consolidated metadata of the well and the plate are removed, because they would hide the new image.
    """
    well, name = split(zarr_url)
    new = split(target)[1]

    def add(attributes: dict[str, Any]) -> int:
        images = ome_attributes(attributes)["well"]["images"]
        if not any(str(image["path"]) == new for image in images):
            own = next(image for image in images if str(image["path"]) == name)
            images.append({**own, "path": new})
        return len(images)

    count = _edit(well, add)
    plate = well.rsplit("/", 2)[0]

    def at_least(attributes: dict[str, Any]) -> int:
        content = ome_attributes(attributes).get("plate") or {}
        if "field_count" in content:
            content["field_count"] = max(int(content["field_count"]), count)
        return count

    if "plate" in ome_attributes(attributes_of(plate) or {}):
        _edit(plate, at_least)


def _edit(url: str, change: Callable[[dict[str, Any]], int]) -> int:
    """Let ``change`` change the attributes of a group; write them if they differ."""
    files = files_at(url)
    with alone(url):
        found = _document(url)
        if found is None:
            raise FormatError(f"The group {url!r} was removed during this task.")
        key, document = found
        before = json.dumps(document)
        result = change(_attributes(key, document))
        if key == "zarr.json":
            document.pop("consolidated_metadata", None)
        elif files.read(".zmetadata") is not None:
            files.remove(".zmetadata")
        if json.dumps(document) != before:
            files.write(key, json.dumps(document, indent=2).encode())
    return result


def _document(url: str) -> tuple[str, dict[str, Any]] | None:
    """Return name and content of the document with a group's attributes."""
    files = files_at(url)
    for key, mark in (("zarr.json", "zarr.json"), (".zattrs", ".zgroup")):
        if files.read(mark) is None:
            continue
        try:
            content = json.loads(files.read(key) or b"{}")
        except ValueError as exc:
            raise FormatError(f"The metadata of the group {url!r} are not valid JSON: {exc}.") from exc
        if isinstance(content, dict):
            return key, content
    return None


def _attributes(key: str, document: dict[str, Any]) -> dict[str, Any]:
    if key == ".zattrs":
        return document
    attributes: dict[str, Any] = document.setdefault("attributes", {})
    return attributes


@contextmanager
def alone(url: str) -> Iterator[None]:
    """Allow one task at a time to change the documents of the group at ``url``."""
    path = local_path(url)
    lock = lock_for(files_at(url), None if path is None else Path(path) / _LOCK, _LOCK, url)
    acquire(lock, PATIENCE)
    try:
        yield
    finally:
        lock.release()
