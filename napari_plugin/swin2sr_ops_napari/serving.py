"""Draw served layers again as their tiles come."""

from __future__ import annotations

import weakref
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
        self._viewer, self._failed = viewer, failed
        # Weak: the layer holds the server. A window that stays open would hold the tiles, and the source's pixels.
        self._server = weakref.ref(server)
        self._mail = Mailbox(self._receive, self)
        self._repaint = QTimer(self)
        self._repaint.setSingleShot(True)
        self._repaint.setInterval(_REPAINT)
        self._repaint.timeout.connect(self._draw)
        server.tell = self._mail.post
        viewer.layers.events.removed.connect(self._removed)
        self._draw()  # what was asked for before anyone listened

    def _receive(self, items: list[BaseException | None]) -> None:
        error = next((item for item in items if item is not None), None)
        if not self._repaint.isActive():
            self._repaint.start()
        if error is not None:
            self._failed(error)

    def _draw(self) -> None:
        for layer in self._layers():
            layer.refresh(extent=False, highlight=False)

    def _layers(self) -> list[Any]:
        server = self._server()
        return [] if server is None else [layer for layer in self._viewer.layers if _server(layer) is server]

    def _removed(self, _event: Any = None) -> None:
        """Drop the tiles when no layer shows them; end when nothing else can show them again."""
        if self._layers():
            return
        server = self._server()
        if server is not None:
            server.forget()
            return
        self._viewer.layers.events.removed.disconnect(self._removed)
        self.deleteLater()


def _server(layer: Any) -> Server | None:
    """Return the server of a layer's data, if it has one."""
    data = layer.data
    level = data[0] if isinstance(layer, Image) and layer.multiscale else data
    return level.server if isinstance(level, ServedLevel) else None
