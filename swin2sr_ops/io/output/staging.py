"""Store an unfinished output as Zarr arrays, one per level, with a journal of the written regions.

Every format is staged here, so a run of any format can be killed at any moment and resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.io.base import Region
from swin2sr_ops.io.output.claim import Claim, RunKey
from swin2sr_ops.io.output.destination import Destination, disk_errors
from swin2sr_ops.io.output.journal import Journal, marks_of, recording
from swin2sr_ops.io.output.pyramid import fill_region, level_shapes, regions
from swin2sr_ops.io.storage.files import Files
from swin2sr_ops.io.zarr.documents import DOCUMENTS

__all__ = ["Layout", "ResumableSink", "Staging", "write_region"]


@dataclass(frozen=True)
class Layout:
    """Describe how the levels are stored; all tuples are in the order of ``axes``.

    Attributes
    ----------
    sides : dict
        Arrays written in the same regions as the full-size level: path and dtype.
    attributes : dict
        Attributes of the levels, ready for JSON.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    pyramid: bool = True
    nodata: float | None = None
    zarr_format: int = 3
    codec: str = "zstd"
    fill_value: Any = 0
    names: tuple[str, ...] | None = None
    sides: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of all levels, full size first."""
        found = level_shapes(self.shape, self.axes)
        return found if self.pyramid else found[:1]

    def unit(self, level: int = 0) -> tuple[int, ...]:
        """Return the region that one writer must write as a whole: a shard, or a chunk."""
        chunks, shards = self.cut(self.shapes[level])
        return shards or chunks

    def cut(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Return chunks and shards of a level, limited to its size."""
        chunks = tuple(min(c, n) for c, n in zip(self.chunks, shape, strict=True))
        if self.shards is None:
            return chunks, None
        shards = tuple(min(s // c0 * c, -(-n // c) * c) for s, c0, c, n in self._each(chunks, shape))
        return chunks, shards

    def arrays(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return shape and dtype of every array, by its path: the levels, and those beside the first."""
        levels = {str(k): (shape, self.dtype) for k, shape in enumerate(self.shapes)}
        return levels | {path: (self.shape, np.dtype(kind)) for path, kind in self.sides.items()}

    def documents(self) -> dict[str, bytes]:
        """Return the metadata documents of all arrays, by their keys."""
        return {
            f"{path}/{key}": document
            for path, (shape, dtype) in self.arrays().items()
            for key, document in self._array_documents(path, shape, dtype).items()
        }

    def _array_documents(self, path: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, bytes]:
        import zarr

        v3 = self.zarr_format == 3
        chunks, shards = self.cut(shape)
        found: dict[str, Any] = {}
        zarr.create_array(
            zarr.storage.MemoryStore(found),
            shape=shape,
            chunks=chunks,
            shards=shards,
            dtype=dtype,
            fill_value=self.fill_value if dtype == self.dtype else 0,
            zarr_format=self.zarr_format,
            compressors=_compressor(dtype, self.codec, v3=v3),
            dimension_names=self.names if v3 else None,
            attributes={} if path in self.sides else dict(self.attributes),
            chunk_key_encoding={"name": "default" if v3 else "v2", "separator": "/"},
        )
        return {key: document.to_bytes() for key, document in found.items()}

    def _each(self, chunks: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[tuple[int, int, int, int]]:
        assert self.shards is not None
        return zip(self.shards, self.chunks, chunks, shape, strict=True)


@dataclass
class Staging:
    """Arrays of an unfinished output; pickles as an address, without its lock.

    The client calls `begin` once; then any process calls `write` and `fill` for its regions.
    """

    claim: Claim
    layout: Layout
    _arrays: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _marks: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False, compare=False)
    _journal: Journal | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}, "_marks": {}, "_journal": None}

    @classmethod
    def begin(cls, destination: Destination, layout: Layout, key: RunKey | None, *, shared: bool = False) -> Staging:
        """Take the place; resume what the same run has left, or start anew. See `Claim.take`.

        With ``shared`` the lock is released at once, and nothing that is there is verified or removed: several
        processes then add single chunks, each under the lock, and verify what they read.
        """
        staging = cls(Claim(destination), layout)
        staging.claim.take(key)
        try:
            with disk_errors(staging.files.where):
                staging._create_arrays()
                if staging.resumed and not shared:
                    staging.journal.load()
                    staging._drop_unvouched()
        except BaseException:
            try:
                if not staging.resumed:
                    destination.discard()  # nothing is in it
            finally:
                staging.release()
            raise
        if shared:
            staging.release()
        return staging

    @property
    def destination(self) -> Destination:
        """Destination of the finished output."""
        return self.claim.destination

    @property
    def files(self) -> Files:
        """Access to the location of the unfinished output."""
        return self.claim.files

    @property
    def resumed(self) -> bool:
        """True if this run resumes an earlier one."""
        return self.claim.resumed

    @property
    def journal(self) -> Journal:
        """Journal of the written regions."""
        if self._journal is None:
            units = {str(k): self.layout.unit(k) for k in range(len(self.layout.shapes))}
            grids = {
                name: tuple(-(-n // u) for n, u in zip(self.layout.shapes[int(name)], unit, strict=True))
                for name, unit in units.items()
            }
            self._journal = Journal(self.files, grids, units)
        return self._journal

    def release(self) -> None:
        """Release the lock; keep the output as it is."""
        self._arrays.clear()
        self.claim.release()

    def discard(self) -> None:
        """Remove everything written so far."""
        self._arrays.clear()
        self.claim.discard()

    def holds_pixels(self) -> bool:
        """Return True if any region was written."""
        return self.journal.begun()

    # --- pixels ----------------------------------------------------------------------------------

    def has(self, region: Region, level: int = 0) -> bool:
        """Return True if an earlier run finished ``region``; the bytes of its chunks were validated."""
        return self.journal.has(str(level), region)

    def noted(self, region: Region) -> bool:
        """Return True if any process has finished exactly this region of the full-size level by now."""
        return self.journal.noted("0", region)

    def write(self, region: Region, block: NDArray[Any], sides: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Write a region of the full-size level and of the side arrays, and record it in the journal."""
        self._write("0", region, {"0": block, **(sides or {})})

    def _write(self, name: str, region: Region, blocks: Mapping[str, NDArray[Any]]) -> None:
        unit = self.layout.unit(int(name))
        marks = []
        with disk_errors(self.files.where):
            for path, block in blocks.items():
                array = self.array(path)
                write_region(array, region, block)
                marks += marks_of(array, path, region, unit, self._marks)
            self.journal.add(name, region, marks)

    def array(self, path: str) -> Any:
        """Return the Zarr array at ``path``: a level's number, or a side array's name."""
        if path not in self._arrays:
            import zarr

            store = recording(self.files.store(), self._marks)
            self._arrays[path] = zarr.open_array(store=store, path=path, mode="r+")
        return self._arrays[path]

    def level(self, level: int) -> Any:
        """Return the Zarr array of a level."""
        return self.array(str(level))

    def to_fill(self, level: int) -> Iterator[Region]:
        """Iterate over the regions of a smaller level that are not computed yet."""
        unit = self.layout.unit(level)
        return (r for r in regions(self.layout.shapes[level], unit) if not self.has(r, level))

    def fill(self, level: int, region: Region) -> None:
        """Compute ``region`` of a smaller level from the previous level."""
        layout = self.layout
        block = fill_region(
            self.level(level - 1), region, fine_shape=layout.shapes[level - 1], axes=layout.axes, nodata=layout.nodata
        )
        self._write(str(level), region, {str(level): block})

    def filled(self, level: int, region: Region) -> None:
        """Count ``region`` of a smaller level as finished by another process."""
        self.journal.took(str(level), region)

    # --- arrays ----------------------------------------------------------------------------------

    def _create_arrays(self) -> None:
        """Write the arrays' documents if they differ from the layout: missing, torn, or zeroed."""
        for key, document in self.layout.documents().items():
            if self.files.read(key) != document:
                self.files.write(key, document)

    def _drop_unvouched(self) -> None:
        """Remove chunks without an intact marker: a torn shard would stop the next writer of a part of it."""
        vouched = self.journal.vouched()
        for name in self._paths():
            for key in list(self.files.listing(name)):
                if key not in vouched and key.rsplit("/", 1)[-1] not in DOCUMENTS:
                    self.files.remove(key)

    def _paths(self) -> list[str]:
        return [*(str(k) for k in range(len(self.layout.shapes))), *self.layout.sides]


def write_region(array: Any, region: Region, block: NDArray[Any]) -> None:
    """Write ``block`` into a Zarr array; chunks that are all fill value are not stored."""
    # zarr-python compares each chunk with the fill value in its event loop, and slowly.
    writer = array.with_config({"write_empty_chunks": True}) if _all_stored(block, array) else array
    writer[region] = block


def _all_stored(block: NDArray[Any], array: Any) -> bool:
    """Return True if every chunk of ``block`` has a value besides the fill value, so that every one is stored."""
    fill, steps = array.fill_value, tuple(array.chunks)
    if fill is None or np.isnan(fill):
        return False
    if (block[tuple(slice(None, None, step) for step in steps)] != fill).all():
        return True  # the first pixel of every chunk differs from the fill value
    return all((block[region] != fill).any() for region in regions(block.shape, steps))


def _compressor(dtype: np.dtype[Any], codec: str, *, v3: bool) -> Any:
    level = 3 if codec == "zstd" else 1
    if v3:
        from zarr.codecs import BloscCodec

        return BloscCodec(cname=codec, clevel=level, shuffle="shuffle", typesize=dtype.itemsize)
    return {"id": "blosc", "cname": codec, "clevel": level, "shuffle": 1}  # 1: by bytes


@runtime_checkable
class ResumableSink(Protocol):
    """A sink whose killed run can be resumed: it writes to a `Staging`."""

    staging: Staging

    def has(self, region: Region) -> bool:
        """Return True if an earlier run has written ``region``, as read at the start."""
        ...

    def noted(self, region: Region) -> bool:
        """Return True if any process has written ``region`` by now; this reads the storage."""
        ...
