"""Define the menu's commands besides opening the widget."""

from __future__ import annotations

from swin2sr_ops_napari import check_host

check_host()

import napari  # noqa: E402  (said first that it is missing)

from swin2sr_ops_napari.host import NAME, WIDGET  # noqa: E402

__all__ = ["preview"]


def preview(viewer: napari.Viewer) -> None:
    """Open the widget and restore what is visible."""
    _, widget = viewer.window.add_plugin_dock_widget(NAME, WIDGET)
    widget.start_preview()
