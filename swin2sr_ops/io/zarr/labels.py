"""Copy label images of an OME-Zarr image beside the restored one: repeat each pixel, change no value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.base import Region
from swin2sr_ops.io.output.destination import disk_errors
from swin2sr_ops.io.output.pyramid import level_shapes, regions
from swin2sr_ops.io.storage.files import Files, files_at
from swin2sr_ops.io.zarr.attributes import ATTRIBUTE, other_attributes
from swin2sr_ops.io.zarr.documents import ZARR_FORMATS
from swin2sr_ops.io.zarr.groups import group_documents, ome_place
from swin2sr_ops.io.zarr.ngff import image_attributes, ome_attributes, stored_axes
from swin2sr_ops.io.zarr.source import ZarrSource, open_source
from swin2sr_ops.io.zarr.store import child_names, naming, open_node, zarr_root

__all__ = ["carry_labels", "label_names", "list_labels", "missing_labels"]

_SIDE = 512
_MOST = 64 * 2**20  # most bytes of one region


def label_names(
    group_uri: str, *, array: str = "", storage_options: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """List the readable label images of the image group at ``array`` below ``group_uri`` by name."""
    return tuple(name for name, reason in _labels(group_uri, array, storage_options) if not reason)


def missing_labels(
    group_uri: str, *, array: str = "", storage_options: Mapping[str, Any] | None = None
) -> tuple[tuple[str, str], ...]:
    """List name and reason of label images that the metadata list but that cannot be read."""
    return tuple(found for found in _labels(group_uri, array, storage_options) if found[1])


def carry_labels(
    source_uri: str,
    target: str | Path | Files,
    *,
    scale: int,
    version: str = "0.5",
    names: Sequence[str] | None = None,
    array: str = "",
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Write the label images of an image beside its restored version, enlarged by nearest neighbour.

    Each pixel is repeated ``scale`` x ``scale`` times; smaller levels take every second pixel of
    the previous one, since a mean of labels has no meaning. Dtype, colours, properties and other
    attributes are kept; pixel size and origin follow law 4. Regions are copied one by one in bounded
    memory. A second call gives the same result.

    Parameters
    ----------
    source_uri : str
        The image group, or the store in which ``array`` is its path.
    target : str, Path or Files
        Group of the restored image; labels go to ``labels/<name>`` in it.
    scale : int
        Scale along Y and X.
    version : {"0.5", "0.4"}
        NGFF version of the restored image.
    names : sequence of str, optional
        Labels to copy; by default all readable ones.
    array : str
        Path of the image group below ``source_uri``.
    storage_options : dict, optional
        Options with which fsspec opens ``source_uri``.

    Returns
    -------
    tuple of str
        Names of the copied labels.

    Raises
    ------
    RequestError
        If one of ``names`` does not exist, or the version is unknown.
    FormatError
        If a label's chunk is damaged.
    """
    if version not in ZARR_FORMATS:
        raise RequestError(f"version={version!r} is not valid: OME-Zarr is written as 0.5 or 0.4.")
    there = label_names(source_uri, array=array, storage_options=storage_options)
    strange = [name for name in names or () if name not in there]
    if strange:
        known = ", ".join(map(repr, there)) or "no labels"
        raise RequestError(f"There is no label image {strange[0]!r} in {source_uri!r}, which has {known}.")
    carried = tuple(name for name in there if names is None or name in names)
    files = target if not isinstance(target, (str, Path)) else files_at(str(target))
    with disk_errors(files.where):
        for name in carried:
            place = f"{array}/labels/{name}".lstrip("/")
            source = open_source(source_uri, array=place, storage_options=storage_options)
            assert source is not None  # otherwise it would not be among the readable names
            _Label(files, source, f"labels/{name}", scale, version).write()
        if carried:
            list_labels(files, carried, version)
    return carried


def _labels(uri: str, array: str, storage_options: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """List the name of each label, and the reason if it cannot be read.

    Images below ``labels`` that the group does not list are labels too.
    """
    place = f"{array}/labels".lstrip("/")
    try:
        with naming(f"{uri.rstrip('/')}/{place}", "its metadata are not valid"):
            root = zarr_root(uri, storage_options)
            attributes = open_node(root, place).attrs.asdict()
            listed = ome_attributes(attributes).get("labels") or attributes.get("labels") or ()
            names = dict.fromkeys(str(entry).strip("/") for entry in listed)
            unlisted = [name for name in child_names(root, place) if name not in names]
    except FormatError as exc:
        return [] if isinstance(exc.__cause__, FileNotFoundError) else [("labels", str(exc))]
    found = []
    for name in (*names, *unlisted):
        try:
            open_source(uri, array=f"{place}/{name}", storage_options=storage_options)
            found.append((name, ""))
        except FormatError as exc:
            if name in names:  # an unlisted entry may be anything
                found.append((name, str(exc)))
    return found


class _Label:
    """Copies one label image."""

    def __init__(self, files: Files, source: ZarrSource, place: str, scale: int, version: str) -> None:
        self.files, self.source, self.place = files, source, place
        self.scale, self.version = scale, version
        self.info = source.info.scaled(scale)
        self.axes = stored_axes(self.info.axes)
        self.order = tuple(self.info.axes.index(a) for a in self.axes)  # source axes in storage order

    def write(self) -> None:
        """Write every level, then the metadata that make them an image."""
        self.files.clear(self.place)
        shapes = level_shapes(tuple(self.info.shape[i] for i in self.order), self.axes)
        for level, shape in enumerate(shapes):
            target = self._create(level, shape)
            for region in regions(shape, self._unit(level, shape)):
                target[region] = self._pixels(region, 2**level)
        for key, data in group_documents(self.place, self._attributes(len(shapes)), self.version):
            self.files.write(key, data)

    def _create(self, level: int, shape: tuple[int, ...]) -> Any:
        import zarr

        v3 = ZARR_FORMATS[self.version] == 3
        return zarr.create_array(
            self.files.store(f"{self.place}/{level}"),  # a path would make zarr-python create the groups above
            shape=shape,
            chunks=tuple(min(_SIDE, n) if a in "YX" else 1 for n, a in zip(shape, self.axes, strict=True)),
            dtype=self.info.dtype,
            fill_value=0,
            zarr_format=ZARR_FORMATS[self.version],
            compressors=_compressor(self.info.dtype, v3=v3),
            dimension_names=[a.lower() for a in self.axes] if v3 else None,
            chunk_key_encoding={"name": "default" if v3 else "v2", "separator": "/"},
        )

    def _unit(self, level: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the region that is read and written at once: whole source chunks, if memory allows."""
        wanted = []
        for axis, i, n in zip(self.axes, self.order, shape, strict=True):
            chunk = self.source.info.chunks[i]
            if axis in "YX":
                chunk = -(-chunk * self.scale // (2**level * _SIDE)) * _SIDE
            wanted.append(min(chunk, -(-n // _SIDE) * _SIDE if axis in "YX" else n))
        least = [_SIDE if a in "YX" else 1 for a in self.axes]
        while np.prod(wanted, dtype=np.int64) * self.info.dtype.itemsize > _MOST and wanted != least:
            i = max(range(len(wanted)), key=lambda k: wanted[k] / least[k])
            wanted[i] = max(least[i], wanted[i] // 2 // least[i] * least[i])
        return tuple(wanted)

    def _pixels(self, region: Region, step: int) -> NDArray[Any]:
        """Read ``region`` of the level that takes every ``step``-th pixel of the enlarged image."""
        picks: list[NDArray[np.int64]] = []
        for axis, part in zip(self.axes, region, strict=True):
            wide = np.arange(part.start, part.stop)
            picks.append(wide * step // self.scale if axis in "YX" else wide)
        read = [slice(0, 0)] * len(picks)
        for i, pick in zip(self.order, picks, strict=True):
            read[i] = slice(int(pick[0]), int(pick[-1]) + 1)
        block = self.source.read(tuple(read)).transpose(self.order)
        return block[np.ix_(*(pick - pick[0] for pick in picks))]

    def _attributes(self, levels: int) -> dict[str, Any]:
        """Return the group's attributes: the source's, with the new pixel size, origin and levels."""
        source = self.source
        path = source.path if source.group is None else source.group
        given = open_node(zarr_root(source.uri, source.storage_options), path).attrs.asdict()
        attributes = image_attributes(
            self.info, version=self.version, levels=levels, name=self.place.rsplit("/", 1)[-1], ranges=()
        )
        place = attributes.get("ome", attributes)
        place["multiscales"][0]["type"] = "nearest"
        label = ome_attributes(given).get("image-label")
        kept = {k: v for k, v in label.items() if k != "version"} if isinstance(label, Mapping) else {}
        kept.setdefault("source", {"image": "../../"})
        place["image-label"] = kept if self.version == "0.5" else {"version": self.version, **kept}
        own = {"labels": {"source": self.source.info.format, "scale": self.scale, "interpolation": "nearest"}}
        return {**attributes, **other_attributes(given), ATTRIBUTE: own}


def list_labels(files: Files, carried: Sequence[str], version: str) -> None:
    """List the labels in the group; write it last, so that all listed labels exist."""
    before: list[str] = []
    node = files.read("labels/zarr.json" if ZARR_FORMATS[version] == 3 else "labels/.zattrs")
    if node is not None:
        content = json.loads(node)
        before = list(ome_attributes(content.get("attributes", content)).get("labels") or ())
    listed = [*before, *(name for name in carried if name not in before)]
    for key, data in group_documents("labels", ome_place({"labels": listed}, version), version):
        files.write(key, data)


def _compressor(dtype: np.dtype[Any], *, v3: bool) -> Any:
    if v3:
        from zarr.codecs import BloscCodec

        return BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=dtype.itemsize)
    return {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 1}  # 1: by bytes
