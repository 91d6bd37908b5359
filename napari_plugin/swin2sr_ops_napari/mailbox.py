"""Pass messages from other threads to the window's thread, without nested deliveries."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal

__all__ = ["Mailbox"]


class Mailbox(QObject):
    """Deliver posted items to one receiver in the window's thread.

    napari's progress bars and notifications process Qt's events. A slot that draws one of them is therefore
    entered again by the next queued signal, and so on until the stack overflows. A mailbox queues the items
    itself: one delivery runs at a time, and takes everything that was posted until then.

    Parameters
    ----------
    receive : callable
        Called with a list of items, oldest first.
    parent : QObject, optional
        Nothing is delivered after its end.
    """

    _rung = Signal()

    def __init__(self, receive: Callable[[list[Any]], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._receive = receive
        self._items: list[Any] = []
        self._lock = threading.Lock()
        self._delivering = False
        self._rung.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def post(self, item: Any) -> bool:
        """Queue ``item``, from any thread; False where the window is closed and nothing will be delivered."""
        with self._lock:
            self._items.append(item)
            first = len(self._items) == 1
        return self._ring() if first else True

    def _ring(self) -> bool:
        try:
            self._rung.emit()
        except RuntimeError:  # Qt has deleted this object together with the window
            return False
        return True

    def _deliver(self) -> None:
        if self._delivering:
            return
        self._delivering = True
        try:
            with self._lock:
                items, self._items = self._items, []
            if items:
                self._receive(items)
        finally:
            self._delivering = False
            # A ring that came during the delivery was ignored above.
            if self._items:
                self._ring()
