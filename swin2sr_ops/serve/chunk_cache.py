"""Cache computed chunks: encoded in memory, and on disk as the unfinished output of a run."""

from __future__ import annotations

import logging
import math
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.base import Region
from swin2sr_ops.io.output.claim import Claim, RunKey
from swin2sr_ops.io.output.destination import Destination, disk_errors
from swin2sr_ops.io.output.journal import Mark, made_of
from swin2sr_ops.io.output.lock import BusyError
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.io.output.staging import Staging
from swin2sr_ops.io.storage.files import Files, files_at
from swin2sr_ops.serve.codec import ChunkCodec, Unit

__all__ = ["DiskCache", "MemoryCache", "Values"]

#: The stored bytes of a unit by their keys; None for a chunk that is all fill value.
Values = dict[str, bytes | None]
#: Seconds to wait for another process that writes a chunk, before it counts as a run.
_PATIENCE = 1.0
#: Seconds between two looks at what other processes have added.
_LOOK = 10.0


def _bytes(values: Mapping[str, bytes | None]) -> int:
    return sum(len(value) for value in values.values() if value is not None)


class MemoryCache:
    """The units that were used last, up to a limit in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._units: OrderedDict[Unit, Values] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, unit: Unit) -> Values | None:
        """Return the bytes of ``unit``, if they are here."""
        with self._lock:
            if unit not in self._units:
                return None
            self._units.move_to_end(unit)
            return self._units[unit]

    def put(self, unit: Unit, values: Values) -> None:
        """Keep ``values``; the units that were not used for longest go."""
        with self._lock:
            self.bytes -= _bytes(self._units.pop(unit, {}))
            self._units[unit] = values
            self.bytes += _bytes(values)
            while self.bytes > self.limit and len(self._units) > 1:
                self.bytes -= _bytes(self._units.popitem(last=False)[1])

    def count(self, level: int) -> int:
        """Count the units of ``level``."""
        with self._lock:
            return sum(unit.level == level for unit in self._units)


class DiskCache:
    """The unfinished output of a run with this key: a run finishes it, this adds single chunks to it.

    Several servers, and a run, may use one at the same time. The lock is held only while a chunk is added; while a
    run has it, nothing is added. What is read is verified against the journal. When a run has finished the
    output, chunks are read from there.

    Parameters
    ----------
    uri : str
        Of the output, as `swin2sr_ops.restore_image` takes it.
    key : RunKey
        Of the run.
    codec : ChunkCodec
        With the output's layout.
    source : str
        The input, which the output may not overlap.
    limit : int, optional
        Bytes of chunks; the ones that were not used for longest go.
    """

    def __init__(self, uri: str, key: RunKey, codec: ChunkCodec, source: str, limit: int | None = None) -> None:
        self.uri, self.limit, self.bytes = uri, limit, 0
        self.problem = ""
        self._key, self._codec = key, codec
        self._finished: Files | None = None
        self._sizes: OrderedDict[Unit, int] = OrderedDict()  # the units that are there, those used last at the end
        self._covers: dict[Unit, Region] = {}  # where the marker is a tile's of a run
        self._seen: set[tuple[str, str]] = set()
        self._looked = 0.0
        self._lock = threading.Lock()
        self._staging = self._open(source)
        if self._finished is None:
            self._look(force=True)

    def _open(self, source: str) -> Staging:
        destination = Destination.at(self.uri, remote=True)
        staging = Staging(Claim(destination), self._codec.layout)
        if self._is_finished():
            return staging
        destination.check(source)
        patience = time.monotonic() + _PATIENCE
        while True:
            try:
                return Staging.begin(destination, self._codec.layout, self._key, shared=True)
            except BusyError:
                if time.monotonic() < patience:
                    time.sleep(0.05)
                    continue
                if not staging.claim.matches(self._key):
                    raise
                staging.claim.recall(self._key)
                return staging  # a run with this key is at work: what it has done is read

    @property
    def staging(self) -> Staging | None:
        """The unfinished output; None where a run has finished it."""
        return None if self._finished is not None else self._staging

    @property
    def notes(self) -> dict[str, Any]:
        """Return the notes that a run keeps with its unfinished output."""
        return self._staging.claim.notes

    def note(self, **values: Any) -> None:
        """Keep ``values`` for a run that resumes."""
        if self._finished is None:
            with self._writing() as may:
                if may:
                    self._staging.claim.note(**values)

    @property
    def units(self) -> int:
        """Count the units that are known to be cached."""
        return len(self._sizes)

    def count(self, level: int) -> int:
        """Count the units of ``level`` that are known to be cached; all of them once a run has finished."""
        if self._finished is not None:
            return math.prod(self._codec.grid(level))
        with self._lock:
            return sum(unit.level == level for unit in self._sizes)

    # --- reading ----------------------------------------------------------------------------------

    def get(self, unit: Unit) -> Values | None:
        """Return the bytes of ``unit``, if they are here and whole."""
        try:
            with disk_errors(self.uri):
                found = self._read(unit)
        except OutputError as exc:
            self._trouble(exc)
            return None
        if found is not None:
            self._use(unit, _bytes(found))
        return found

    def _read(self, unit: Unit) -> Values | None:
        if self._finished is not None:
            return {key: self._finished.read(key) for key in self._codec.keys(unit)}
        found = self._of_journal(unit)
        if found is None and self._look():
            found = self._of_journal(unit)
        if found is None and self._staging.claim.lost() and self._is_finished():
            return self._read(unit)
        return found

    def _of_journal(self, unit: Unit) -> Values | None:
        journal, region = self._staging.journal, self._codec.region(unit)
        marks = journal.marks(str(unit.level), region)
        if marks is None and unit in self._covers:
            marks = journal.marks(str(unit.level), self._covers[unit])
        keys = set(self._codec.keys(unit))
        return None if marks is None else journal.values([mark for mark in marks if mark[0] in keys])

    def _is_finished(self) -> bool:
        found = read_provenance(self.uri)
        if found is None or found.get("fingerprint") != self._key.fingerprint:
            return False
        self._finished = files_at(self.uri)
        return True

    def _look(self, *, force: bool = False) -> bool:
        """List the markers, now and then: another process may have added some. Tells whether it looked."""
        with self._lock:
            if not force and time.monotonic() - self._looked < _LOOK:
                return False
            self._looked = time.monotonic()
        for array, region in self._staging.journal.regions():
            name = array, str(region)
            if name in self._seen:
                continue
            self._seen.add(name)
            units = list(self._codec.units_in(int(array), region))
            marks = (self._staging.journal.marks(array, region) or []) if self.limit is not None else []
            for unit in units:
                keys = set(self._codec.keys(unit)) if marks else set()
                self._use(unit, sum(max(size, 0) for key, size, _ in marks if key in keys))
                if len(units) > 1:
                    self._covers[unit] = region
        return True

    def _use(self, unit: Unit, size: int) -> None:
        with self._lock:
            self.bytes += size - self._sizes.get(unit, 0)
            self._sizes[unit] = size
            self._sizes.move_to_end(unit)

    # --- writing ----------------------------------------------------------------------------------

    def put(self, units: Mapping[Unit, Values], origin: Any = None) -> None:
        """Add units that were made of ``origin``, as a run's journal notes it.

        Where that fails, or a run is at work, they are not added, and the log says why.
        """
        if self._finished is not None:
            return
        try:
            with disk_errors(self._staging.files.where), self._writing() as may:
                if not may:
                    return
                with made_of(origin):
                    for unit, values in units.items():
                        self._add(unit, values)
                self._evict()
                self.problem = ""
        except OutputError as exc:
            self._trouble(exc)

    def _add(self, unit: Unit, values: Values) -> None:
        files, marks = self._staging.files, list[Mark]()
        for key, value in values.items():
            if value is None:
                files.remove(key)
                marks.append((key, -1, 0))
            else:
                files.write(key, value)
                marks.append((key, len(value), zlib.crc32(value)))
        self._staging.journal.add(str(unit.level), self._codec.region(unit), marks)
        self._use(unit, _bytes(values))

    @contextmanager
    def _writing(self) -> Iterator[bool]:
        """Hold the lock; False where another process has it, or the output is no longer this run's."""
        lock = self._staging.destination.lock()
        patience = time.monotonic() + _PATIENCE
        while True:
            try:
                lock.acquire()
                break
            except BusyError:
                if time.monotonic() > patience:
                    yield False
                    return
                time.sleep(0.02)
        try:
            yield self._staging.claim.matches(self._key)
        finally:
            lock.release()

    def _evict(self) -> None:
        """Remove whole units until the limit holds; the marker goes first, so that a kill leaves nothing torn."""
        while self.limit is not None and self.bytes > self.limit and len(self._sizes) > 1:
            with self._lock:
                unit, size = self._sizes.popitem(last=False)
                self.bytes -= size
            region, array = self._codec.region(unit), str(unit.level)
            if unit in self._covers:
                self._split(array, self._covers[unit])
            self._staging.journal.remove(array, region)
            for key in self._codec.keys(unit):
                self._staging.files.remove(key)

    def _split(self, array: str, cover: Region) -> None:
        """Replace a run's marker of a tile by one for each of its units."""
        journal = self._staging.journal
        origin = journal.origin(array, cover)
        by_key = {mark[0]: mark for mark in journal.marks(array, cover) or ()}
        for unit in self._codec.units_in(int(array), cover):
            marks = [by_key[key] for key in self._codec.keys(unit) if key in by_key]
            if marks:
                with made_of(origin):
                    journal.add(array, self._codec.region(unit), marks)
            self._covers.pop(unit, None)
        journal.remove(array, cover)

    def _trouble(self, exc: OutputError) -> None:
        """Say once what is wrong; requests are answered without the cache."""
        if not self.problem:
            logging.getLogger(__name__).warning("%s Chunks are restored without the cache meanwhile.", exc)
        self.problem = str(exc)
