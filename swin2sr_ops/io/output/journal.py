"""Record which regions are written: one small marker per region, with size and checksum of every chunk.

A marker is written after its chunks. After a kill, a region counts as finished only if its marker
exists and every chunk still has the recorded bytes, so torn chunks are detected.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.io.base import Region
from swin2sr_ops.io.storage.files import Files

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["OWN_FOLDER", "Journal", "Mark", "made_of", "marks_of", "recording"]

#: Folder for the run's own files, inside the partial output.
OWN_FOLDER = ".swin2sr_ops"
_DONE = f"{OWN_FOLDER}/done"
_READERS = 8

#: A chunk's key, size and CRC-32; size -1 for a chunk that is not stored because it only has the fill value.
Mark = tuple[str, int, int]
#: What the regions are made of that this thread writes.
_origin: ContextVar[Any] = ContextVar("origin", default=None)


def recording(store: Store, notes: dict[str, tuple[int, int]]) -> Store:
    """Wrap ``store`` so that ``notes`` records size and CRC-32 of every value that is set."""
    from zarr.storage import WrapperStore

    class _Recording(WrapperStore[Any]):  # type: ignore[misc]  # zarr-python has no types for mypy
        async def set(self, key: str, value: Any) -> None:
            data = value.as_buffer_like()
            notes[key] = (len(memoryview(data).cast("B")), zlib.crc32(data))
            await self._store.set(key, value)

    return _Recording(store)


@contextmanager
def made_of(origin: Any) -> Iterator[None]:
    """Keep ``origin``, which is JSON-ready, with the regions that this thread writes."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


@dataclass
class Journal:
    """Record of the finished regions of the arrays of one output.

    Attributes
    ----------
    files : Files
    grids : dict
        Number of write units along each axis, per array.
    units : dict
        Write unit, per array.
    """

    files: Files
    grids: dict[str, tuple[int, ...]]
    units: dict[str, tuple[int, ...]]
    _done: dict[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)
    _vouched: set[str] = field(default_factory=set, repr=False)

    def add(self, array: str, region: Region, marks: Sequence[Mark]) -> None:
        """Note that ``region`` of ``array`` is written, with what `made_of` says."""
        marker: dict[str, Any] = {"chunks": marks}
        if _origin.get() is not None:
            marker["origin"] = _origin.get()
        self.files.write(_key(array, region), json.dumps(marker, separators=(",", ":")).encode())

    def origins(self) -> list[Any]:
        """Return what all finished regions were made of, each once; asks the storage."""
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(lambda key: _origin_in(self.files.read(key)), list(self.files.listing(_DONE))))
        return [json.loads(text) for text in dict.fromkeys(map(json.dumps, found)) if text != "null"]

    def took(self, array: str, region: Region) -> None:
        """Count ``region`` as finished: another process has recorded it."""
        done = self._done.setdefault(array, np.zeros(self.grids[array], bool))
        done[self._cells(array, region)] = True

    def noted(self, array: str, region: Region) -> bool:
        """Return True if exactly this region was recorded by any process; this reads the storage."""
        return self.files.read(_key(array, region)) is not None

    def marks(self, array: str, region: Region) -> list[Mark] | None:
        """Return what the marker of this very region says; None where there is none, or a torn one."""
        return _parsed(self.files.read(_key(array, region)))

    def origin(self, array: str, region: Region) -> Any:
        """Return what `made_of` said of this very region; None where nothing is known."""
        return _origin_in(self.files.read(_key(array, region)))

    def values(self, marks: Sequence[Mark]) -> dict[str, bytes | None] | None:
        """Read the chunks that ``marks`` name, None for one that is all fill value; None where one of them is torn."""
        found: dict[str, bytes | None] = {}
        for name, size, crc in marks:
            data = self.files.read(name)
            if (size < 0) != (data is None) or (data is not None and (len(data) != size or zlib.crc32(data) != crc)):
                return None
            found[name] = data
        return found

    def regions(self) -> Iterator[tuple[str, Region]]:
        """List array and region of every marker, whole or torn."""
        for key in self.files.listing(_DONE):
            array, region = _from_key(key)
            if array in self.grids:
                yield array, region

    def remove(self, array: str, region: Region) -> None:
        """Forget this very region; its chunks stay."""
        self.files.remove(_key(array, region))

    def begun(self) -> bool:
        """Return True if any region was recorded."""
        return any(True for _ in self.files.listing(_DONE))

    def has(self, array: str, region: Region) -> bool:
        """Return True if every write unit in ``region`` was finished at the time of `load`."""
        done = self._done.get(array)
        return done is not None and bool(done[self._cells(array, region)].all())

    def load(self) -> None:
        """Read what an earlier run finished; remove markers whose chunks are torn or missing."""
        self._done = {name: np.zeros(grid, bool) for name, grid in self.grids.items()}
        keys = list(self.files.listing(_DONE))
        with ThreadPoolExecutor(_READERS) as pool:
            for key, chunks in zip(keys, pool.map(self._whole, keys), strict=True):
                array, region = _from_key(key)
                if chunks is not None and array in self._done:
                    self._done[array][self._cells(array, region)] = True
                    self._vouched.update(chunks)
                else:
                    self.files.remove(key)

    def vouched(self) -> set[str]:
        """Return the keys of all chunks that `load` found intact."""
        return self._vouched

    def _whole(self, key: str) -> list[str] | None:
        """Return the keys of a marker's chunks; None if the marker or one of its chunks is torn."""
        marks = _parsed(self.files.read(key))
        values = None if marks is None else self.values(marks)
        return None if values is None else list(values)

    def _cells(self, array: str, region: Region) -> Region:
        return tuple(
            slice(part.start // unit, -(-part.stop // unit))
            for part, unit in zip(region, self.units[array], strict=True)
        )


def _parsed(marker: bytes | None) -> list[Mark] | None:
    try:
        return [(str(name), int(size), int(crc)) for name, size, crc in json.loads(marker or b"")["chunks"]]
    except (ValueError, TypeError, KeyError):  # torn, or of an earlier version
        return None


def _origin_in(marker: bytes | None) -> Any:
    """Return what a marker says that its region was made of; None for a torn marker too."""
    try:
        found = json.loads(marker or b"{}")
    except ValueError:
        return None
    return found.get("origin") if isinstance(found, dict) else None


def marks_of(
    array: Any, path: str, region: Region, unit: Sequence[int], notes: dict[str, tuple[int, int]]
) -> list[Mark]:
    """Take the marks of the stored chunks in ``region`` of the Zarr array at ``path`` from ``notes``."""
    marks = []
    for index in product(*(range(p.start // u, -(-p.stop // u)) for p, u in zip(region, unit, strict=True))):
        key = f"{path}/{array.metadata.encode_chunk_key(index)}"
        size, crc = notes.pop(key, (-1, 0))
        marks.append((key, size, crc))
    return marks


def _key(array: str, region: Region) -> str:
    """Return the key of a region's marker."""
    return f"{_DONE}/{array.replace('/', '%')}/" + "_".join(f"{part.start}-{part.stop}" for part in region)


def _from_key(key: str) -> tuple[str, Region]:
    array, _, text = key.removeprefix(f"{_DONE}/").partition("/")
    try:
        bounds = [part.split("-") for part in text.split("_")]
        return array.replace("%", "/"), tuple(slice(int(a), int(b)) for a, b in bounds)
    except ValueError:
        return "", ()
