"""`restored_store`: a read-only Zarr store whose chunks are restored when they are read."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import fields
from os import PathLike
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from swin2sr_ops.calls import check_keywords, keywords_of, path_of
from swin2sr_ops.events import Progress
from swin2sr_ops.io.storage.paths import absolute_uri
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.serve.image import RestoredImage
from swin2sr_ops.serve.options import AFFORDABLE, Options

__all__ = ["RestoredStore", "restored_store"]


def restored_store(
    src: str | PathLike[str],
    *,
    cache: str | PathLike[str] | None = None,
    limit: int | None = None,
    name: str | None = None,
    affordable: int = AFFORDABLE,
    ngff: str = "0.5",
    pyramid: bool = True,
    context: bool = False,
    spread: bool = False,
    labels: str = "leave",
    interval: float | None = None,
    calibration: str | PathLike[str] | None = None,
    noise: float | None = None,
    progress: Progress | None = None,
    **request: Any,
) -> RestoredStore:
    """Open a restored image that is computed when it is read, as a Zarr store.

    The store has the keys that `swin2sr_ops.restore_image` would have written with the same request: documents,
    pyramid and chunks. A decoded chunk has the run's pixels, bit for bit, in whichever order chunks are read and by
    however many threads. Opening looks at all pixels once where the intensity range needs that (``range="auto"``
    beyond 8 bits; a fixed range, or percentiles with ``:sample``, do not).

    Parameters
    ----------
    src : str or path
        As in `swin2sr_ops.restore_image`.
    cache : str or path, optional
        An output as of `restore_image`, such as ``"x.ome.zarr"``: chunks are kept as its unfinished state, are not
        computed again, and `restore_image` with the same request finishes it. By default they are kept in memory.
    limit : int, optional
        Bytes of chunks to keep; those that were not used for longest go. By default 1 GiB in memory, and no limit
        for ``cache``.
    name : str, optional
        File name of the output, after which an image without a name of its own is called; by default that of
        ``cache``, or of ``src``.
    affordable : int
        Input pixels that one chunk of a smaller level may cost. Levels whose chunks would cost more are restored
        from the source's own smaller levels, or from means of its pixels; the attribute ``swin2sr_ops`` says which.
    ngff, pyramid, context, spread, labels
        Options of OME-Zarr: see `restore_image`. Labels are carried whole when one of them is first read.
    interval, calibration, noise
        Half widths of intervals, and flags of pixels that contradict the input, beside the image: see
        `restore_image`. Its ``limit`` of half widths has no counterpart here.
    progress : callable, optional
        Receives the events of the look at the pixels.
    **request
        Any of ``model``, ``axes``, ``scale``, ``halo``, ``tile``, ``range``, ``device``, ``precision``, ``nodata``,
        ``level``, ``series``, ``array``, ``mask``, ``chunks``, ``shards``, ``ensemble``, ``engine``,
        ``consistent``: see `restore_image`.

    Returns
    -------
    RestoredStore
        A `zarr.abc.store.Store`; close it, or use it in a ``with`` statement.

    Raises
    ------
    Swin2SROpsError
        The request does not fit the image, or the cache cannot be used.

    Examples
    --------
    >>> import swin2sr_ops, zarr
    >>> store = swin2sr_ops.restored_store("sample:cells", model="nano-x2-gray")
    >>> image = zarr.open_group(store, mode="r")["0"]
    >>> image.shape
    (512, 512)
    >>> store.close()
    """
    known = [*keywords_of(restored_store), *(field.name for field in fields(RestoreRequest))]
    check_keywords("restored_store", request, known)
    path = path_of(src, "src", "For an array, call swin2sr_ops.restore.")
    kept = None if cache is None else absolute_uri(path_of(cache, "cache"))
    name = name or os.path.basename((kept or path.rsplit(":", 1)[-1]).rstrip("/"))
    options = Options(
        ngff, pyramid, context, spread, labels, kept, limit, name, affordable, interval=interval, noise=noise,
        calibration=None if calibration is None else os.path.abspath(path_of(calibration, "calibration")),
    )  # fmt: skip
    image = RestoredImage(src, options, RestoreRequest(**request), progress or (lambda _: None))
    return RestoredStore(image)


class RestoredStore(Store):  # type: ignore[misc]  # zarr-python is not typed for us
    """A read-only Zarr store over a `swin2sr_ops.serve.image.RestoredImage`; made by `restored_store`.

    It pickles as its request: in another process it is opened anew, and computes there.
    """

    supports_writes = False
    supports_deletes = False
    supports_partial_writes = False
    supports_listing = True

    def __init__(self, image: RestoredImage) -> None:
        super().__init__(read_only=True)
        self.image = image

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RestoredStore) and other.image.fingerprint == self.image.fingerprint

    def __hash__(self) -> int:
        return hash(self.image.fingerprint)

    def __reduce__(self) -> Any:
        image = self.image
        return _reopen, (absolute_uri(image.job.source.uri), image.options, image.request)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return type(self).__name__, self.image.fingerprint

    def __str__(self) -> str:
        return f"restored:{self.image.job.source.uri}"

    def __repr__(self) -> str:
        return f"RestoredStore({self.image.job.source.uri!r}, {self.image.fingerprint[:12]})"

    def close(self) -> None:
        """Stop computing and release memory and files."""
        self.image.close()
        super().close()

    def with_read_only(self, read_only: bool = False) -> RestoredStore:
        """Return this store, which is always read-only."""
        if not read_only:
            raise ValueError("a restored store is read-only")
        return self

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the bytes of ``key``, restored if need be; None where a run would have written nothing."""
        from zarr.core.buffer import default_buffer_prototype

        data = await self.image.get(key)
        if data is None:
            return None
        prototype = prototype or default_buffer_prototype()
        return prototype.buffer.from_bytes(_part(data, byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of values."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Tell whether ``key`` is listed; nothing is computed."""
        await self.image.make_beside()
        return self.image.has(key)

    async def list(self) -> AsyncIterator[str]:
        """List all keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """List the keys that start with ``prefix``."""
        await self.image.make_beside()
        for key in self.image.listing():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List the names directly below ``prefix``."""
        inside = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        seen = set()
        async for key in self.list_prefix(inside):
            name = key[len(inside) :].split("/", 1)[0]
            if name not in seen:
                seen.add(name)
                yield name

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse: the store is read-only."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refuse: the store is read-only."""
        self._check_writable()


def _reopen(src: str, options: Options, request: RestoreRequest) -> RestoredStore:
    return RestoredStore(RestoredImage(src, options, request))


def _part(data: bytes, byte_range: ByteRequest | None) -> bytes:
    if isinstance(byte_range, RangeByteRequest):
        return data[byte_range.start : byte_range.end]
    if isinstance(byte_range, OffsetByteRequest):
        return data[byte_range.offset :]
    if isinstance(byte_range, SuffixByteRequest):
        return data[-byte_range.suffix :] if byte_range.suffix else b""
    return data
