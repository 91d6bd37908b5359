"""A run in napari's thread pool: events in the window's thread, bars in the activity dock, Cancel from three places."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import create_worker
from napari.utils import cancelable_progress
from qtpy.QtCore import QObject, QTimer, Signal

from swin2sr_ops_napari.pace import Pace
from swin2sr_ops_napari.warm import load_torch
from swin2sr_ops_napari.whole import Stop, Stopped, Tell

__all__ = ["Background", "Outcome"]

Work = Callable[[Tell, Stop], Any]
_POLL = 100  # ms


@dataclass(frozen=True)
class Outcome:
    """What became of it: a result, an error, or neither where it was cancelled."""

    result: Any = None
    error: BaseException | None = None

    @property
    def stopped(self) -> bool:
        """Whether somebody pressed Cancel."""
        return isinstance(self.error, Stopped)


class Background(QObject):
    """One piece of work in the background.

    Parameters
    ----------
    title : str
        For the activity dock.
    work : callable
        ``work(tell, stop)``, called in another thread; it tells events as `swin2sr_ops.restore_image` does.
    """

    moved = Signal(str, int, int)
    """What it does, and how much of how much is done."""
    ended = Signal(object)
    """`Outcome`."""
    _told = Signal(object)
    _done = Signal(object)

    def __init__(self, title: str, work: Work) -> None:
        super().__init__()
        self._title, self._work = title, work
        self._stop = threading.Event()
        self._bar: cancelable_progress | None = None
        self._pace: Pace | None = None
        self._worker: Any = None
        self._told.connect(self._hear)
        self._done.connect(self._end)
        self._poll = QTimer(self)
        self._poll.setInterval(_POLL)
        self._poll.timeout.connect(self._look)

    @property
    def cancelled(self) -> bool:
        """Whether somebody has asked to stop."""
        return self._stop.is_set()

    def start(self) -> None:
        """Begin. napari asks before it closes while this runs, and then stops it."""
        self._poll.start()
        self._worker = create_worker(self._run)
        self._worker.start()

    def cancel(self) -> None:
        """Stop after the tile at work."""
        self._stop.set()

    # --- in the worker's thread ---------------------------------------------------------------

    def _run(self) -> None:
        try:
            load_torch()
            outcome = Outcome(self._work(self._emit, self._asked))
        # Whatever it is, it is told in the window.
        except Exception as exc:  # noqa: BLE001
            outcome = Outcome(error=exc)
        try:
            self._done.emit(outcome)
        except RuntimeError:  # Qt has deleted this object: the window is closed, and nobody waits
            self._stop.set()

    def _emit(self, event: dict[str, Any]) -> None:
        try:
            self._told.emit(event)
        except RuntimeError:
            self._stop.set()

    def _asked(self) -> bool:
        return self._stop.is_set() or bool(self._worker.abort_requested)

    # --- in the window's thread ---------------------------------------------------------------

    def _hear(self, event: dict[str, Any]) -> None:
        """What the run tells. napari's bars let other events in, so the end may come while one is drawn."""
        kind, done, total = event["kind"], int(event.get("done", 0)), int(event.get("total", 0))
        told = ""
        if kind == "start":
            self._pace = Pace(done, total)
            told = str(self._pace)
            self._open_bar(self._title, done, total)
        elif kind == "tile" and self._pace is not None:
            self._pace.step(done, int(event.get("pixels", 0)))
            told = str(self._pace)
            self._set_bar(done)
        elif kind in ("range", "pyramid"):
            what = "Looking at the intensity range" if kind == "range" else "Making the smaller levels"
            told = f"{what}: {done} of {total}"
            self._open_bar(f"{self._title}: {what.lower()}", done, total)
        if told and self._poll.isActive():
            self.moved.emit(told, done, total)

    def _open_bar(self, title: str, done: int, total: int) -> None:
        """One bar, given another title and total where the work goes on to something else."""
        bar = self._bar
        if bar is None:
            # In this thread: napari makes the widget where the bar is made.
            self._bar = cancelable_progress(total=total, desc=title, initial=done)
        elif bar.desc.rstrip(": ") != title:
            bar.set_description(title)
            bar.total = total
            bar.reset(total)
        self._set_bar(done)

    def _set_bar(self, done: int) -> None:
        bar = self._bar
        if bar is not None:
            bar.update(done - bar.n)

    def _look(self) -> None:
        """napari's bar calls nobody when its button is pressed."""
        if self._bar is not None and self._bar.is_canceled:
            self.cancel()

    def _end(self, outcome: Outcome) -> None:
        self._poll.stop()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        self.ended.emit(outcome)
