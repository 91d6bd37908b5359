"""Run work in napari's thread pool, with a bar in the activity dock and three ways to cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import create_worker
from napari.utils import cancelable_progress
from qtpy.QtCore import QObject, QTimer, Signal

from swin2sr_ops.hosting import Event, TileDone
from swin2sr_ops_napari.layer_run import Stop, Stopped, Tell
from swin2sr_ops_napari.mailbox import Mailbox
from swin2sr_ops_napari.pace import Pace
from swin2sr_ops_napari.warm import load_torch

__all__ = ["Background", "Outcome"]

Work = Callable[[Tell, Stop], Any]
_POLL = 100  # ms
#: Milliseconds in which napari draws a new layer, and then the bar, before anything is computed beside it.
_PAUSE = 40


@dataclass(frozen=True)
class Outcome:
    """The result of some work, its error, or neither where it was cancelled."""

    result: Any = None
    error: BaseException | None = None

    @property
    def stopped(self) -> bool:
        """True if the user pressed Cancel."""
        return isinstance(self.error, Stopped)


@dataclass(frozen=True)
class _Named:
    """A function with a readable name: napari prints it when the window is closed during a run."""

    title: str
    function: Callable[[], None]

    def __call__(self) -> None:
        self.function()

    def __str__(self) -> str:
        return f"“{self.title}” (Swin2SR ops)"


class Background(QObject):
    """One piece of work in the background.

    Parameters
    ----------
    title : str
        Shown in the activity dock and in napari's closing question.
    work : callable
        ``work(tell, stop)``, called in another thread; it tells events as `swin2sr_ops.restore_image` does.
    keeps : bool
        Whether a result that was finished in the moment of a Cancel is kept.
    """

    moved = Signal(str, int, int)
    """A line on the progress, and how much of how much is done."""
    ended = Signal(object)
    """`Outcome`."""

    def __init__(self, title: str, work: Work, *, keeps: bool = True) -> None:
        super().__init__()
        self._title, self._keeps = title, keeps
        self._work: Work | None = work
        self._stop = threading.Event()
        self._bar: cancelable_progress | None = None
        self._pace: Pace | None = None
        self._worker: Any = None
        self._mail = Mailbox(self._receive)
        self._poll = QTimer(self)
        self._poll.setInterval(_POLL)
        self._poll.timeout.connect(self._look)

    @property
    def cancelled(self) -> bool:
        """True if a stop was requested."""
        return self._stop.is_set()

    def start(self) -> None:
        """Begin, a moment later. napari asks before it closes while this runs, and then stops it."""
        self._poll.start()
        self._worker = create_worker(_Named(self._title, self._run))
        QTimer.singleShot(_PAUSE, self._launch)

    def cancel(self) -> None:
        """Stop after the current tile."""
        self._stop.set()

    def _launch(self) -> None:
        # The bar first, in this thread, which makes its widget: beside work, that takes napari twice as long.
        self._bar = cancelable_progress(total=0, desc=self._title)
        QTimer.singleShot(_PAUSE, self._worker.start)

    # --- in the worker's thread ---------------------------------------------------------------

    def _run(self) -> None:
        # napari keeps the worker, and with it this object: it must not hold the image and the result.
        work, self._work = self._work, None
        assert work is not None
        try:
            load_torch()
            outcome = Outcome(work(self._emit, self._asked))
            if not self._keeps and self._asked():
                outcome = Outcome(error=Stopped("It was cancelled."))
        # Any error is shown in the window; the pool's thread must not end with it.
        except Exception as exc:  # noqa: BLE001
            outcome = Outcome(error=exc)
        self._emit(outcome)

    def _emit(self, item: Event | Outcome) -> None:
        if not self._mail.post(item):
            self._stop.set()

    def _asked(self) -> bool:
        return self._stop.is_set() or bool(self._worker.abort_requested)

    # --- in the window's thread ---------------------------------------------------------------

    def _receive(self, items: list[Any]) -> None:
        """Draw the state after all ``items`` once, however many there are."""
        line, done, total = "", 0, 0
        for item in items:
            if not isinstance(item, Outcome):
                line, done, total = self._line(item) or (line, done, total)
        outcome = items[-1] if isinstance(items[-1], Outcome) else None
        if line and outcome is None and self._poll.isActive():
            self._open_bar(line, done, total)
            self.moved.emit(line, done, total)
        if outcome is not None:
            self._end(outcome)

    def _line(self, event: Event) -> tuple[str, int, int] | None:
        kind, done, total = event.kind, event.done, event.total
        if kind == "start":
            self._pace = Pace(done, total)
        elif isinstance(event, TileDone) and self._pace is not None:
            self._pace.step(done, event.pixels)
        elif kind in ("range", "pyramid"):
            what = "Reading the intensity range" if kind == "range" else "Making the smaller levels"
            return f"{what}: {done} of {total}", done, total
        else:
            return None
        return str(self._pace), done, total

    def _open_bar(self, line: str, done: int, total: int) -> None:
        """Move the bar in the activity dock; another phase gives it another title and total."""
        phase = line.partition(":")[0].lower() if ":" in line else ""
        title = f"{self._title}: {phase}" if phase else self._title
        bar = self._bar
        if bar is None:
            return
        if bar.desc.rstrip(": ") != title or bar.total != total:
            bar.set_description(title)
            bar.total = total
            bar.reset(total)
        bar.update(done - bar.n)

    def _look(self) -> None:
        """Poll the button of napari's bar, which sends no signal."""
        if self._bar is not None and self._bar.is_canceled:
            self.cancel()

    def _end(self, outcome: Outcome) -> None:
        self._poll.stop()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        self.ended.emit(outcome)
