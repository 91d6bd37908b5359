"""Access a folder or a prefix of an object store: atomic writes of small files, and a Zarr store.

All files of a run are written here, so that the guarantee of a local disk (a name exists with all
its bytes, or not at all) also holds on S3.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.storage import moves
from swin2sr_ops.io.storage.durable import sync_folder, write_durably
from swin2sr_ops.io.storage.file_systems import file_system, zarr_store
from swin2sr_ops.io.storage.moves import patiently, remove_path, replace_path
from swin2sr_ops.io.storage.paths import local_path
from swin2sr_ops.io.storage.remote import StorageError, patient, retrying

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["Files", "LocalFiles", "RemoteFiles", "files_at"]

_T = TypeVar("_T")
#: zarr-python and this module write a temporary file, then rename it; a kill leaves names with one of these suffixes.
_BESIDE = ".partial"
#: Time of the last final failure of a server, by URL; calls within the next `_GRACE` seconds do not retry.
_FELL: dict[str, float] = {}
_GRACE = 30.0
#: Number of requests at once where keys are removed one by one.
_AT_ONCE = 16


class Files(Protocol):
    """Common interface of folders and object stores; keys are relative, with ``/``."""

    @property
    def where(self) -> str:
        """Location, for messages."""
        ...

    def read(self, key: str) -> bytes | None:
        """Return all bytes of ``key``; None if it does not exist."""
        ...

    def write(self, key: str, data: bytes, *, durable: bool = False) -> None:
        """Write ``data`` to ``key`` atomically; ``durable``: it is on the disk when this returns."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Write ``data`` to ``key`` unless the key exists; return True if it was written."""
        ...

    def listing(self, prefix: str = "") -> Iterator[str]:
        """Iterate over all keys below ``prefix``, in any order."""
        ...

    def remove(self, key: str) -> None:
        """Remove one key; do nothing if it does not exist."""
        ...

    def clear(self, prefix: str = "") -> None:
        """Remove everything below ``prefix``."""
        ...

    def sweep(self) -> None:
        """Remove temporary files that a killed writer left."""
        ...

    def store(self, prefix: str = "") -> Store:
        """Return a Zarr store of this location, or of ``prefix`` in it."""
        ...


@dataclass(frozen=True)
class LocalFiles:
    """Access a folder on a file system."""

    folder: Path

    @property
    def where(self) -> str:
        return str(self.folder)

    def read(self, key: str) -> bytes | None:
        path = self.folder / key
        try:
            return patiently(path.read_bytes) if path.is_file() else None
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def write(self, key: str, data: bytes, *, durable: bool = False) -> None:
        path = self.folder / key
        new = durable and not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_BESIDE}")
        try:
            if durable:
                write_durably(beside, data)
            else:
                beside.write_bytes(data)
            replace_path(beside, path)
            if durable:
                # Folders above do not change where a key is only written anew.
                above = path.parent.parents[: key.count("/") + 1] if new else ()
                for folder in (path.parent, *above):
                    sync_folder(folder)
        except BaseException:
            remove_path(beside)
            raise

    def create(self, key: str, data: bytes) -> bool:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        return True

    def listing(self, prefix: str = "") -> Iterator[str]:
        for folder, _, names in os.walk(self.folder / prefix):
            inside = Path(folder).relative_to(self.folder)
            yield from ((inside / name).as_posix() for name in names)

    def remove(self, key: str) -> None:
        patiently(lambda: (self.folder / key).unlink(missing_ok=True))

    def clear(self, prefix: str = "") -> None:
        remove_path(self.folder / prefix)

    def sweep(self) -> None:
        for key in list(self.listing()):
            if key.endswith(_BESIDE):
                self.remove(key)

    def store(self, prefix: str = "") -> Store:
        from zarr.storage import LocalStore

        place = self.folder / prefix
        return _patient_store(LocalFiles(place)) if moves.WINDOWS else LocalStore(place)


def _patient_store(files: LocalFiles) -> Store:
    """zarr-python's store, in which values are written as `LocalFiles` does: with patience for a blocked rename."""
    from zarr.storage import LocalStore, WrapperStore

    class _Patient(WrapperStore[Any]):  # type: ignore[misc]  # zarr-python is not typed for us
        async def set(self, key: str, value: Any) -> None:
            await asyncio.to_thread(files.write, key, value.to_bytes())

        async def delete(self, key: str) -> None:
            await asyncio.to_thread(files.remove, key)

    return _Patient(LocalStore(files.folder))


@dataclass(frozen=True)
class RemoteFiles:
    """Access a prefix of an object store or of another storage that fsspec supports."""

    url: str

    @property
    def where(self) -> str:
        return self.url

    @property
    def _fs(self) -> Any:
        return _filesystem(os.getpid(), self.url)[0]

    def _at(self, key: str) -> str:
        root = _filesystem(os.getpid(), self.url)[1]
        return f"{root}/{key}" if key else root

    def _ask(self, function: Callable[[], _T]) -> _T:
        """Call ``function`` with retries; pass FileNotFoundError on, and turn other failures into a sentence."""
        fell = time.monotonic() - _FELL.get(self.url, -_GRACE) < _GRACE
        try:
            found = retrying(function, 1) if fell else retrying(function)
        except FileNotFoundError:
            raise
        except PermissionError as exc:
            reason = exc.strerror or exc
            raise OutputError(f"Access to {self.url!r} is denied ({reason}): check your credentials for it.") from exc
        except OSError as exc:
            _FELL[self.url] = time.monotonic()
            raise OutputError(f"{self.url!r} cannot be used: {exc.strerror or exc}.") from exc
        _FELL.pop(self.url, None)
        return found

    def read(self, key: str) -> bytes | None:
        try:
            return self._ask(lambda: bytes(self._fs.cat_file(self._at(key))))
        except FileNotFoundError:
            return None

    def write(self, key: str, data: bytes, *, durable: bool = False) -> None:
        self._put(key, data)

    def create(self, key: str, data: bytes) -> bool:
        try:
            retrying(lambda: self._fs.pipe_file(self._at(key), data, mode="create"))
        except FileExistsError:
            return self._created(key, data)
        except (OSError, NotImplementedError):  # a server without conditional writes, or one that does not answer
            if self.read(key) is None:
                self._put(key, data)
            return self._created(key, data)
        return True

    def _created(self, key: str, data: bytes) -> bool:
        """Return True if ``key`` has our data: a write may have succeeded although its answer was lost."""
        return self.read(key) == data

    def _put(self, key: str, data: bytes) -> None:
        try:
            self._ask(lambda: self._fs.pipe_file(self._at(key), data))
        except FileNotFoundError as exc:
            raise OutputError(f"{self.url!r} cannot be written: {exc.strerror or exc}.") from exc

    def listing(self, prefix: str = "") -> Iterator[str]:
        root = self._at("").rstrip("/") + "/"
        try:
            found: list[str] = self._ask(lambda: self._fs.find(self._at(prefix)))
        except FileNotFoundError:
            found = []
        yield from (str(path).removeprefix(root) for path in found)

    def remove(self, key: str) -> None:
        try:
            self._ask(lambda: self._fs.rm_file(self._at(key)))
        except FileNotFoundError:
            return

    def clear(self, prefix: str = "") -> None:
        if _is_pattern(self._at(prefix)):
            self._clear_literally(prefix)
            return
        try:
            self._ask(lambda: self._fs.rm(self._at(prefix), recursive=True))
        except FileNotFoundError:
            return

    def _clear_literally(self, prefix: str) -> None:
        """Remove key by key: ``rm`` reads ``*``, ``?`` and ``[`` as a pattern, which other outputs may match."""
        root = self._at(prefix)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self.remove, list(self.listing(prefix))))
        try:
            left = self._ask(lambda: self._fs.find(root, withdirs=True, detail=True))
        except FileNotFoundError:
            return
        for path in sorted((p for p, entry in left.items() if entry.get("type") == "directory"), reverse=True):
            with suppress(OSError):  # empty folders, which object stores do not have
                self._fs.rmdir(path)

    def sweep(self) -> None:
        """Do nothing: an object appears with all its bytes."""

    def store(self, prefix: str = "") -> Store:
        from zarr.storage import FsspecStore

        fs, root = _zarr_filesystem(os.getpid(), self.url)
        return patient(FsspecStore(fs, path=f"{root}/{prefix}" if prefix else root))


def files_at(uri: str) -> Files:
    """Return access to the location of a path or URL; it need not exist."""
    path = local_path(uri)
    return RemoteFiles(uri.rstrip("/")) if path is None else LocalFiles(Path(os.path.abspath(path)))


@lru_cache(maxsize=256)
def _filesystem(process: int, url: str) -> tuple[Any, str]:
    """Return the file system of ``url`` and the path in it, shared by all threads of ``process``.

    fsspec would create one per thread, each with its own connections.
    """
    with _reaching(url):
        fs, path = file_system(url)
    return fs, path.rstrip("/")


@lru_cache(maxsize=256)
def _zarr_filesystem(process: int, url: str) -> tuple[Any, str]:
    """Return the same for zarr-python, which uses its own event loop."""
    with _reaching(url):
        store = zarr_store(url)
    return store.fs, store.path


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    try:
        yield
    except StorageError as exc:
        raise OutputError(f"{url!r} cannot be reached: {exc}.") from exc


def _is_pattern(path: str) -> bool:
    """Tell whether fsspec's functions for many files would read ``path`` as a pattern."""
    return any(mark in path for mark in "*?[")
