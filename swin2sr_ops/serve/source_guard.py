"""Notice a source that changes while it is served: nothing is restored of two images."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from swin2sr_ops.errors import OutputError, Swin2SROpsError
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.run.fingerprint import identity
from swin2sr_ops.run.input_watch import InputWatch
from swin2sr_ops.run.job import Job
from swin2sr_ops.run.pipeline import Here
from swin2sr_ops.serve.chunk_cache import DiskCache
from swin2sr_ops.serve.source_levels import SourceLevels

__all__ = ["SourceChanged", "SourceGuard"]

_T = TypeVar("_T")
#: Seconds for which an answer that reads no pixels trusts the last look.
_STILL = 1.0
#: Seconds that a look may take to be repeated after every read; the files of a large Zarr, or of a server, take longer.
_CHEAP = 0.01
#: A look that takes longer is repeated after this many times its duration at the earliest.
_SHARE = 10.0


class SourceChanged(OutputError):
    """The source is not the image that was opened."""


class SourceGuard:
    """Compare a source with its state at the start.

    A look compares sizes, times and small documents of all files. It follows every read of pixels if it is cheap. Else
    looks take at most a tenth of the time, and the pixels that were read since the last one are not sure.

    Parameters
    ----------
    job : Job
    key : RunKey
        With the identity and the stamp of the input at the start.
    levels : SourceLevels
        Smaller copies of the source.
    disk : callable
        Returns the cache that a changed source spoils, or None.

    Attributes
    ----------
    changed : str
        A sentence once the source has changed, else empty.
    sure : bool
        Whether a look has followed every read of pixels, so that all are of the image at the start.
    """

    def __init__(self, job: Job, key: RunKey, levels: SourceLevels, disk: Callable[[], DiskCache | None]) -> None:
        self.changed = ""
        self.sure = True
        self._job, self._key, self._levels, self._disk = job, key, levels, disk
        self._looked = time.monotonic()
        self._costs = (0.0, 0.0)  # of the last two looks: one alone may have waited for other programs
        self._lock = threading.Lock()

    @property
    def watch(self) -> InputWatch:
        """Return the watch that compares the input with its state at the start."""
        disk = self._disk()
        return InputWatch(self._job, None if disk is None else disk.staging, Here().each, self._key)

    @property
    def due(self) -> bool:
        """Tell whether the last look is too long ago for an answer."""
        return self._since() >= max(_STILL, self._pause())

    def look(self) -> None:
        """Look at the files if that is due; `changed` says what was found.

        A source that cannot be looked at has not changed: who reads its pixels gets the error.
        """
        if self.changed or not self.due:
            return
        with self._lock:
            if self.due:
                try:
                    self._compare()
                except Swin2SROpsError:
                    self._looked = time.monotonic()

    def check_known(self) -> None:
        """Refuse if the source is known to have changed; this looks at no file."""
        if self.changed:
            raise SourceChanged(self.changed)

    def check(self) -> None:
        """Refuse pixels that were read just now if the source is another image than at the start."""
        self.check_known()
        with self._lock:
            if self._since() >= self._pause():
                self._compare()
            else:
                self.sure = False
        self.check_known()

    def has_changed(self) -> bool:
        """Look now, unless that takes long and was done lately; tell whether the source has changed."""
        with suppress(Swin2SROpsError):
            self.check()
        return bool(self.changed)

    async def watched(self, work: Awaitable[_T]) -> _T:
        """Wait for ``work`` with the image.

        Raises
        ------
        SourceChanged
            It failed, and the source has changed: a file that is just written may fail in any way.
        """
        try:
            return await work
        # Whatever failed, the image opened anew may not have it.
        except Exception as exc:
            if await asyncio.to_thread(self.has_changed):
                raise SourceChanged(self.changed) from exc
            raise

    def _since(self) -> float:
        return time.monotonic() - self._looked

    def _pause(self) -> float:
        cost = min(self._costs)
        return 0.0 if cost < _CHEAP else _SHARE * cost

    def _compare(self) -> None:
        began = time.monotonic()
        other = identity(self._job) != self._key.settings["source"]
        same = not other and not self._levels.changed()
        self._looked = time.monotonic()
        self._costs = self._costs[1], self._looked - began
        self.sure = same
        if not same:
            self.changed = (
                f"The input {self._job.source.uri!r} changed while it was served: open it again, and remove the cache"
                " or give another one."
            )
            if other and (disk := self._disk()) is not None:
                disk.spoil()
