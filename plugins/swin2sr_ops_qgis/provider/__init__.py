"""The QGIS plugin. It runs in QGIS's Python, and needs neither NumPy nor torch there."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:  # noqa: N802, RUF100  (QGIS's name)
    """Create the plugin; QGIS calls this function."""
    from .provider import Plugin

    return Plugin(iface)
