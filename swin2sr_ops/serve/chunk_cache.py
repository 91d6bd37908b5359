"""Cache computed chunks on disk, as the unfinished output of a run."""

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
from swin2sr_ops.io.output.lock import BusyError, acquire
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.io.output.staging import Staging
from swin2sr_ops.io.storage.files import Files, files_at
from swin2sr_ops.serve.codec import ChunkCodec, Unit
from swin2sr_ops.serve.limits import DiskLimit, Values, size_of

__all__ = ["DiskCache"]

#: Seconds to wait for another process that writes a chunk, before it counts as a run.
_PATIENCE = 1.0
#: Seconds between two looks at what other processes have added.
_LOOK = 10.0


class DiskCache:
    """The unfinished output of a run with this key: a run finishes it, this adds single chunks to it.

    Several servers, and a run, may use one at the same time. The lock is held only while a chunk is added; while a
    run has it, nothing is added. Chunks are verified against the journal when they are read. When a run has finished
    the output, chunks are read from there.

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
    limit : DiskLimit or int, optional
        Bytes of chunks, also of several caches together; the ones that were not used for longest go.
    final : str, optional
        Where the output of an image in an archive lies once the archive is finished; ``uri`` is then its place in the
        unfinished archive.
    """

    def __init__(
        self,
        uri: str,
        key: RunKey,
        codec: ChunkCodec,
        source: str,
        limit: DiskLimit | int | None = None,
        final: str | None = None,
    ) -> None:
        self.uri, self.bytes = uri, 0
        self.problem = ""
        self._limit = limit if isinstance(limit, DiskLimit) else DiskLimit(limit)
        self._final = final
        self._key, self._codec = key, codec
        self._finished: Files | None = None
        self._settings: dict[str, Any] = {}  # in the finished output's provenance
        # The units that are there, with size and time of the last use, those used last at the end.
        self._sizes: OrderedDict[Unit, tuple[int, float]] = OrderedDict()
        self._covers: dict[Unit, Region] = {}  # where the marker is a tile's of a run
        self._seen: set[tuple[str, str]] = set()
        self._looked = -math.inf
        self._lock = threading.Lock()
        self._staging = self._open(source)
        if self._finished is None:
            self._look(force=True)
        self._limit.join(self)

    @property
    def limit(self) -> int | None:
        """Bytes that this cache and those beside it may have."""
        return self._limit.limit

    def close(self) -> None:
        """Count no longer among the caches of a limit."""
        self._limit.leave(self)

    def _open(self, source: str) -> Staging:
        destination = Destination.at(self.uri, remote=True, inner=self._final is not None)
        staging = Staging(Claim(destination), self._codec.layout)
        if self._is_finished():
            return staging
        try:
            destination.check(source)
            return Staging.begin(destination, self._codec.layout, self._key, shared=True)
        except OutputError as exc:
            if self._is_finished():  # by a run, between the two looks
                return staging
            if not (isinstance(exc, BusyError) and staging.claim.matches(self._key)):
                raise
        staging.claim.recall(self._key)  # a run with this key is at work: what it has done is read
        return staging

    @property
    def staging(self) -> Staging | None:
        """The unfinished output; None where a run has finished it."""
        return None if self._finished is not None else self._staging

    @property
    def notes(self) -> dict[str, Any]:
        """Return the notes that a run keeps with its unfinished output; of a finished one, what its provenance says."""
        return self._staging.claim.notes if self._finished is None else self._settings

    def note(self, **values: Any) -> None:
        """Keep ``values`` for a run that resumes."""
        if self._finished is None:
            with self._writing() as may:
                if may:
                    self._staging.claim.note(**values)

    def spoil(self) -> None:
        """Mark the unfinished output as not resumable, since the input has changed; nothing is added any more."""
        if self._finished is not None:
            return
        try:
            with disk_errors(self.uri), self._writing() as may:
                if may:
                    self._staging.claim.spoil()
        except OutputError as exc:
            self._trouble(exc)

    @property
    def units(self) -> int:
        """Count the units that are known to be cached, and may be evicted."""
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
        if found is not None and self._finished is None:
            self._use(unit, size_of(found))
        return found

    def _read(self, unit: Unit) -> Values | None:
        values = self._of_finished(unit)
        if values is not None:
            return values
        found = self._of_journal(unit)
        if found is None and self._look():
            found = self._of_journal(unit)
        if found is None and self._staging.claim.lost() and self._is_finished():
            return self._read(unit)
        return found

    def _of_finished(self, unit: Unit) -> Values | None:
        """Read a unit of the finished output; None where there is none.

        A chunk that is absent there is all fill value, unless the output was moved or removed meanwhile: an archive's
        run moves its images when it resumes and when it ends. So it must be absent before and after a look.
        """
        before: tuple[str, Values] | None = None
        while (files := self._finished) is not None:
            values = {key: files.read(key) for key in self._codec.keys(unit)}
            if None not in values.values() or (files.where, values) == before:
                return values
            before = files.where, values
            if not self._is_finished():
                self._finished = None
        return None

    def _of_journal(self, unit: Unit) -> Values | None:
        journal, region = self._staging.journal, self._codec.region(unit)
        marks = journal.marks(str(unit.level), region)
        if marks is None and (cover := self._covers.get(unit)) is not None:
            marks = journal.marks(str(unit.level), cover)
        keys = set(self._codec.keys(unit))
        return None if marks is None else journal.values([mark for mark in marks if mark[0] in keys])

    def _is_finished(self) -> bool:
        """Tell whether a run has finished the output, which is then read."""
        for uri in (self.uri, self._final):
            found = None if uri is None else read_provenance(uri)
            if uri is not None and found is not None and self._key.accepts(found):
                self._finished, self._settings = files_at(uri), dict(found.get("settings") or {})
                self._forget()
                return True
        return False

    def _forget(self) -> None:
        """Count no unit: a finished output is not evicted. If it is unfinished again, they are listed anew."""
        with self._lock:
            self._sizes.clear()
            self._covers.clear()
            self._seen.clear()
            self.bytes, self._looked = 0, -math.inf

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
            self.bytes += size - self._sizes.get(unit, (0, 0.0))[0]
            self._sizes[unit] = size, time.monotonic()
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
            self.problem = ""
            self._limit.evict()
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
        self._use(unit, size_of(values))

    @contextmanager
    def _writing(self, patience: float = _PATIENCE) -> Iterator[bool]:
        """Hold the lock; False where another process has it, or the output is no longer this run's."""
        lock = self._staging.destination.lock()
        try:
            acquire(lock, patience)
        except BusyError:
            yield False
            return
        try:
            yield self._staging.claim.matches(self._key)
        finally:
            lock.release()

    @property
    def oldest(self) -> float | None:
        """When the unit was used that was not used for longest; None where nothing is cached, or it may not go."""
        with self._lock:
            return next((used for _, used in self._sizes.values()), None)

    def drop_oldest(self, excess: int, until: float | None) -> bool:
        """Remove the units that were not used for longest; each marker goes first, so that a kill leaves nothing torn.

        Parameters
        ----------
        excess : int
            Bytes to remove.
        until : float or None
            Remove no unit that was used later, except the oldest; None to remove all but the last one.

        Returns
        -------
        bool
            False if nothing may be removed: a run is at work, or the disk fails.
        """
        try:
            with disk_errors(self._staging.files.where), self._writing(patience=0.0) as may:
                if not may:
                    return False
                for unit in self._oldest(excess, until):
                    self._remove(unit)
        except OutputError as exc:
            self._trouble(exc)
            return False
        return True

    def _oldest(self, excess: int, until: float | None) -> list[Unit]:
        """Choose the units that `drop_oldest` removes."""
        chosen: list[Unit] = []
        with self._lock:
            for unit, (size, used) in self._sizes.items():
                last = len(chosen) + 1 == len(self._sizes) if until is None else bool(chosen) and used > until
                if excess <= 0 or last:
                    break
                chosen.append(unit)
                excess -= size
        return chosen

    def _remove(self, unit: Unit) -> None:
        if (cover := self._covers.get(unit)) is not None:
            self._split(str(unit.level), cover)
        self._staging.journal.remove(str(unit.level), self._codec.region(unit))
        for key in self._codec.keys(unit):
            self._staging.files.remove(key)
        with self._lock:
            self.bytes -= self._sizes.pop(unit, (0, 0.0))[0]

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
