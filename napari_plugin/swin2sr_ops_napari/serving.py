"""Draw served layers again as their tiles come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Image
from qtpy.QtCore import QObject, QTimer

from swin2sr_ops_napari.mailbox import Mailbox
from swin2sr_ops_napari.served import ServedLevel, Server

__all__ = ["Serving"]

#: Milliseconds between two drawings.
_REPAINT = 150


class Serving(QObject):
    """Ties the layers of a server to it: one, and its duplicates.

    Parameters
    ----------
    viewer : napari.Viewer
    server : Server
    failed : callable
        Receives an error of a tile.
    parent : QObject or None
        The window, for the layer may outlive the widget that made it.
    """

    def __init__(
        self, viewer: Any, server: Server, failed: Callable[[BaseException], None], parent: QObject | None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._server, self._failed = viewer, server, failed
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
        layers = [layer for layer in self._viewer.layers if _server(layer) is self._server]
        for layer in layers:
            layer.refresh(extent=False, highlight=False)
        if not layers:
            self._server.rest()


def _server(layer: Any) -> Server | None:
    """Return the server of a layer's data, if it has one."""
    data = layer.data
    level = data[0] if isinstance(layer, Image) and layer.multiscale else data
    return level.server if isinstance(level, ServedLevel) else None
