"""Keep Python's full garbage collections short while something is computed beside a window.

A full collection looks at every object of the process, about 300,000 of them in an open napari window, and holds
Python's lock for 150 ms and more. Any thread sets one off that makes enough objects, such as one that reads a Dask
array. So while work runs, the collector leaves out what existed before: it sees new objects only, within some ms.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, QTimer

__all__ = ["Calm"]

_LOOK = 750  # ms


class Calm(QObject):
    """Freeze what exists (`gc.freeze`) from `keep` until nothing is computed any more.

    A layer that is removed meanwhile still frees its pixels: napari collects garbage then. If the layer was frozen,
    everything is unfrozen first, and frozen again later.

    Parameters
    ----------
    viewer : napari.Viewer
    busy : callable
        True while something is computed.
    """

    def __init__(self, viewer: Any, busy: Callable[[], bool]) -> None:
        super().__init__()
        self._viewer, self._busy = viewer, busy
        self._frozen: list[weakref.ref[Any]] = []
        self._idle = 0
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK)
        self._timer.timeout.connect(self._look)

    def keep(self) -> None:
        """Begin, before the work makes its own layers: what is new can be collected."""
        self._idle = 0
        if not self._timer.isActive():
            self._viewer.layers.events.removing.connect(self._removing)
            self._timer.start()
            self._freeze()

    def end(self) -> None:
        """Let the collector see everything again."""
        with suppress(RuntimeError):  # Qt may have deleted it already
            self._timer.stop()
        with suppress(ValueError, RuntimeError, KeyError):
            self._viewer.layers.events.removing.disconnect(self._removing)
        gc.unfreeze()

    def _freeze(self) -> None:
        self._frozen = [weakref.ref(layer) for layer in self._viewer.layers]
        gc.freeze()

    def _look(self) -> None:
        # Idle at two looks: the end of a run adds a layer, or removes one a moment later.
        self._idle = 0 if self._busy() else self._idle + 1
        if self._idle == 2:
            self.end()
        elif not gc.get_freeze_count():
            self._freeze()

    def _removing(self, event: Any) -> None:
        layer = event.source[event.index]  # the viewer itself may be a proxy, whose layers are proxies
        if any(frozen() is layer for frozen in self._frozen):
            gc.unfreeze()
