"""List the images of a Zarr with many: plates, wells, series of one file, and trees of groups."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from swin2sr_ops.errors import FormatError
from swin2sr_ops.geometry.axes import MAX_NDIM
from swin2sr_ops.io.output.journal import OWN_FOLDER
from swin2sr_ops.io.storage.paths import natural_key
from swin2sr_ops.io.storage.remote import StorageError
from swin2sr_ops.io.zarr import source as zarr_source
from swin2sr_ops.io.zarr.beside import beside_images
from swin2sr_ops.io.zarr.ngff import ome_attributes
from swin2sr_ops.io.zarr.store import child_names, is_zarr, naming, open_node, zarr_root

__all__ = ["Collection", "open_collection", "sorted_wells"]

_AT_ONCE = 16  # parallel requests: a plate's metadata are thousands of tiny objects
_NO_IMAGES = frozenset({"labels", "tables", "OME"})
_R = TypeVar("_R")


@dataclass(frozen=True)
class Collection:
    """Images that a Zarr contains.

    Attributes
    ----------
    uri : str
        Address of the store, as the user gave it.
    kind : str
        ``"plate"``, ``"well"``, ``"series"`` (of bioformats2raw) or ``"tree"`` (of any groups).
    version : str
        Version of the OME-Zarr metadata, such as ``"0.4"``; if there are none, that of Zarr (``"v2"``).
    images : tuple of str
        Paths below ``uri`` for ``open_source(uri, array=path)``, in the collection's own
        order: a plate's by row, column and field, a tree's by name ("2" before "10").
    missing : tuple of (str, str)
        Path and reason of images that the metadata list but that cannot be read.
    left_out : tuple of str
        What lies in the root beside the groups of images: tables, shapes, labels, coordinates.
    storage_options : dict, optional
        Options with which fsspec opens ``uri``.
    """

    uri: str
    kind: str
    version: str
    images: tuple[str, ...]
    missing: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)


def open_collection(uri: str, *, storage_options: Mapping[str, Any] | None = None) -> Collection | None:
    """List the images at ``uri``; return None if it is no Zarr, or a single image.

    Each image is opened once for its metadata; broken images go into ``missing``. Labels,
    tables and pyramid levels are not listed. A series or tree of one image counts as a collection.

    Parameters
    ----------
    uri : str
        A folder, a zip file (``.zarr.zip``, ``.ozx``), or a URL that contains ``.zarr``.
    storage_options : dict, optional
        Options with which fsspec opens ``uri``.

    Raises
    ------
    FormatError
        If nothing is there, or the metadata of the whole collection are broken.
    """
    if not is_zarr(uri):
        return None
    with naming(uri, "its metadata are not valid"), ThreadPoolExecutor(_AT_ONCE) as pool:
        root = zarr_root(uri, storage_options)
        try:
            node = open_node(root, "")
        except FileNotFoundError as exc:
            raise FormatError(f"There is no Zarr at {uri!r} (a group has a zarr.json or .zgroup of its own).") from exc
        kind = _kind(node)
        if kind in ("image", "array"):
            return None
        walk = _Walk(uri, root, storage_options, pool)
        walk.group("", node)
        version = _version(node, kind)
        left_out = beside_images(root, [*walk.images, *(path for path, _ in walk.missing)])
        return Collection(uri, kind, version, tuple(walk.images), tuple(walk.missing), left_out, storage_options)


def _kind(node: Any) -> str:
    """Return the kind of a group or array."""
    if hasattr(node, "shape"):
        return "array"
    ome = ome_attributes(node.attrs.asdict())
    if "image-label" in ome:
        return "label"
    if "multiscales" in ome:
        return "image"
    if "plate" in ome:
        return "plate"
    if "well" in ome:
        return "well"
    return "series" if "bioformats2raw.layout" in ome else "tree"


def _version(node: Any, kind: str) -> str:
    ome = ome_attributes(node.attrs.asdict())
    inner = ome.get(kind)
    given = ome.get("version") or (inner.get("version") if isinstance(inner, Mapping) else None)
    if given is None and kind == "tree":
        return f"v{node.metadata.zarr_format}"
    return str(given or ("0.5" if node.metadata.zarr_format == 3 else "0.4"))


@dataclass
class _Walk:
    """One walk through a hierarchy, with its results."""

    uri: str
    root: Any
    storage_options: Mapping[str, Any] | None
    pool: ThreadPoolExecutor
    images: list[str] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    def group(self, path: str, node: Any) -> None:
        """Add every image in the group at ``path``."""
        kind = _kind(node)
        if kind == "plate":
            self._plate(path, ome_attributes(node.attrs.asdict())["plate"])
        elif kind == "well":
            self._check(_join(path, name) for name in _fields(node))
        elif kind == "series":
            self._check(_join(path, name) for name in self._series(path))
        else:
            self._tree(path)

    def _each(self, function: Callable[[str], _R], paths: Iterable[str]) -> list[tuple[str, _R | None, str]]:
        """Call ``function`` for all paths in parallel; return result or error text for each, in the given order."""

        def safely(path: str) -> tuple[str, _R | None, str]:
            try:
                with naming(self._address(path), "its metadata are not valid"):
                    return path, function(path), ""
            except FormatError as exc:
                return path, None, str(exc)

        return list(self.pool.map(safely, paths))

    def _address(self, path: str) -> str:
        return f"{self.uri.rstrip('/')}/{path}"

    def _check(self, paths: Iterable[str]) -> None:
        """Open each of ``paths``; add it as an image, or as missing with the reason."""
        for path, source, reason in self._each(self._open, dict.fromkeys(paths)):
            if source is not None:
                self.images.append(path)
            else:
                self.missing.append((path, reason))

    def _open(self, path: str) -> zarr_source.ZarrSource | None:
        if OWN_FOLDER in path.split("/"):
            raise FormatError(
                f"The image {path!r} of {self.uri!r} lies in a folder {OWN_FOLDER!r}, which is reserved for the"
                " records of a run: rename it."
            )
        return zarr_source.open_source(self.uri, array=path, storage_options=self.storage_options)

    def _plate(self, path: str, plate: Mapping[str, Any]) -> None:
        wells = [_join(path, well) for well in sorted_wells(plate)]
        fields: list[str] = []
        for well, names, reason in self._each(self._well, wells):
            if names is None:
                self.missing.append((well, reason))
            else:
                fields += [_join(well, name) for name in names]
        self._check(fields)

    def _well(self, path: str) -> list[str]:
        try:
            node = open_node(self.root, path)
        except FileNotFoundError as exc:
            raise FormatError(f"The plate {self.uri!r} lists the well {path!r}, but it does not exist.") from exc
        if hasattr(node, "shape") or _kind(node) != "well":
            raise FormatError(f"The well {path!r} of {self.uri!r} has no metadata that list its images.")
        return _fields(node)

    def _series(self, path: str) -> list[str]:
        """List the images of a converted file as its ``OME`` group does, or else by number."""
        _, listed, reason = series_group(self.uri, self.root, path)
        if reason:
            warnings.warn(f"{reason.rstrip('.')}. Its images are listed by their names.", stacklevel=2)
        if listed:
            return listed
        names = [name for name in child_names(self.root, path) if name not in _NO_IMAGES]
        nodes = self._each(self._node, [_join(path, name) for name in names])
        return [name for name, (_, node, reason) in zip(names, nodes, strict=True) if node is not None or reason]

    def _tree(self, path: str) -> None:
        """Add the images of any groups, level by level, then sort them."""
        found: list[str] = []
        before = len(self.images)
        groups = [path]
        while groups:
            names = self._each(lambda group: child_names(self.root, group), groups)
            below = [
                _join(group, name) for group, listed, _ in names for name in listed or () if name not in _NO_IMAGES
            ]
            groups = []
            for child, node, reason in self._each(self._node, below):
                kind = _kind(node) if node is not None else "broken"
                if reason:
                    self.missing.append((child, reason))
                elif kind == "image" or (kind == "array" and _may_be_image(node)):
                    found.append(child)
                elif kind == "tree":
                    groups.append(child)
                elif kind in ("plate", "well", "series"):
                    self._nested(child, node)
        self._check(found)
        self.images[before:] = sorted(self.images[before:], key=_path_key)

    def _node(self, path: str) -> Any:
        try:
            return open_node(self.root, path)
        except FileNotFoundError:  # another file or folder
            return None

    def _nested(self, path: str, node: Any) -> None:
        """Add the images of a plate, well or series inside a tree; if it is broken, only it is missing."""
        try:
            with naming(self._address(path), "its metadata are not valid"):
                self.group(path, node)
        except FormatError as exc:
            self.missing.append((path, str(exc)))


def series_group(uri: str, root: Any, path: str) -> tuple[dict[str, Any], list[str], str]:
    """Read the ``OME`` group of the series at ``path``.

    Returns
    -------
    dict, list of str, str
        Its attributes; the images that it lists, in their order; why it is broken, if it is. The pixels do not need it,
        so both are empty if it is broken or does not exist.

    Raises
    ------
    FormatError
        If the storage does not answer, or denies access.
    """
    place = _join(path, "OME")
    try:
        with naming(f"{uri.rstrip('/')}/{place}", "its metadata are not valid"):
            try:
                attributes = dict(open_node(root, place).attrs.asdict())
            except FileNotFoundError:
                return {}, [], ""
    except FormatError as exc:
        if isinstance(exc.__cause__, StorageError | PermissionError):
            raise
        return {}, [], str(exc)
    listed = ome_attributes(attributes).get("series") or []
    if isinstance(listed, list) and all(isinstance(name, str | int) for name in listed):
        return attributes, [str(name).strip("/") for name in listed], ""
    return attributes, [], f"The list of images in {place!r} of {uri!r} is damaged"


def _fields(well: Any) -> list[str]:
    return [str(image["path"]) for image in ome_attributes(well.attrs.asdict())["well"]["images"]]


def _may_be_image(array: Any) -> bool:
    """Return True if a plain array can be an image; coordinates and texts lie beside images too."""
    return 2 <= array.ndim <= MAX_NDIM and array.dtype.kind in "biufc" and 0 not in array.shape


def _join(path: str, name: str) -> str:
    return f"{path}/{name.strip('/')}" if path else name.strip("/")


def _path_key(path: str) -> list[Any]:
    return [natural_key(part) for part in path.split("/")]


def sorted_wells(plate: Mapping[str, Any]) -> list[str]:
    """Paths of a plate's wells by row and column."""
    wells = [(well.get("rowIndex"), well.get("columnIndex"), str(well["path"]).strip("/")) for well in plate["wells"]]
    rows, columns = ([str(entry.get("name")) for entry in plate.get(key) or ()] for key in ("rows", "columns"))

    def place(well: tuple[int | None, int | None, str]) -> tuple[int, int]:
        row, column, path = well
        names = (*path.split("/"), "")[:2]  # before 0.4, the path alone gave the place
        given = zip((row, column), names, (rows, columns), strict=True)
        first, second = (
            index if index is not None else (known.index(name) if name in known else len(known))
            for index, name, known in given
        )
        return first, second

    return [path for *_, path in sorted(wells, key=place)]
