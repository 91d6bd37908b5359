"""The preview: a layer that shows, restored, what is visible of another, and follows pan and zoom."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from swin2sr_ops import Restorer
from swin2sr_ops.errors import RequestError
from swin2sr_ops_napari.away import take_away
from swin2sr_ops_napari.layers import LayerImage, appearance, place
from swin2sr_ops_napari.look import camera_of, canvas_size, look, main_window
from swin2sr_ops_napari.painter import Painted, Painter, Wish
from swin2sr_ops_napari.request import Request
from swin2sr_ops_napari.sheet import Memory, Sheet
from swin2sr_ops_napari.view import View, boxes

__all__ = ["MARK", "Preview"]

#: In the metadata of the preview's layer, so that nobody takes it for an image.
MARK = "swin2sr_ops_preview"
#: Milliseconds: after the last movement, between two looks at what may have changed, between two repaints.
_SETTLE, _WATCH, _REPAINT = 60, 500, 150


class Preview(QObject):
    """Restores what is visible, centre first, in a thread of its own.

    Attributes
    ----------
    said : Signal(str)
        What it is doing.
    failed : Signal(object)
        The error that ended it.
    """

    said = Signal(str)
    failed = Signal(object)
    _painted = Signal(object)

    def __init__(self, viewer: Any, widget: QWidget) -> None:
        super().__init__()
        self._viewer, self._widget = viewer, widget
        self._source: Any = None
        self._layer: Any = None
        self._sheet: Sheet | None = None
        self._wish: Wish | None = None
        self._number = self._boxes = self._left = 0
        self._memory = Memory()
        self._painted.connect(self._paint)
        self._painter = Painter(self._tell)
        self._settle, self._watch, self._repaint = (self._timer(ms) for ms in (_SETTLE, _WATCH, _REPAINT))
        self._settle.timeout.connect(self._look)
        self._watch.setSingleShot(False)
        self._watch.timeout.connect(self._look)
        self._repaint.timeout.connect(self._refresh)
        self._dropping = self._timer(_SETTLE)
        self._dropping.setSingleShot(False)
        self._dropping.timeout.connect(self._drop_idle)

    def _timer(self, interval: int) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(interval)
        return timer

    @property
    def running(self) -> bool:
        """Whether it follows a layer."""
        return self._source is not None

    @property
    def finished(self) -> bool:
        """Whether all that is visible is restored."""
        return self.running and self._wish is not None and self._left == 0

    @property
    def layer(self) -> Any:
        """The layer that it shows, or None."""
        return self._layer

    def start(self, layer: Any, image: LayerImage, request: Request) -> None:
        """Follow ``layer`` until `stop`."""
        restorer = request.restorer(image)
        if not self.running:
            for event in self._movements():
                event.connect(self._moved)
        if self._source != layer:
            self._drop()
        self._source, self._image, self._request, self._restorer = layer, image, request, restorer
        self._painter.want(None)
        self._wish = None
        self._memory.clear()
        self._watch.start()
        self._settle.start()
        self.said.emit("Preview: loading the model ...")

    def stop(self) -> None:
        """Take the layer away and rest."""
        self._painter.want(None)
        if not self.running:
            return
        for event in self._movements():
            event.disconnect(self._moved)
        self._watch.stop()
        self._settle.stop()
        self._source = self._wish = None
        self._memory.clear()
        if self._layer is not None:
            self._layer.opacity = 0
        self._dropping.start()

    def _movements(self) -> tuple[Any, ...]:
        events = camera_of(self._viewer).events
        return events.center, events.zoom, self._viewer.dims.events.current_step

    def close(self) -> None:
        """End the thread; the viewer is going away."""
        for timer in (self._watch, self._settle, self._repaint, self._dropping):
            with suppress(RuntimeError):  # Qt may have deleted it already
                timer.stop()
        self._source = self._wish = None
        self._painter.close()

    # --- following ----------------------------------------------------------------------------

    def _moved(self, _event: Any = None) -> None:
        self._painter.want(None)  # what was wanted is not, and the window has the processor while it moves
        self._wish = None
        self._settle.start()  # anew: the look comes when the movement has ended

    def _look(self) -> None:
        if not self.running:
            return
        if self._source not in self._viewer.layers:
            self.stop()
            self.said.emit("The preview ended: its layer was removed.")
            return
        size = canvas_size(main_window(self._widget))
        try:
            view = look(self._viewer, self._source, self._image, size)
        except RequestError as exc:
            self._painter.want(None)
            self._wish = None
            self.said.emit(str(exc))
            return
        if view is None:
            self.said.emit("Nothing of the layer is visible.")
        elif self._wish is None or (self._wish.view.plane, self._wish.view.window) != (view.plane, view.window):
            self._show(view)

    def _show(self, view: View) -> None:
        """Begin with a view: what is known of it at once, the rest as it comes."""
        restorer: Restorer = self._restorer
        wanted = boxes(view, restorer.spec.window)
        sheet = Sheet(view, wanted, restorer.spec.scale, self._image.dtype)
        missing = []
        for box in wanted:
            known = self._memory.get(view, box)
            if known is None:
                missing.append(box)
            else:
                sheet.put(box, known)
        self._sheet = sheet
        self._lay(sheet)  # before anything is computed: napari needs the processor for it
        self._number += 1
        self._boxes, self._left = len(wanted), len(missing)
        self._wish = Wish(self._number, view, tuple(missing), self._request, restorer)
        self._painter.want(self._wish if missing else None)
        self._say(True)

    def _lay(self, sheet: Sheet) -> None:
        """Put the sheet where it belongs in the viewer."""
        where = place(self._source, *sheet.place)
        if self._layer is not None and self._layer in self._viewer.layers:
            for name in ("scale", "rotate", "shear", "affine", "translate"):
                if not np.array_equal(np.asarray(getattr(self._layer, name)), np.asarray(where[name])):
                    setattr(self._layer, name, where[name])  # each draws the layer anew
            self._layer.data = sheet.array
            return
        chosen = list(self._viewer.layers.selection)
        # One level: napari would look for the smallest of them for its thumbnail.
        self._layer = self._viewer.add_image(
            sheet.array, name=f"Preview of {self._source.name}", multiscale=False, metadata={MARK: True},
            **where, **appearance(self._source),
        )  # fmt: skip
        self._viewer.layers.selection = set(chosen)

    def _drop_idle(self) -> None:
        """Take the layer away once the tile at work is done: napari needs the processor for that."""
        if self.running:
            self._dropping.stop()
        elif not self._painter.busy:
            self._drop()

    def _drop(self) -> None:
        self._dropping.stop()
        take_away(self._viewer, self._layer)
        self._layer = self._sheet = None

    # --- painting -----------------------------------------------------------------------------

    def _tell(self, painted: Painted) -> None:
        """In the painter's thread."""
        try:
            self._painted.emit(painted)
        except RuntimeError:  # Qt has deleted this object: the window is closed
            self._painter.want(None)

    def _paint(self, painted: Painted) -> None:
        if painted.error is not None:
            if painted.wish is self._wish:
                self.stop()
                self.failed.emit(painted.error)
            return
        if painted.box is None or painted.pixels is None or not self.running:
            return
        if painted.wish.restorer is self._restorer:
            self._memory.put(painted.wish.view, painted.box, painted.pixels)
        if painted.wish is not self._wish or self._sheet is None:
            return  # of a view that was left
        self._sheet.put(painted.box, painted.pixels)
        self._left -= 1
        self._say(painted.exact)
        if self._left + 1 == len(self._wish.boxes) or not self._left:
            self._refresh()
        elif not self._repaint.isActive():
            self._repaint.start()

    def _refresh(self) -> None:
        if self._layer is not None and self._layer in self._viewer.layers:
            self._layer.refresh(thumbnail=False, extent=False, highlight=False)

    def _say(self, exact: bool) -> None:
        done = f"{self._boxes - self._left} of {self._boxes} tiles"
        told = "Preview: all that is visible is restored." if not self._left else f"Preview: {done}, centre first."
        level = 0 if self._wish is None else self._wish.view.level
        if self._wish is not None and (level or self._wish.view.step > 1):
            told += " Zoomed out: the displayed resolution is restored, not the full one."
        self.said.emit(told if exact else f"{told} Intensity range estimated from the smallest level.")
