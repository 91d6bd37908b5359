"""The preview: a layer that shows, restored, what is visible of another, and follows pan and zoom."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from swin2sr_ops import Restorer
from swin2sr_ops.errors import RequestError
from swin2sr_ops_napari.layers import PREVIEW_MARK, LayerImage, appearance, place
from swin2sr_ops_napari.mailbox import Mailbox
from swin2sr_ops_napari.painter import Painted, Painter, Wish
from swin2sr_ops_napari.presence import bring, take_away
from swin2sr_ops_napari.request import Request
from swin2sr_ops_napari.sheet import Memory, Sheet
from swin2sr_ops_napari.standin import StandIn, covers
from swin2sr_ops_napari.view import View, boxes
from swin2sr_ops_napari.viewport import camera_of, canvas_size, look, main_window, pixel_ratio

__all__ = ["Preview"]

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
    stale : Signal()
        The source has other pixels now: start again.
    """

    said = Signal(str)
    failed = Signal(object)
    stale = Signal()

    def __init__(self, viewer: Any, widget: QWidget) -> None:
        super().__init__()
        self._viewer, self._widget = viewer, widget
        self._source: Any = None
        self._image: Any = None
        self._layer: Any = None
        self._sheet: Sheet | None = None
        self._wish: Wish | None = None
        self._number = self._boxes = self._left = 0
        self._memory = Memory()
        self._stand: StandIn | None = None
        self._edition = 0  # of the source's pixels
        self._mail = Mailbox(self._receive)
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
        """True if it follows a layer."""
        return self._source is not None

    @property
    def source(self) -> Any:
        """The layer that it follows, or None."""
        return self._source

    @property
    def finished(self) -> bool:
        """True if the whole visible part is restored."""
        return self.running and self._wish is not None and self._left == 0

    @property
    def layer(self) -> Any:
        """The layer that it shows, or None."""
        return self._layer

    def start(self, layer: Any, image: LayerImage, request: Request) -> None:
        """Follow ``layer`` until `stop`."""
        restorer = request.restorer(image)
        if self._source is not None and self._source != layer:
            self._unfollow()
            self._drop()
        if self._source is None:
            self._edition += 1
        if self._layer is not None and (self._layer.ndim, self._layer.rgb) != (layer.ndim, layer.rgb):
            self._drop()
        if self._source is None:
            self._source = layer
            for event, slot in self._wires():
                event.connect(slot)
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
        self._unfollow()
        self._watch.stop()
        self._settle.stop()
        self._memory.clear()
        if self._layer is not None:
            self._layer.opacity = 0
        self._dropping.start()

    def compare(self, show_source: bool) -> None:
        """Show the source instead of the preview, or the preview again."""
        if self._stand is not None:
            self._stand.compare(show_source)

    def _unfollow(self) -> None:
        """Disconnect from the source and the viewer; the source is shown again."""
        for event, slot in self._wires():
            with suppress(ValueError, RuntimeError, KeyError):
                event.disconnect(slot)
        if self._stand is not None:
            self._stand.end()
            self._stand = None
        self._source = self._image = self._wish = None  # a layer that is removed takes its pixels with it

    def _wires(self) -> list[tuple[Any, Any]]:
        camera, dims, source = camera_of(self._viewer).events, self._viewer.dims.events, self._source.events
        moved = [camera.center, camera.zoom, dims.current_step, dims.order, dims.ndisplay]
        return [
            *((event, self._moved) for event in moved),
            (source.data, self._data_replaced), (source.set_data, self._drawn),
            (self._viewer.layers.events.removed, self._removed),
        ]  # fmt: skip

    def leave(self) -> None:
        """End at once and take the layer away; the widget is going, the viewer stays."""
        with suppress(RuntimeError):
            self.stop()
            self._drop()
        self.close()

    def close(self) -> None:
        """End the thread; the viewer is going away."""
        for timer in (self._watch, self._settle, self._repaint, self._dropping):
            with suppress(RuntimeError):  # Qt may have deleted it already
                timer.stop()
        self._source = self._wish = self._stand = None
        self._painter.close()

    # --- following ----------------------------------------------------------------------------

    def _moved(self, _event: Any = None) -> None:
        self._painter.want(None)  # what was wanted is not, and the window has the processor while it moves
        self._wish = None
        if self._stand is not None and not covers(self._stand.layer):
            self._stand.set_ready(False)  # the hidden source has pixels where the preview has none yet
        self._settle.start()  # anew: the look comes when the movement has ended

    def _removed(self, _event: Any = None) -> None:
        """End, with a sentence, when the source or the preview's own layer was removed."""
        if not self.running:
            return
        gone = self._source not in self._viewer.layers
        if not gone and (self._layer is None or self._layer in self._viewer.layers):
            return
        name = self._source.name if gone else "the preview"
        if not gone:
            self._layer = None
        self.stop()
        self.said.emit(f"The preview ended: {name!r} was removed." if gone else "The preview ended: it was removed.")

    def _data_replaced(self, _event: Any = None) -> None:
        self._edition += 1
        self.stale.emit()

    def _drawn(self, _event: Any = None) -> None:
        """Look for an edit in place, which napari announces like any other drawing of the layer."""
        if self._wish is not None and not self._settle.isActive():
            self._painter.check(self._wish)

    def _look(self) -> None:
        if not self.running:
            return
        window = main_window(self._widget)
        try:
            view = look(
                self._viewer, self._source, self._image, canvas_size(window), pixel_ratio(window),
                all_planes=self._restorer.spec.planes > 1,
            )  # fmt: skip
        except RequestError as exc:
            self._painter.want(None)
            self._wish = None
            if self._stand is not None:
                self._stand.set_ready(False)  # what it shows is of another plane
            self.said.emit(str(exc))
            return
        if view is None:
            self.said.emit("Nothing of the layer is visible.")
        elif self._wish is None or (self._wish.view.plane, self._wish.view.window) != (view.plane, view.window):
            try:
                self._show(view)
            # Shown in the window. Otherwise the next look would try again, twice a second.
            except Exception as exc:  # noqa: BLE001
                self.stop()
                self.failed.emit(exc)

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
        # A source that is not covered is hidden, so the sheet needs the source's pixels where it has none.
        base = sheet.box if missing and not covers(self._layer) else None
        if self._stand is not None:
            self._stand.set_ready(base is None)
        self._wish = Wish(
            self._number, view, tuple(missing), self._request, restorer, base, tuple(wanted), self._edition
        )
        self._painter.want(self._wish if missing else None)
        self._say(True)

    def _lay(self, sheet: Sheet) -> None:
        """Put the sheet where it belongs in the viewer."""
        where = place(self._source, *sheet.place)
        if self._layer is not None and self._layer in self._viewer.layers:
            for name in ("scale", "rotate", "shear", "affine", "translate"):
                if not np.array_equal(np.asarray(getattr(self._layer, name)), np.asarray(where[name])):
                    setattr(self._layer, name, where[name])  # each draws the layer anew
            self._layer.data = sheet.array  # also where it is hidden: it may be shown again at any time
            return
        # One level: napari would look for the smallest of them for its thumbnail.
        self._layer = bring(
            self._viewer, main_window(self._widget), sheet.array, name=f"Preview of {self._source.name}",
            multiscale=False, metadata={PREVIEW_MARK: True}, above=self._source, **where,
            **appearance(self._source),
        )  # fmt: skip
        self._stand = StandIn(self._source, self._layer, self._moved)

    def _drop_idle(self) -> None:
        """Take the layer away once the tile at work is done: napari needs the processor for that."""
        if self.running:
            self._dropping.stop()
        elif not self._painter.busy:
            self._drop()

    def _drop(self) -> None:
        self._dropping.stop()
        if self._stand is not None:
            self._stand.end()
            self._stand = None
        take_away(self._viewer, self._layer)
        self._layer = self._sheet = None

    # --- painting -----------------------------------------------------------------------------

    def _tell(self, painted: Painted) -> None:
        """In the painter's thread."""
        if not self._mail.post(painted):
            self._painter.want(None)

    def _receive(self, items: list[Painted]) -> None:
        for painted in items:
            if painted.edited is None:
                self._paint(painted)
            elif painted.wish.edition != self._edition or not self.running:
                continue  # its pixels have been replaced since
            elif painted.edited:
                self._data_replaced()  # also where the view has moved since: its tiles may be of the same pixels
            else:
                self._memory.clear()  # what is out of sight may have been edited

    def _paint(self, painted: Painted) -> None:
        if painted.error is not None:
            if painted.wish is self._wish:
                self.stop()
                self.failed.emit(painted.error)
            return
        if painted.base:
            if painted.wish is self._wish and self._sheet is not None and painted.pixels is not None:
                self._sheet.fill(painted.pixels)
                self._refresh()
                if self._stand is not None:
                    self._stand.set_ready(True)
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
            self._layer.refresh(extent=False, highlight=False)

    def _say(self, exact: bool) -> None:
        done = f"{self._boxes - self._left} of {self._boxes} tiles"
        state = "Preview: all that is visible is restored." if not self._left else f"Preview: {done}, centre first."
        level = 0 if self._wish is None else self._wish.view.level
        if self._wish is not None and (level or self._wish.view.step > 1):
            state += " Zoomed out: the displayed resolution is restored, not the full one."
        self.said.emit(state if exact else f"{state} Intensity range estimated from the smallest level.")
