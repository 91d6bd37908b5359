"""Groups and arrays beside an image, or beside the images of an archive, which a restoration leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from swin2sr_ops.io.zarr.ngff import ome_attributes
from swin2sr_ops.io.zarr.store import child_names, naming, open_node, zarr_root

__all__ = ["beside_image", "beside_images"]


def beside_image(uri: str, group: str, storage_options: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """List what lies in an image group beside the levels of its images: ``labels``, ``tables``, other groups."""
    with naming(uri, "its groups cannot be listed"):
        root = zarr_root(uri, storage_options)
        ome = ome_attributes(open_node(root, group).attrs.asdict())
        images = ome.get("multiscales") or ()
        levels = [str(dataset.get("path", "")) for image in images for dataset in image.get("datasets") or ()]
        return _others(child_names(root, group), levels)


def beside_images(root: Any, images: Iterable[str]) -> tuple[str, ...]:
    """List what lies in the root of an archive beside the groups that lead to its images."""
    return _others(child_names(root, ""), [*images, "OME"])


def _others(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    firsts = {path.strip("/").split("/")[0] for path in known}
    return tuple(name for name in names if name not in firsts)
