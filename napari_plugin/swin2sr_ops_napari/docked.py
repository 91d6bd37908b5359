"""A widget in napari's dock that notices when the dock is closed."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget

__all__ = ["Docked"]


class Docked(QWidget):
    """Call `leave` when napari closes the dock: napari takes the widget out, and does not delete it."""

    _docked = False

    def event(self, event: QEvent) -> bool:
        """Handle a Qt event; notice the change of the parent."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None and self._docked:
                self.leave()
            self._docked = self.parent() is not None
        return bool(super().event(event))

    def leave(self) -> None:
        """End what must end with the dock."""
