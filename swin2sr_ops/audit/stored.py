"""Open the arrays that a run wrote: the levels of an image, and what lies beside it; name those that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from swin2sr_ops.audit.compare import Difference, Stored
from swin2sr_ops.audit.metadata import differing_metadata
from swin2sr_ops.audit.record import Record
from swin2sr_ops.errors import FormatError
from swin2sr_ops.io.base import ImageInfo, ImageSource
from swin2sr_ops.io.output.pyramid import level_shapes
from swin2sr_ops.io.storage.files import Files, files_at
from swin2sr_ops.io.zarr.documents import DOCUMENTS
from swin2sr_ops.io.zarr.ngff import ome_attributes
from swin2sr_ops.io.zarr.sides import SIDE_ARRAYS, SideArray
from swin2sr_ops.io.zarr.store import is_zarr

__all__ = ["Opened", "opened_arrays"]

_EARLIER = (
    "Its provenance, which an earlier version wrote, names neither the arrays beside the image nor its levels: those"
    " that the output has are compared."
)


@dataclass
class Opened:
    """Arrays of an output that can be compared, and what is wrong with the others.

    Attributes
    ----------
    levels : list of Stored
        The image, and its smaller levels up to the first that cannot be read.
    sides : dict
        Arrays beside the image, by the names of `SIDE_ARRAYS`.
    faults : list of Difference
        Arrays that the run wrote and that cannot be read, and metadata that differ.
    notes : list of str
    """

    levels: list[Stored]
    sides: dict[str, Stored] = field(default_factory=dict)
    faults: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def compare_metadata(self, name: str, info: ImageInfo, source: ImageSource, place: str, level: int = 0) -> None:
        """Add what the metadata of an array say otherwise than the run writes."""
        reasons = differing_metadata(info, source.info, level)
        self.faults += [Difference(name, place, reason=reason) for reason in reasons]


def opened_arrays(
    uri: str, name: str, record: Record, first: ImageSource, info: ImageInfo, reopen: Callable[[str, int], ImageSource]
) -> Opened:
    """Open the arrays of an image of the output.

    Parameters
    ----------
    uri : str
        Address of the image.
    name : str
        Its path in an archive; empty for a single image.
    record : Record
        Its provenance, which names the arrays.
    first : ImageSource
        Its full level.
    info : ImageInfo
        The image that the run writes.
    reopen : callable
        ``reopen(path, level)`` opens another array of it.

    Raises
    ------
    FormatError
        If the full level is not that of ``info``.
    """
    opened = Opened([Stored.of(first, info)])
    opened.compare_metadata(name, info, first, "metadata")
    _open_levels(opened, name, record, info, reopen)
    if is_zarr(uri):
        _open_sides(opened, uri, name, record, info, reopen)
        if record.beside is None or record.levels is None:
            opened.notes.append(_EARLIER)
    return opened


def _open_levels(
    opened: Opened, name: str, record: Record, info: ImageInfo, reopen: Callable[[str, int], ImageSource]
) -> None:
    """Open the smaller levels: those in the provenance, or all if there is more than one."""
    listed, whole = opened.levels[0].source.info.levels, len(level_shapes(info.shape, info.axes))
    expected = record.levels or (whole if listed > 1 else 1)
    if listed > expected:
        reason = f"the metadata list {listed} levels, but the run wrote {expected}."
        opened.faults.append(Difference(name, "levels", reason=reason))
    for level in range(1, expected):
        try:
            if level >= listed:
                raise FormatError(f"the metadata list {listed} of the {expected} levels that the run wrote.")
            source = reopen("", level)
            opened.levels.append(Stored.of(source, info, level=level))
            opened.compare_metadata(name, info, source, f"metadata of level {level}", level)
        except FormatError as exc:
            smaller = " Smaller levels are not compared." if level + 1 < expected else ""
            opened.faults.append(Difference(name, f"level {level}", reason=f"cannot be read: {exc}{smaller}"))
            return


def _open_sides(
    opened: Opened, uri: str, name: str, record: Record, info: ImageInfo, reopen: Callable[[str, int], ImageSource]
) -> None:
    """Open the arrays beside the image."""
    files = files_at(uri)
    for side_name in _beside(record, files):
        side = SIDE_ARRAYS[side_name]
        try:
            if not _is_there(files, side):
                raise FormatError("the run wrote it, but the output lacks it.")
            source = reopen(side.group, 0)
            if not source.info.format.startswith("OME-Zarr"):
                raise FormatError("its group has no OME-Zarr metadata.")
            opened.sides[side_name] = Stored.of(source, replace(info, dtype=np.dtype(side.dtype)))
            opened.compare_metadata(name, info, source, f"metadata of {side_name}")
        except FormatError as exc:
            opened.faults.append(Difference(name, f"{side_name} ({side.group})", reason=f"cannot be read: {exc}"))


def _beside(record: Record, files: Files) -> list[str]:
    """Return the names of the arrays that the run wrote; if an earlier version did not note them, of those there."""
    if record.beside is not None:
        return [name for name in SIDE_ARRAYS if name in record.beside]
    listed = _labels(files)
    found = []
    for name, side in SIDE_ARRAYS.items():
        if name in ("interval", "not_trusted"):  # every version notes these in the settings
            written = name in record.settings
        else:
            written = side.label in listed or _is_there(files, side)
        if written:
            found.append(name)
    return found


def _is_there(files: Files, side: SideArray) -> bool:
    """Return True if the output has any file of the array."""
    if any(files.read(f"{path}/{name}") is not None for path in (side.path, side.group) for name in DOCUMENTS):
        return True
    return any(key.startswith(f"{side.group}/") for key in files.listing(side.group))


def _labels(files: Files) -> tuple[object, ...]:
    """Return the names of the label images that the group of labels lists."""
    try:
        node = json.loads(files.read("labels/zarr.json") or files.read("labels/.zattrs") or b"{}")
        listed = ome_attributes(node.get("attributes", node)).get("labels")
    except (ValueError, AttributeError):  # a damaged group: its labels are compared by their own files
        return ()
    return tuple(listed) if isinstance(listed, list) else ()
