"""Open Zarr stores in folders, zip files and URLs; read their nodes, and detect changes."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from swin2sr_ops.errors import FormatError, Swin2SROpsError
from swin2sr_ops.io.storage.file_systems import file_system, zarr_store
from swin2sr_ops.io.storage.paths import existing_path, natural_key
from swin2sr_ops.io.storage.remote import StorageError, patient, retrying
from swin2sr_ops.io.zarr.documents import DOCUMENTS

__all__ = [
    "child_names",
    "is_zarr",
    "is_zip",
    "naming",
    "open_node",
    "read_key",
    "store_files",
    "store_identity",
    "zarr_root",
]

_DOCUMENTS = frozenset({*DOCUMENTS, ".zmetadata"})
_ZIPS = (".zarr.zip", ".ozx")
# Fields in which file systems report that an object has changed, the most reliable first.
_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "updated", "created")


@contextmanager
def naming(uri: str, what: str) -> Iterator[None]:
    """Turn zarr-python's many kinds of errors into one sentence that names the image."""
    try:
        yield
    except (Swin2SROpsError, Warning):
        raise
    except (StorageError, PermissionError) as exc:
        raise FormatError(f"{uri!r} cannot be read: {exc}.") from exc
    # Damaged bytes make zarr-python and each codec raise errors of their own: SystemError, LZMAError.
    except Exception as exc:
        reason = f"{type(exc).__name__}: {exc}".strip().rstrip(".:")
        raise FormatError(
            f"{uri!r} cannot be read, {what} ({reason}): it is damaged or incomplete, or needs a codec that is not"
            " installed."
        ) from exc


def is_zip(path: Path) -> bool:
    """Return True if ``path`` is a file with the suffix of a zipped Zarr."""
    return path.name.lower().endswith(_ZIPS) and path.is_file()


def is_zarr(uri: str) -> bool:
    """Return True if ``uri`` is Zarr: a folder with its documents, or a zip file or URL with its suffix.

    Raises
    ------
    FormatError
        If it is a local path and does not exist.
    """
    path = existing_path(uri)
    if path is None:
        return ".zarr" in uri
    return is_zip(path) or (os.path.isdir(path) and any(os.path.isfile(path / marker) for marker in DOCUMENTS))


def zarr_root(uri: str, storage_options: Mapping[str, Any] | None = None) -> Any:
    """Open ``uri`` read-only as zarr-python's ``StorePath``.

    A zip file may contain the Zarr itself, or one folder with the Zarr in it.
    """
    from zarr.core.sync import sync
    from zarr.storage import LocalStore, StorePath, ZipStore

    path = existing_path(uri)
    if path is None:
        return StorePath(patient(zarr_store(uri, storage_options, read_only=True)))
    if is_zip(path):
        return StorePath(sync(ZipStore.open(path, mode="r")), _top_of_zip(path))
    return StorePath(LocalStore(path, read_only=True))


def _top_of_zip(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    names = {name for name in names if not name.startswith("__MACOSX/") and not name.endswith("/.DS_Store")}
    tops = {name.split("/", 1)[0] for name in names} - {".DS_Store"}
    for top in ("", *sorted(tops)):
        if any(f"{top}/{marker}".lstrip("/") in names for marker in DOCUMENTS) and (not top or len(tops) == 1):
            return top
    raise FormatError(f"The zip file {str(path)!r} contains no Zarr: no zarr.json, .zarray or .zgroup at its top.")


def open_node(root: Any, path: str) -> Any:
    """Open the group or array at ``path`` below ``root`` by its own documents.

    Consolidated metadata are copies, and outdated if an array was changed without them.
    """
    import zarr

    return zarr.open(store=root, path=path, mode="r", use_consolidated=False)


def read_key(root: Any, key: str) -> bytes | None:
    """Read all bytes of ``key`` below ``root``; None if it does not exist."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync  # zarr-python has no public function to read one key

    found = sync((root / key).get(prototype=default_buffer_prototype()))
    return None if found is None else bytes(found.to_bytes())


def child_names(root: Any, path: str) -> list[str]:
    """List the members of the group ``path`` in natural order: groups, arrays, and possibly others.

    Web servers often cannot list: then the names come from the consolidated metadata.
    """
    from zarr.core.sync import sync

    where = (root / path).path

    async def listed() -> list[str]:
        return [name async for name in root.store.list_dir(where)]

    try:
        names = {name.strip("/") for name in sync(listed())}
        if _is_web(root.store):
            names = {unquote(name) for name in names}  # a server's listing has links, which are URL-encoded
    except StorageError:  # this server can list, but fails now
        raise
    except (OSError, NotImplementedError):
        names = set()
    if not names - _DOCUMENTS:
        names = _consolidated_names(root, path)
    return sorted((n for n in names if n and not n.startswith(".") and n not in _DOCUMENTS), key=natural_key)


def _is_web(store: Any) -> bool:
    """Return True if the store lists the pages of a web server."""
    while hasattr(store, "_store"):  # a wrapper
        store = store._store
    protocol = getattr(getattr(store, "fs", None), "protocol", ())
    return bool({"http", "https"} & set((protocol,) if isinstance(protocol, str) else protocol))


def _consolidated_names(root: Any, path: str) -> set[str]:
    import zarr

    for base in dict.fromkeys((path, "")):
        try:
            group = zarr.open_group(store=root, path=base, mode="r", use_consolidated=True)
        except (ValueError, OSError):  # there are none
            continue
        keys = group.metadata.consolidated_metadata.flattened_metadata
        inside = "" if base == path else f"{path}/"
        return {key.removeprefix(inside).split("/", 1)[0] for key in keys if key.startswith(inside)}
    return set()


def store_identity(
    uri: str, path: str, group: str | None, storage_options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return facts that change when the array ``path`` of ``uri``, or the description in its ``group``, changes.

    They contain no path and no address, so moving or renaming the store does not change them.

    Returns
    -------
    dict
        ``metadata`` (sha256 of the documents) and, if files can be listed, ``files`` (how many),
        ``bytes``, and ``listing`` (sha256 of names, sizes, and times or checksums).
    """
    root = zarr_root(uri, storage_options)
    documents = hashlib.sha256()
    for base in (path,) if group is None else (path, group):
        for name in DOCUMENTS:
            documents.update(_canonical(read_key(root, f"{base}/{name}".lstrip("/"))))
    identity: dict[str, Any] = {"metadata": documents.hexdigest()}
    listing = _listing(uri, root, path, storage_options)
    if listing is None:
        return identity
    listing.sort()
    names = hashlib.sha256("".join(f"{key}\0{size}\0{stamp}\n" for key, size, stamp in listing).encode())
    total = sum(size for _, size, _ in listing)
    return {**identity, "files": len(listing), "bytes": total, "listing": names.hexdigest()}


def store_files(uri: str, path: str, group: str | None) -> Iterator[str]:
    """Yield the paths of all local files that the array ``path`` of ``uri``, and what its ``group`` says, lie in."""
    local = existing_path(uri)
    if local is None:
        return
    if is_zip(local):
        yield str(local)
        return
    documents = (local / base / name for base in dict.fromkeys((path, group or "")) for name in DOCUMENTS)
    yield from (str(document) for document in documents if document.is_file())
    yield from sorted(_local_files(str(local / path)))


def _canonical(document: bytes | None) -> bytes:
    """Normalise ``document``: remove differences that do not change its meaning."""
    if document is None:
        return b"\0none\n"
    try:
        content = json.loads(document)
    except ValueError:
        return document
    if isinstance(content, dict):
        content.pop("consolidated_metadata", None)  # copies of documents below
    return json.dumps(content, sort_keys=True).encode() + b"\n"


_Listing = list[tuple[str, int, str]]


def _listing(uri: str, root: Any, path: str, storage_options: Mapping[str, Any] | None) -> _Listing | None:
    """List name, size and stamp of every file of an array; None if they cannot be listed."""
    local = existing_path(uri)
    if local is None:
        return _remote_listing(uri, path, storage_options)
    if is_zip(local):
        start = f"{(root / path).path}/"
        with zipfile.ZipFile(local) as archive:
            inside = [entry for entry in archive.infolist() if entry.filename.startswith(start.lstrip("/"))]
        return [
            (entry.filename.removeprefix(start), entry.file_size, f"{entry.CRC:08x}")
            for entry in inside
            if entry.filename.rsplit("/", 1)[-1] not in _DOCUMENTS
        ]
    return list(_local_listing(str(local / path), ""))


def _local_listing(folder: str, inside: str) -> Iterator[tuple[str, int, str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            key = f"{inside}{entry.name}"
            if entry.is_dir():
                yield from _local_listing(entry.path, f"{key}/")
            elif entry.name not in _DOCUMENTS:
                found = entry.stat()
                yield key, found.st_size, str(found.st_mtime_ns)


def _local_files(folder: str) -> Iterator[str]:
    """Yield the paths of all chunks below ``folder``, without a look at any: there may be a hundred thousand."""
    for inside, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name not in _DOCUMENTS:
                yield f"{inside}{os.sep}{name}"


def _remote_listing(uri: str, path: str, storage_options: Mapping[str, Any] | None) -> _Listing | None:
    fs, base = file_system(f"{uri.rstrip('/')}/{path}".rstrip("/"), storage_options)
    try:
        found = retrying(lambda: fs.find(base, detail=True))
    except (FileNotFoundError, PermissionError, NotImplementedError):
        return None  # this server never lists; a temporary failure raises another error
    listing = [
        (key.removeprefix(base).lstrip("/"), int(entry.get("size") or 0), _stamp(entry)) for key, entry in found.items()
    ]
    # If even the array's own document is not listed, the server cannot list.
    return [item for item in listing if item[0].rsplit("/", 1)[-1] not in _DOCUMENTS] if listing else None


def _stamp(entry: Mapping[str, Any]) -> str:
    return next((str(entry[name]) for name in _STAMPS if entry.get(name) is not None), "")
