"""The QGIS plugin. Runs in QGIS's Python: neither NumPy nor torch is needed there."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:  # noqa: N802, RUF100  (QGIS's name)
    """QGIS calls this to get the plugin."""
    from .provider import Plugin

    return Plugin(iface)
