"""Open the file systems of servers and object stores by address; the names in an address are literal."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swin2sr_ops.io.storage.remote import StorageError, impatient, opening

if TYPE_CHECKING:
    from zarr.storage import FsspecStore

__all__ = ["file_system", "zarr_store"]

#: Parameters of the file systems that read another one, as in ``zip://a.tif::s3://bucket/b.zip``.
_OTHER = {"fo", "target_protocol"}


def file_system(url: str, given: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """Return the fsspec file system of ``url``, opened with the options ``given``, and the path in it.

    Raises
    ------
    StorageError
        If it cannot be opened: an unknown protocol, a missing package, no credentials, unsuitable options.
    """
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(_unchained(url), **opening(url, given))
        return impatient(fs), str(_path_in(fs, url, path))
    except Exception as exc:  # each file system's package raises errors of its own
        raise StorageError(_reason(exc)) from exc


def zarr_store(url: str, given: Mapping[str, Any] | None = None, *, read_only: bool = False) -> FsspecStore:
    """Return the same as zarr-python's store, which uses its own event loop."""
    from zarr.storage import FsspecStore

    try:
        store = FsspecStore.from_url(_unchained(url), storage_options=opening(url, given), read_only=read_only)
        fs = impatient(store.fs)
        return FsspecStore(fs, path=str(_path_in(fs, url, store.path)), read_only=read_only)
    except Exception as exc:  # as above
        raise StorageError(_reason(exc)) from exc


def _unchained(url: str) -> str:
    """Cut ``::`` and what follows from ``url`` where it is a part of the name, as in ``s3://bucket/a::b.zarr``.

    fsspec would read the second part as the address of another file system.
    """
    protocol, _, rest = url.partition("://")
    if "::" not in rest or "::" in protocol:
        return url
    from fsspec import get_filesystem_class

    if _OTHER & set(inspect.signature(get_filesystem_class(protocol).__init__).parameters):
        return url
    return f"{protocol}://{rest.partition('::')[0]}"


def _path_in(fs: Any, url: str, path: str) -> str:
    return path if _unchained(url) == url else fs._strip_protocol(url)


def _reason(exc: Exception) -> str:
    text = str(exc).strip().rstrip(".") or type(exc).__name__
    return text if isinstance(exc, (ImportError, OSError, ValueError)) else f"{type(exc).__name__}: {text}"
