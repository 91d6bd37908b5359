"""Read Zarr v2 and v3, with or without shards: OME-Zarr images, and plain arrays."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.geometry.axes import MAX_NDIM, letters_of
from swin2sr_ops.io.base import ImageInfo, Region, check_axes, check_region, json_ready
from swin2sr_ops.io.storage.paths import absolute_uri, existing_path
from swin2sr_ops.io.zarr import ngff
from swin2sr_ops.io.zarr.attributes import carried
from swin2sr_ops.io.zarr.beside import beside_image
from swin2sr_ops.io.zarr.cf import CF_ATTRIBUTES, ArrayMeaning, is_of_xarray, meaning_of
from swin2sr_ops.io.zarr.chunk_names import check_chunk_names
from swin2sr_ops.io.zarr.documents import DOCUMENTS
from swin2sr_ops.io.zarr.store import child_names, is_zip, naming, open_node, store_files, store_identity, zarr_root

__all__ = ["ZarrSource", "open_source"]


@dataclass
class ZarrSource:
    """One array of a Zarr store as an image; pickles as its address, and opens again in another process.

    Attributes
    ----------
    uri : str
        Address of the store, as the user gave it.
    path : str
        Path of the array inside the store.
    info : ImageInfo
        Facts known without reading pixels.
    group : str or None
        Path of the OME-Zarr image group to which this level belongs; None for plain arrays.
    storage_options : dict, optional
        Options with which fsspec opens ``uri``.
    """

    uri: str
    path: str
    info: ImageInfo
    group: str | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    _array: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "uri": absolute_uri(self.uri), "_array": None}

    def read(self, region: Region) -> NDArray[Any]:
        """Decode ``region`` in native byte order."""
        region = check_region(region, self.info.shape)
        with naming(_address(self.uri, self.path), f"decoding {region} failed"):
            if self._array is None:
                self._array = open_node(zarr_root(self.uri, self.storage_options), self.path)
            return np.ascontiguousarray(self._array[region], dtype=self.info.dtype)

    def identity(self) -> dict[str, Any]:
        """Return digests of the image's metadata and of its files' listing, which change with the image.

        The dict can be stored as JSON and contains no path, so moving the store does not change it.
        """
        with naming(_address(self.uri, self.path), "its files cannot be listed"):
            return store_identity(self.uri, self.path, self.group, self.storage_options)

    def files(self) -> Iterator[str]:
        """Yield the paths of all files of the array, or of the zip file that holds it; of a URL none."""
        with naming(_address(self.uri, self.path), "its files cannot be listed"):
            yield from store_files(self.uri, self.path, self.group)

    @property
    def group_address(self) -> tuple[str, str]:
        """Address of the store, and path of the image's group in it."""
        return self.uri, self.path.rpartition("/")[0] if self.group is None else self.group

    def beside(self) -> tuple[str, ...]:
        """List what lies in the image's group beside its levels; a plain array has nothing beside it."""
        return () if self.group is None else beside_image(self.uri, self.group, self.storage_options)


def open_source(
    uri: str,
    *,
    axes: str | None = None,
    level: int = 0,
    series: int = 0,
    array: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ZarrSource | None:
    """Open the Zarr at ``uri``, or return None if ``uri`` is another kind of file.

    Parameters
    ----------
    uri : str
        A group or an array; ``plate.zarr/A/1/0`` names an image inside a store. Zip files are read
        if their name ends with ``.zarr.zip`` or ``.ozx``, URLs if they contain ``.zarr``, through
        fsspec.
    axes : str, optional
        One letter per dimension, for arrays that do not name them (or name them wrongly).
    level : int
        Resolution level of an OME-Zarr image, 0 is the finest.
    series : int
        Only 0: Zarr has no series.
    array : str, optional
        Path of a group or array below ``uri``.
    storage_options : dict, optional
        Options with which fsspec opens ``uri``; workers get them with the source.

    Raises
    ------
    FormatError
        If nothing is there, the folder is no Zarr, it is broken, or it contains several images.
    RequestError
        If an option does not fit the Zarr.
    """
    path = existing_path(uri)
    if (path is None and ".zarr" not in uri) or (path is not None and not (path.is_dir() or is_zip(path))):
        return None
    if path is not None and path.is_dir() and not any(os.path.isfile(path / marker) for marker in DOCUMENTS):
        raise FormatError(
            f"{uri!r} is a folder, but not a Zarr: it has no zarr.json, .zarray or .zgroup.{_zarrs_in(path)}"
        )
    if series:
        raise RequestError(f"series={series} was given, but a Zarr has no series: name the image by its path.")
    inside = (array or "").strip("/")
    asked = _Asked(uri, inside, axes, level, storage_options)
    with naming(asked.address, "its metadata are not valid"):
        root = zarr_root(uri, storage_options)
        try:
            node = open_node(root, inside)
        except FileNotFoundError as exc:
            there = f"There is no group or array {inside!r} in {uri!r}" if inside else f"There is no Zarr at {uri!r}"
            raise FormatError(f"{there} (a group has a zarr.json or .zgroup of its own).") from exc
        return _open_node(asked, root, node, inside)


@dataclass(frozen=True)
class _Asked:
    """Options of the request."""

    uri: str
    array: str
    axes: str | None
    level: int
    storage_options: Mapping[str, Any] | None

    @property
    def address(self) -> str:
        """Address of the group or array, for messages."""
        return _address(self.uri, self.array)


def _address(uri: str, path: str) -> str:
    return f"{uri.rstrip('/')}/{path}" if path else uri


def _zarrs_in(folder: Any) -> str:
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # missing permission
        return ""
    inside = [n for n in names if any(os.path.isfile(folder / n / m) for m in DOCUMENTS)]
    return f" It contains {_some(inside)}: name one of them." if inside else ""


def _some(names: list[str], most: int = 6) -> str:
    shown = ", ".join(repr(n) for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _open_node(asked: _Asked, root: Any, node: Any, path: str) -> ZarrSource:
    if hasattr(node, "shape"):
        return _plain(asked, node, path)
    attributes, address = node.attrs.asdict(), asked.address
    image = ngff.read_multiscale(attributes, address, None if asked.axes is None else letters_of(asked.axes))
    if image is not None:
        return _image(asked, node, path, image)
    ome = ngff.ome_attributes(attributes)
    if "plate" in ome or "well" in ome or "bioformats2raw.layout" in ome:
        return _collection(asked, root, node, path, ome)
    arrays, groups = _children(root, path)
    if len(arrays) == 1:
        if groups:
            warnings.warn(
                f"{address!r} contains the array {arrays[0]!r}, which is used, and the groups {_some(groups)}, which"
                " are ignored: name a group's path to open it.",
                stacklevel=2,
            )
        return _plain(asked, open_node(root, _join(path, arrays[0])), _join(path, arrays[0]))
    if arrays:
        raise FormatError(
            f"{address!r} holds {len(arrays)} arrays, {_some(arrays)}: name one with array=, or restore all of them"
            f" with {_restore_all(asked)}."
        )
    hint = (
        f"only the groups {_some(groups)}: open one of them, or all with {_restore_all(asked)}" if groups else "nothing"
    )
    raise FormatError(f"{address!r} is a Zarr group without an image: it holds {hint}.")


def _children(root: Any, path: str) -> tuple[list[str], list[str]]:
    """List the arrays and the groups in the group ``path`` by name."""
    arrays: list[str] = []
    groups: list[str] = []
    for name in child_names(root, path):
        try:
            node = open_node(root, _join(path, name))
        except FileNotFoundError:  # another file or folder
            continue
        (arrays if hasattr(node, "shape") else groups).append(name)
    return arrays, groups


def _collection(asked: _Asked, root: Any, node: Any, path: str, ome: Mapping[str, Any]) -> ZarrSource:
    """Open the only image of a plate, well or series; if there are several, raise an error that lists them."""
    if "plate" in ome:
        kind = "plate"
        images = [_join(str(w["path"]), f) for w in ome["plate"]["wells"] for f in _fields(node, w["path"])]
    elif "well" in ome:
        kind, images = "well", [str(i["path"]) for i in ome["well"]["images"]]
    else:
        kind = "series"
        images = [name for name in _children(root, path)[1] if name != "OME"]
        if len(images) == 1:
            return _open_node(asked, root, node[images[0]], _join(path, images[0]))
    if not images:
        raise FormatError(f"{asked.address!r} is a {kind} without any image in it.")
    example = _address(asked.uri, _join(path, images[0]))
    raise FormatError(
        f"{asked.address!r} is a {kind} of {len(images)} images ({_some(images)}), not one image: restore all of them"
        f" with {_restore_all(asked)}, or name one, such as {example!r}."
    )


def _restore_all(asked: _Asked) -> str:
    return f"`swin2sr-ops restore {asked.address} OUT.ome.zarr` (in Python: swin2sr_ops.restore_batch)"


def _fields(node: Any, well: str) -> list[str]:
    if well not in node:
        return []
    ome = ngff.ome_attributes(node[well].attrs.asdict())
    return [str(image["path"]) for image in ome.get("well", {}).get("images", ())]


def _join(path: str, name: str) -> str:
    return str(PurePosixPath(path) / name)


def _image(asked: _Asked, group: Any, path: str, image: ngff.Multiscale) -> ZarrSource:
    uri, level = asked.address, asked.level
    if not 0 <= level < len(image.levels):
        raise RequestError(f"level={level} does not exist: {uri!r} has the levels 0 to {len(image.levels) - 1}.")
    chosen = image.levels[level]
    if chosen.path not in group:
        raise FormatError(f"{uri!r} lists the array {chosen.path!r} for level {level}, but it does not exist.")
    array = group[chosen.path]
    _check_array(uri, array)
    if asked.axes is None and array.ndim != len(image.axes):
        raise FormatError(
            f"{uri!r} is OME-Zarr {image.version} with the axes {image.axes!r}, but its array has the shape"
            f" {array.shape}: name these axes with axes=, one letter each."
        )
    # The user's letters rename the axes: pixel size and origin go by position. A channel has neither.
    axes = image.axes if asked.axes is None else check_axes(asked.axes, array.ndim)
    placed = [(i, a) for i, a in enumerate(axes) if a not in "CS"]
    attributes = group.attrs.asdict()
    check_chunk_names(uri, array)
    info = _base_info(asked, array, axes)
    # Writers of OME-Zarr name dimensions for xarray, and leave fill_value at 0, which does not mark nodata.
    meaning = meaning_of(array, uri)
    own = _own_nodata(attributes)
    info = replace(
        info,
        dtype=meaning.dtype,
        pixel_size={a: chosen.scale[i] for i, a in placed},
        origin={a: chosen.translation[i] for i, a in placed},
        units={a: image.units[old] for a, old in zip(axes, image.axes, strict=True) if old in image.units},
        channels=image.channels[: info.size("C")],
        nodata=meaning.nodata if own is None else own,
        name=image.name or info.name,
        format=f"OME-Zarr {image.version}",
        levels=len(image.levels),
        extra={**carried(attributes), **_packing(meaning), **({"omero": image.omero} if image.omero else {})},
    )
    return ZarrSource(asked.uri, _join(path, chosen.path), info, path, asked.storage_options)


def _plain(asked: _Asked, array: Any, path: str) -> ZarrSource:
    if asked.level:
        raise RequestError(f"level={asked.level} does not exist: {asked.address!r} is a plain array without levels.")
    _check_array(asked.address, array)
    check_chunk_names(asked.address, array)
    attributes = array.attrs.asdict()
    if asked.axes is not None:
        axes = check_axes(asked.axes, array.ndim)
    else:
        names = getattr(array.metadata, "dimension_names", None) or attributes.get("_ARRAY_DIMENSIONS") or ()
        named = ngff.axis_letters(names) if len(names) == array.ndim else None
        axes = named or _guess_axes(array.shape, np.dtype(array.dtype))
    meaning = meaning_of(array, asked.address, fill_value=is_of_xarray(array) and not _is_level(asked, path))
    rest = {name: value for name, value in attributes.items() if name not in CF_ATTRIBUTES}
    info = replace(
        _base_info(asked, array, axes),
        dtype=meaning.dtype,
        nodata=meaning.nodata,
        extra={**carried(rest), **_fill_value(array), **_packing(meaning)},
    )
    return ZarrSource(asked.uri, path, info, None, asked.storage_options)


def _is_level(asked: _Asked, path: str) -> bool:
    """Return True for a level of an OME-Zarr image that was opened by its own address."""
    local = existing_path(asked.uri)
    above = asked.uri.rstrip("/").rpartition("/")[0] if local is None else str(local.absolute().parent)
    uri, group = (asked.uri, str(PurePosixPath(path).parent).strip(".")) if path else (above, "")
    try:
        attributes = open_node(zarr_root(uri, asked.storage_options), group).attrs.asdict()
    except (OSError, ValueError, FormatError):  # nothing to read there
        return False
    return "multiscales" in ngff.ome_attributes(attributes)


def _packing(meaning: ArrayMeaning) -> dict[str, Any]:
    return {"packing": meaning.packing} if meaning.packing else {}


def _fill_value(array: Any) -> dict[str, Any]:
    """Return the value of pixels that were never written, if it is not 0."""
    fill = getattr(array.metadata, "fill_value", None)
    return {"fill_value": json_ready(fill)} if fill is not None and fill else {}  # NaN is truthy


def _check_array(uri: str, array: Any) -> None:
    if not 2 <= array.ndim <= MAX_NDIM:
        raise FormatError(f"{uri!r} has {array.ndim} dimensions {array.shape}: an image has 2 to {MAX_NDIM}.")
    if np.dtype(array.dtype).kind not in "biufc":
        raise FormatError(f"{uri!r} stores {array.dtype} instead of numbers: it is not an image.")
    if 0 in array.shape:
        raise FormatError(f"{uri!r} has no pixels: its shape is {array.shape}.")
    if 0 in array.chunks:
        raise FormatError(f"{uri!r} is damaged: its chunks have the shape {array.chunks}, without a pixel.")


def _guess_axes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    plane = "YXS" if len(shape) >= 3 and shape[-1] in (3, 4) and dtype == np.uint8 else "YX"
    leading = len(shape) - len(plane)
    return ("TCZ"[-leading:] if leading else "") + plane


def _base_info(asked: _Asked, array: Any, axes: str) -> ImageInfo:
    version = array.metadata.zarr_format
    name = PurePosixPath(asked.uri.rstrip("/")).name.removesuffix(".zip").removesuffix(".ozx")
    return ImageInfo(
        shape=tuple(array.shape),
        axes=axes,
        dtype=np.dtype(array.dtype).newbyteorder("="),
        chunks=tuple(min(c, n) for c, n in zip(array.chunks, array.shape, strict=True)),
        name=name.removesuffix(".zarr").removesuffix(".ome"),
        format=f"Zarr v{version}",
    )


def _own_nodata(attributes: Mapping[str, Any]) -> float | None:
    own = attributes.get("swin2sr_ops")
    value = own.get("nodata") if isinstance(own, Mapping) else None
    return None if value is None else float(value)
