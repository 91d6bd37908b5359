"""Draw a served layer again as its tiles come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QTimer

from swin2sr_ops_napari.mailbox import Mailbox
from swin2sr_ops_napari.served import Server

__all__ = ["Serving"]

#: Milliseconds between two drawings.
_REPAINT = 150


class Serving(QObject):
    """Ties a layer to its server.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : napari.layers.Image
        Its levels are those of the server.
    server : Server
    failed : callable
        Receives an error of a tile.
    parent : QObject or None
        The window, for the layer may outlive the widget that made it.
    """

    def __init__(
        self, viewer: Any, layer: Any, server: Server, failed: Callable[[BaseException], None], parent: QObject | None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._layer, self._server, self._failed = viewer, layer, server, failed
        self._mail = Mailbox(self._receive, self)
        self._repaint = QTimer(self)
        self._repaint.setSingleShot(True)
        self._repaint.setInterval(_REPAINT)
        self._repaint.timeout.connect(self._draw)
        server.tell = self._mail.post
        self._draw()  # what was asked for before anyone listened

    def _receive(self, items: list[BaseException | None]) -> None:
        error = next((item for item in items if item is not None), None)
        if not self._repaint.isActive():
            self._repaint.start()
        if error is not None:
            self._failed(error)

    def _draw(self) -> None:
        if self._layer in self._viewer.layers:
            self._layer.refresh(thumbnail=not self._server.busy, extent=False, highlight=False)
        else:
            self._server.rest()
