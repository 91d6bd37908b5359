"""The plugin, and the provider that it adds to QGIS's Processing."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication, QgsProcessingProvider

from .algorithm import RestoreRaster


class Provider(QgsProcessingProvider):  # type: ignore[misc]  # QGIS has no types
    """Algorithms whose ids begin with ``swin2sr:``."""

    def id(self) -> str:
        """For scripts."""
        return "swin2sr"

    def name(self) -> str:
        """For people."""
        return "Swin2SR restoration"

    def loadAlgorithms(self) -> None:
        """QGIS asks for what there is."""
        self.addAlgorithm(RestoreRaster())


class Plugin:
    """What QGIS loads and unloads."""

    def __init__(self, _iface: Any) -> None:
        self.provider: Any = None

    def initProcessing(self) -> None:
        """All that ``qgis_process`` needs."""
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """In the application."""
        self.initProcessing()

    def unload(self) -> None:
        """Switched off, or QGIS ends."""
        QgsApplication.processingRegistry().removeProvider(self.provider)
