"""The queue of cells that requests wait for: one tile serves neighbours, and cells that all gave up are dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from swin2sr_ops.errors import RequestError
from swin2sr_ops.serve.layers import Box, Cell

__all__ = ["ImageClosed", "TileQueue"]

#: Results that wait to be encoded and kept: computing waits for them, so memory stays bounded.
_BEHIND = 3


class ImageClosed(RequestError):
    """The image was closed before it gave what was asked of it."""

    def __init__(self) -> None:
        super().__init__("This image was closed while it was read: open it again.")


@dataclass
class _Entry:
    """A cell that is waited for."""

    urgent: bool
    futures: list[Future[Any]] = field(default_factory=list)

    @property
    def given_up(self) -> bool:
        return all(future.cancelled() for future in self.futures)


class TileQueue:
    """Cells wait here; threads compute them, urgent ones first, in the order in which they came.

    Parameters
    ----------
    choose : callable
        ``choose(first, waiting)`` returns the box of cells that one tile restores, ``first`` among them.
    compute : callable
        ``compute(box)`` restores a tile.
    finish : callable
        ``finish(box, computed)`` returns the result of each cell of the box; it runs beside the next tile.
    lanes : int
        Tiles in hand at once.
    """

    def __init__(
        self,
        choose: Callable[[Cell, Collection[Cell]], Box],
        compute: Callable[[Box], Any],
        finish: Callable[[Box, Any], Mapping[Cell, Any]],
        lanes: int = 1,
    ) -> None:
        self._choose, self._compute, self._finish, self._lanes = choose, compute, finish, lanes
        self._waiting: dict[Cell, _Entry] = {}
        self._working: dict[Cell, _Entry] = {}
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._writer: ThreadPoolExecutor | None = None
        self._behind = threading.Semaphore(_BEHIND)
        self._closed = False
        self.tiles = self.cells = self.dropped = 0
        self.seconds = 0.0

    @property
    def waiting(self) -> int:
        """Cells for which no tile has begun."""
        return len(self._waiting)

    def ask(self, cell: Cell, known: Callable[[], Any], *, urgent: bool = True) -> Future[Any]:
        """Wait for ``cell``: a future of its own for each who asks; cancelled by all, it is not computed.

        ``known()`` returns the result where it has come meanwhile, else None.
        """
        future: Future[Any] = Future()
        with self._changed:
            if self._closed:
                raise ImageClosed
            entry = self._working.get(cell) or self._waiting.get(cell)
            if entry is None:
                found = known()
                if found is not None:
                    future.set_result(found)
                    return future
                entry = self._waiting[cell] = _Entry(urgent)
            entry.futures.append(future)
            entry.urgent |= urgent
            if not self._threads:
                self._start()
            self._changed.notify()
        return future

    def close(self) -> None:
        """Stop the threads after the tile in hand; who waits for another one gets `ImageClosed`."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, {}
            self._changed.notify_all()
        self._answer(waiting, error=ImageClosed())
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        if self._writer is not None:
            self._writer.shutdown()

    def _start(self) -> None:
        self._writer = ThreadPoolExecutor(2, "serve-write")
        for number in range(self._lanes):
            thread = threading.Thread(target=self._work, name=f"serve-tile-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        assert self._writer is not None
        while True:
            taken = self._next()
            if taken is None:
                return
            box, entries = taken
            began = time.monotonic()
            try:
                computed = self._compute(box)
            # Whatever failed is the answer for those who wait; the queue lives.
            except BaseException as exc:  # noqa: BLE001
                self._answer(entries, error=exc)
                continue
            with self._changed:
                self.tiles += 1
                self.cells += len(entries)
                self.seconds += time.monotonic() - began
            self._behind.acquire()
            self._writer.submit(self._end, box, computed, entries)

    def _next(self) -> tuple[Box, dict[Cell, _Entry]] | None:
        """Take the cells of the next tile; None when closed."""
        with self._changed:
            while True:
                if self._closed:
                    return None
                self._drop()
                first = next((cell for cell, entry in self._waiting.items() if entry.urgent), None)
                first = first or next(iter(self._waiting), None)
                if first is not None:
                    break
                self._changed.wait()
            box = self._choose(first, self._waiting.keys())
            # Cells without a request are among them: one that comes meanwhile shares the tile.
            entries = {cell: self._waiting.pop(cell, _Entry(urgent=False)) for cell in box.cells()}
            self._working |= entries
            return box, entries

    def _drop(self) -> None:
        """Forget cells that all who asked have given up."""
        for cell in [cell for cell, entry in self._waiting.items() if entry.given_up]:
            del self._waiting[cell]
            self.dropped += 1

    def _end(self, box: Box, computed: Any, entries: dict[Cell, _Entry]) -> None:
        try:
            results = self._finish(box, computed)
        except BaseException as exc:  # noqa: BLE001  # as in `_work`
            self._answer(entries, error=exc)
        else:
            self._answer(entries, results)
        finally:
            self._behind.release()

    def _answer(
        self, entries: dict[Cell, _Entry], results: Mapping[Cell, Any] | None = None, error: BaseException | None = None
    ) -> None:
        with self._changed:
            for cell in entries:
                self._working.pop(cell, None)
        for cell, entry in entries.items():
            for future in entry.futures:
                if not future.set_running_or_notify_cancel():
                    continue
                if error is not None:
                    future.set_exception(error)
                else:
                    assert results is not None
                    future.set_result(results[cell])
