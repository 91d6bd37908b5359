"""The metadata of a restored image by their keys: documents of arrays and groups, and what lies beside the levels."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.storage.files import LocalFiles
from swin2sr_ops.io.zarr.documents import ZARR_FORMATS
from swin2sr_ops.io.zarr.image_documents import Labels, write_beside
from swin2sr_ops.serve.codec import ChunkCodec

__all__ = ["Documents", "is_safe"]


class Documents:
    """Keys that are no chunks of levels.

    Parameters
    ----------
    info : ImageInfo
        The restored image.
    codec : ChunkCodec
        With the output's layout.
    ngff : str
        Version of the metadata.
    labels : (str, str, int), optional
        As in `swin2sr_ops.io.zarr.sink.create_sink`.
    """

    def __init__(self, info: ImageInfo, codec: ChunkCodec, ngff: str, labels: Labels | None) -> None:
        self._info, self._codec, self._ngff, self._labels = info, codec, ngff, labels
        self.arrays = codec.documents
        self.root_keys = ("zarr.json",) if ZARR_FORMATS[ngff] == 3 else (".zattrs", ".zgroup")
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: LocalFiles | None = None

    @property
    def has_beside(self) -> bool:
        """Tell whether something lies beside the levels."""
        return self._labels is not None or bool(self._codec.layout.sides)

    def is_beside(self, key: str) -> bool:
        """Tell whether ``key`` may be one of `beside`."""
        tops = {"labels", *(path.split("/", 1)[0] for path in self._codec.layout.sides)}
        return self.has_beside and is_safe(key) and key.split("/", 1)[0] in tops

    def beside(self) -> LocalFiles:
        """Return groups beside the levels and carried labels, written whole into a folder at the first look."""
        with self._lock:
            if self._files is None:
                self._folder = tempfile.TemporaryDirectory(prefix="swin2sr-ops-")
                files = LocalFiles(Path(self._folder.name))
                write_beside(files, self._info, self._codec.layout, self._ngff, self._labels)
                self._files = files
            return self._files

    def keys(self) -> Iterator[str]:
        """List all documents, and what lies beside the levels."""
        yield from self.arrays
        yield from self.root_keys
        if self.has_beside:
            yield from self.beside().listing()

    def names_in(self, folder: str) -> set[str]:
        """List what lies directly in ``folder``, folders with a slash at their end."""
        inside = f"{folder}/" if folder else ""
        below = [key.removeprefix(inside) for key in self.keys() if key.startswith(inside)]
        return {name if name == rest else f"{name}/" for rest in below for name in [rest.split("/", 1)[0]]}

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            self._folder.cleanup()


def is_safe(key: str) -> bool:
    """Tell whether ``key`` names something below its store: no part of it leads upwards, or to another root."""
    parts = key.split("/")
    return not any(part in ("", ".", "..") for part in parts) and not any(c in key for c in "\\:\0")
