"""Serve an image, or all images of a plate or tree, each opened at its first request."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import FormatError, OutputError, Swin2SROpsError
from swin2sr_ops.events import Progress
from swin2sr_ops.io.storage.files import LocalFiles
from swin2sr_ops.io.storage.paths import without_separator
from swin2sr_ops.io.zarr.collection import Collection, open_collection
from swin2sr_ops.io.zarr.groups import write_metadata
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.serve.archive_cache import ArchiveCache
from swin2sr_ops.serve.documents import is_safe
from swin2sr_ops.serve.image import RestoredImage, memory_limit
from swin2sr_ops.serve.limits import DiskLimit, MemoryCache
from swin2sr_ops.serve.options import Options
from swin2sr_ops.serve.tile_queue import ImageClosed

__all__ = ["Served"]


class Served:
    """An image or a collection, restored when it is read.

    Parameters
    ----------
    src : str
        Of an image, a plate, a series, or a tree of Zarr groups.
    request : RestoreRequest
        The same for all images.
    options : Options
        Their ``cache`` is a folder here, in which the image or the archive has its unfinished output.
    tell : callable
        Receives the events of looks at pixels.
    """

    def __init__(self, src: str, request: RestoreRequest, options: Options, tell: Progress = lambda _: None) -> None:
        self.src, self.request, self.options, self._tell = src, request, options, tell
        alone = request.array or src.startswith("sample:")
        self.collection: Collection | None = None if alone else open_collection(src)
        self.stem = os.path.basename(src.rstrip("/").rsplit(":", 1)[-1]).split(".")[0] or "image"
        self._images: dict[str, RestoredImage] = {}
        self._replaced: set[str] = set()  # images whose source changed
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._groups: LocalFiles | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._memory, self._limit = MemoryCache(memory_limit(options)), DiskLimit(options.limit)
        self._archive: ArchiveCache | None = None
        if self.collection is None:
            self.image_of("")
        elif options.cache is not None:
            place = f"{without_separator(options.cache)}/{self.stem}.zarr"
            self._archive = ArchiveCache(self.collection, place, request, options)
            if options.limit is not None:
                self._count_cached()

    def _count_cached(self) -> None:
        """Open the images of the archive that have chunks in the cache, so that these count against the limit."""
        assert self._archive is not None
        for name in self._archive.held(self.names):
            try:
                self.image_of(name)
            except Swin2SROpsError as exc:  # its requests are answered with the same sentence
                logging.getLogger(__name__).warning("The cached chunks of %r do not count. %s", name, exc)

    @property
    def names(self) -> list[str]:
        """Paths of the images; one empty path where one image is all."""
        return [""] if self.collection is None else list(self.collection.images)

    @property
    def store(self) -> str:
        """The name under which the Zarr is served."""
        return f"{self.stem}.ome.zarr" if self.collection is None else f"{self.stem}.zarr"

    def image_of(self, name: str) -> RestoredImage:
        """Return an image, opened at its first use, and again where its source changed."""
        with self._lock:
            if name not in self.names:
                raise FormatError(f"There is no image {name!r} here.")
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            found = self._images.get(name)
            if found is not None:
                found.guard.look()
                if not found.changed:
                    return found
                logging.getLogger(__name__).warning("The input %r changed: it is opened again.", found.job.source.uri)
                del self._images[name]
                self._replaced.add(name)
                _close(found)
            found = self._images[name] = self._opened(name)
            return found

    def _opened(self, name: str) -> RestoredImage:
        """Open an image; one that has changed without its cache if that is the former image's."""
        try:
            return self._opened_with(name, self._options_of(name))
        except OutputError as exc:
            if name not in self._replaced:
                raise
            logging.getLogger(__name__).warning("Chunks of the changed image are kept in memory only. %s", exc)
            return self._opened_with(name, replace(self._options_of(name), cache=None, final=None))

    def _opened_with(self, name: str, options: Options) -> RestoredImage:
        request = self.request if self.collection is None else self.request.for_image(array=name)
        return RestoredImage(self.src, options, request, self._tell, self._memory, self._limit)

    def _options_of(self, name: str) -> Options:
        own = replace(self.options, name=name or f"{self.stem}.ome.zarr", inner=self.collection is not None)
        if self._archive is not None:
            own = replace(own, cache=self._archive.place(name), final=self._archive.final(name))
        elif own.cache is not None:
            own = replace(own, cache=f"{without_separator(own.cache)}/{own.name}")
        return own

    async def image(self, name: str) -> RestoredImage:
        """Return an image as `image_of` does, without stopping the event loop."""
        found = self._images.get(name)
        if found is not None and found.guard.due:
            with suppress(ImageClosed):
                await found.aside(found.guard.look)
        return found if found is not None and not found.changed else await asyncio.to_thread(self.image_of, name)

    async def locate(self, key: str) -> tuple[RestoredImage | None, str]:
        """Return the image that ``key`` belongs to, and its key there; no image for keys of the groups above."""
        if self.collection is None:
            return await self.image(""), key
        for name in self.collection.images:
            if key.startswith(f"{name}/"):
                return await self.image(name), key.removeprefix(f"{name}/")
        for name, reason in self.collection.missing:
            if key.startswith(f"{name}/"):
                raise FormatError(f"The image {name!r} of {self.collection.uri!r} cannot be served: {reason}")
        return None, key

    def names_in(self, folder: str) -> set[str]:
        """List what lies directly in ``folder`` of the Zarr, folders with a slash at their end."""
        if self.collection is None:
            return self.image_of("").documents.names_in(folder)
        for name in self.names:
            if folder == name or folder.startswith(f"{name}/"):
                return self.image_of(name).documents.names_in(folder.removeprefix(name).lstrip("/"))
        inside = f"{folder}/" if folder else ""
        found = {f"{name.removeprefix(inside).split('/', 1)[0]}/" for name in self.names if name.startswith(inside)}
        documents = [key.removeprefix(inside) for key in self._group_files().listing() if key.startswith(inside)]
        return found | {key for key in documents if found and "/" not in key}

    async def group(self, key: str) -> bytes | None:
        """Return a document of the groups above the images."""
        if self.collection is None or not is_safe(key):
            return None
        return await asyncio.to_thread(lambda: self._group_files().read(key))

    def _group_files(self) -> LocalFiles:
        """The documents above the images, written into a folder at the first look."""
        assert self.collection is not None
        with self._lock:
            made = self._groups
        if made is not None:
            return made
        first = self.image_of(self.collection.images[0])
        folder = tempfile.TemporaryDirectory(prefix="swin2sr-ops-")
        files = LocalFiles(Path(folder.name))
        own: dict[str, Any] = {"model": first.key.settings["model"], "source": self.collection.uri}
        own |= self._archive.provenance if self._archive is not None else {"virtual": {"archive": True}}
        write_metadata(
            files,
            self.collection,
            self.collection.images,
            scale=first.job.plan.spec.scale,
            version=self.options.ngff,
            provenance=own,
        )
        with self._lock:
            if self._groups is None:
                self._groups, self._folder = files, folder
            return self._groups

    @property
    def opened(self) -> dict[str, RestoredImage]:
        """Images that were asked for."""
        return dict(self._images)

    @property
    def waiting(self) -> int:
        """Cells of all images that wait for a tile."""
        return sum(image.queue.waiting for image in self.opened.values())

    def metrics(self) -> dict[str, Any]:
        """Figures of all images that were asked for, JSON-ready."""
        return {name or self.store: image.metrics() for name, image in self.opened.items()}

    def close(self) -> None:
        """Close all images."""
        for image in self.opened.values():
            _close(image)
        if self._folder is not None:
            self._folder.cleanup()


def _close(image: RestoredImage) -> None:
    try:
        image.close()
    except Swin2SROpsError as exc:
        logging.getLogger(__name__).warning("%s", exc)
