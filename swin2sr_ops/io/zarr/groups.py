"""Write the groups above the images of a restored plate, series or tree, in NGFF 0.4 or 0.5."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.base import json_ready
from swin2sr_ops.io.output.destination import disk_errors
from swin2sr_ops.io.storage.files import Files, files_at
from swin2sr_ops.io.zarr.attributes import ATTRIBUTE, other_attributes
from swin2sr_ops.io.zarr.collection import Collection, series_group
from swin2sr_ops.io.zarr.documents import GROUP_DOCUMENTS, ZARR_FORMATS
from swin2sr_ops.io.zarr.ngff import ome_attributes
from swin2sr_ops.io.zarr.ome_xml import rescale_ome_xml
from swin2sr_ops.io.zarr.store import naming, open_node, read_key, zarr_root

__all__ = ["group_documents", "ome_place", "write_metadata"]

_LAYOUT = "bioformats2raw.layout"
_OME_XML = "OME/METADATA.ome.xml"


def write_metadata(
    target: str | Path | Files,
    collection: Collection,
    restored: Sequence[str],
    *,
    scale: int = 1,
    version: str = "0.5",
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write the groups above the restored images, which finishes the output.

    Plates and wells list only the restored images, with all rows, columns and acquisitions; a
    series keeps its order and its OME-XML, adapted to the new size; other attributes of each
    group are copied. The root is written last: until then the output is no Zarr. A second call
    writes the same bytes.

    Parameters
    ----------
    target : str, Path or Files
        Location of the images, at the same paths as in ``collection``.
    collection : Collection
        The source.
    restored : sequence of str
        Those of ``collection.images`` that were restored.
    scale : int
        Their scale along Y and X.
    version : {"0.5", "0.4"}
        NGFF version of the restored images, independent of the source's.
    provenance : dict, optional
        Stored in the root's attribute ``swin2sr_ops``, with the paths of the restored ``images``.

    Raises
    ------
    RequestError
        If nothing was restored, an image is not in the collection, or the version is unknown.
    """
    _check(collection, restored, version)
    files = target if not isinstance(target, (str, Path)) else files_at(str(target))
    root = zarr_root(collection.uri, collection.storage_options)
    kept = [path for path in collection.images if path in set(restored)]
    with disk_errors(files.where):
        for group in _groups_above(kept):
            with naming(collection.uri, f"the metadata of its group {group!r} are not valid"):
                attributes = open_node(root, group).attrs.asdict() if _is_group(root, group) else {}
                documents = _documents(collection.uri, root, group, attributes, _below(group, kept), scale, version)
            if not group:
                own = {ATTRIBUTE: json_ready({**provenance, "images": kept} if provenance else {})}
                documents[""] = {**documents[""], **own}
            for path, content in documents.items():
                _write(files, path, content, version)


def _check(collection: Collection, restored: Sequence[str], version: str) -> None:
    if version not in ZARR_FORMATS:
        raise RequestError(f"version={version!r} is not valid: OME-Zarr is written as 0.5 or 0.4.")
    strange = [path for path in restored if path not in set(collection.images)]
    if strange or not restored:
        what = f"{strange[0]!r} is not one of" if strange else "none was restored of"
        raise RequestError(f"The metadata cannot be written: {what} the {len(collection.images)} images of"
                           f" {collection.uri!r}.")  # fmt: skip


def _groups_above(paths: Iterable[str]) -> list[str]:
    """List every group that contains one of ``paths``, the deepest first, the root last."""
    groups = {""}
    for path in paths:
        parts = path.split("/")
        groups.update("/".join(parts[:n]) for n in range(1, len(parts)))
    return sorted(groups, key=lambda group: (-len(group.split("/")) if group else 1, group))


def _is_group(root: Any, group: str) -> bool:
    """Return True if a group's document exists; a path may lead through plain folders."""
    return any(read_key(root, f"{group}/{name}".lstrip("/")) is not None for name in GROUP_DOCUMENTS)


def _below(group: str, paths: Iterable[str]) -> list[str]:
    inside = f"{group}/" if group else ""
    return [path.removeprefix(inside) for path in paths if path.startswith(inside)]


def _documents(
    uri: str, root: Any, group: str, attributes: Mapping[str, Any], below: list[str], scale: int, version: str
) -> dict[str, Any]:
    """Return paths and contents to write for ``group``, in order; the group itself comes last."""
    ome, meant = ome_attributes(attributes), dict[str, Any]()
    documents: dict[str, Any] = {}
    if _LAYOUT in ome:
        meant[_LAYOUT] = 3
        documents = _series_documents(uri, root, group, below, scale, version)
    if "plate" in ome:
        meant["plate"] = _plate(ome["plate"], below, version)
    if "well" in ome:
        meant["well"] = _well(ome["well"], below, version)
    documents[group] = {**ome_place(meant, version), **other_attributes(attributes)}
    return documents


def _series_documents(uri: str, root: Any, group: str, below: list[str], scale: int, version: str) -> dict[str, Any]:
    """Return the ``OME`` group beside the images: their order, and the OME-XML of the converted file."""
    place = f"{group}/OME".lstrip("/")
    attributes, listed, _ = series_group(uri, root, group)
    series = [name for name in listed if name in below] or below
    documents: dict[str, Any] = {}
    # Without a list, images are numbered as those of the OME-XML are.
    positions = {name: i for i, name in enumerate(listed)} or {n: int(n) for n in below if n.isdecimal()}
    kept = [positions[name] for name in series if name in positions]
    try:
        xml = read_key(root, f"{group}/{_OME_XML}".lstrip("/"))
        if xml is not None:
            documents[f"{group}/{_OME_XML}".lstrip("/")] = rescale_ome_xml(xml, scale, kept)
    except (FormatError, OSError) as exc:  # the pixels do not need it
        warnings.warn(f"{str(exc).rstrip('.')}. The output goes without it.", stacklevel=2)
    return {**documents, place: {**ome_place({"series": series}, version), **other_attributes(attributes)}}


def _plate(plate: Mapping[str, Any], below: list[str], version: str) -> dict[str, Any]:
    """Reduce ``plate`` to the wells that contain one of the images ``below``."""
    given = [{**well, "path": str(well["path"]).strip("/")} for well in plate["wells"]]
    wells = [well["path"] for well in given]
    names = [(*path.split("/"), "")[:2] for path in wells]
    kept: dict[str, Any] = {k: v for k, v in plate.items() if k not in ("version", "wells", "rows", "columns")}
    for i, key in enumerate(("rows", "columns")):  # older plates omit them if the wells define them all
        kept[key] = plate.get(key) or [{"name": name} for name in dict.fromkeys(pair[i] for pair in names)]
    order: list[dict[str, Any]] = []
    for well, pair in zip(given, names, strict=True):
        if not any(path.startswith(f"{well['path']}/") for path in below):
            continue
        places = [[entry.get("name") for entry in kept[key]] for key in ("rows", "columns")]
        indices = {
            key: names.index(name)
            for key, name, names in zip(("rowIndex", "columnIndex"), pair, places, strict=True)
            if name in names
        }
        order.append({**indices, **well})
    kept["wells"] = order
    return kept if version == "0.5" else {"version": version, **kept}


def _well(well: Mapping[str, Any], below: list[str], version: str) -> dict[str, Any]:
    """Reduce ``well`` to the fields that are among ``below``."""
    kept = {k: v for k, v in well.items() if k not in ("version", "images")}
    images = [{**image, "path": str(image["path"]).strip("/")} for image in well["images"]]
    kept["images"] = [image for image in images if image["path"] in below]
    return kept if version == "0.5" else {"version": version, **kept}


def ome_place(content: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Put ``content`` at the version's place: under ``"ome"`` since 0.5, at the top before."""
    if not content:
        return {}
    return {"ome": {"version": version, **content}} if version == "0.5" else dict(content)


def group_documents(path: str, attributes: Mapping[str, Any], version: str) -> list[tuple[str, bytes]]:
    """Return the keys and bytes that make ``path`` a group, in the order of writing."""
    if ZARR_FORMATS[version] == 3:
        whole = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
        return [(f"{path}/zarr.json".lstrip("/"), _json(whole))]
    # The attributes come first, so that an existing group has all of them.
    parts: list[tuple[str, Mapping[str, Any]]] = [(".zattrs", attributes), (".zgroup", {"zarr_format": 2})]
    return [(f"{path}/{name}".lstrip("/"), _json(content)) for name, content in parts]


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode()


def _write(files: Files, path: str, content: Any, version: str) -> None:
    if isinstance(content, bytes):
        files.write(path, content)
        return
    for key, data in group_documents(path, content, version):
        files.write(key, data)
