"""Write a new plate beside an old one: first its wells, then each image in a task of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.hosting import files_at, ome_attributes, open_collection, write_metadata
from swin2sr_ops_fractal.groups import alone, attributes_of, split
from swin2sr_ops_fractal.images import named, ngff_of, restore_to, updates

__all__ = ["begin_plates", "restore_field"]


def begin_plates(zarr_urls: Sequence[str], zarr_dir: str, suffix: str) -> dict[str, Any]:
    """Write plates and wells for images that other tasks will restore into them.

    Parameters
    ----------
    zarr_urls : sequence of str
        Images of plates, ``<plate>/<row>/<column>/<image>``.
    zarr_dir : str
        Folder for the new plates, ``<name of the plate>_<suffix>.zarr``.
    suffix : str
        Ending of their names.

    Returns
    -------
    dict
        Fractal's ``parallelization_list``: destination and source of each image.

    Raises
    ------
    RequestError
        If an image is in no plate.
    """
    plates: dict[str, list[str]] = {}
    for url in zarr_urls:
        plate, path = _place(url.rstrip("/"))
        plates.setdefault(plate, []).append(path)
    tasks = []
    for plate, paths in plates.items():
        target = f"{zarr_dir.rstrip('/')}/{split(named(plate, suffix))[1]}"
        _begin(plate, target, paths)
        tasks += [{"zarr_url": f"{target}/{path}", "init_args": {"origin_url": f"{plate}/{path}"}} for path in paths]
    return {"parallelization_list": tasks}


def restore_field(zarr_url: str, origin_url: str, **options: Any) -> dict[str, Any]:
    """Restore ``origin_url`` into ``zarr_url``, which `begin_plates` has prepared.

    Parameters
    ----------
    zarr_url, origin_url : str
        From the parallelization list.
    **options
        As in `swin2sr_ops_fractal.images.restore_to`.

    Returns
    -------
    dict
        Fractal's ``image_list_updates``: the new image belongs to the new plate; other attributes are the old one's.
    """
    restore_to(origin_url, zarr_url, **options)
    plate = zarr_url.rstrip("/").rsplit("/", 3)[0]
    return updates(origin_url, zarr_url, plate=split(plate)[1])


def _place(url: str) -> tuple[str, str]:
    """Plate of an image, and its path in there."""
    parts = url.rsplit("/", 3)
    if len(parts) == 4 and "plate" in ome_attributes(attributes_of(parts[0]) or {}):
        return parts[0], "/".join(parts[1:])
    raise RequestError(
        f"{url!r} is not the image of a plate (<plate>/<row>/<column>/<image>): use the task that restores single"
        " images."
    )


def _begin(plate: str, target: str, paths: Sequence[str]) -> None:
    """Plate and wells with what they had before and ``paths``; the pixels come later."""
    collection = open_collection(plate)
    if collection is None or collection.kind != "plate":
        raise FormatError(f"{plate!r} is not a readable plate.")
    unknown = [path for path in paths if path not in collection.images]
    if unknown:
        reason = dict(collection.missing).get(unknown[0], "its well does not list it")
        raise FormatError(f"The image {unknown[0]!r} of {plate!r} cannot be restored: {reason}")
    files = files_at(target)
    with alone(target):
        there = _listed(target)
        if there is None and (files.read("zarr.json") or files.read(".zgroup")):
            raise RequestError(f"{target!r} exists already and is not a plate of this task: choose another suffix.")
        kept = [path for path in collection.images if path in {*paths, *(there or ())}]
        provenance = {"source": plate}
        write_metadata(files, collection, kept, version=ngff_of(plate), provenance=provenance)


def _listed(plate: str) -> list[str] | None:
    """Images that a plate of this task lists so far; None where there is none."""
    attributes = attributes_of(plate) or {}
    found = ome_attributes(attributes).get("plate")
    if found is None or "swin2sr_ops" not in attributes:
        return None
    images = []
    for well in found.get("wells") or ():
        listed = ome_attributes(attributes_of(f"{plate}/{well['path']}") or {}).get("well") or {}
        images += [f"{well['path']}/{image['path']}" for image in listed.get("images") or ()]
    return images
