"""Define the plugin, and the provider that it adds to QGIS's Processing."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication, QgsProcessingProvider

from .algorithm import RestoreRaster


class Provider(QgsProcessingProvider):  # type: ignore[misc]  # QGIS has no types
    """Algorithms whose ids start with ``swin2sr:``."""

    def id(self) -> str:
        """Return the name for scripts."""
        return "swin2sr"

    def name(self) -> str:
        """Return the name for users."""
        return "Swin2SR restoration"

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        """Return the only format that is written for QGIS: GeoTIFF, as a COG."""
        return ["tif", "tiff"]

    def loadAlgorithms(self) -> None:
        """Add the algorithms; QGIS calls this method."""
        self.addAlgorithm(RestoreRaster())


class Plugin:
    """The plugin that QGIS loads and unloads."""

    def __init__(self, _iface: Any) -> None:
        self.provider: Any = None

    def initProcessing(self) -> None:
        """Add the provider; ``qgis_process`` needs nothing else."""
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """Start in the application."""
        self.initProcessing()

    def unload(self) -> None:
        """Remove the provider when the plugin is disabled or QGIS ends."""
        QgsApplication.processingRegistry().removeProvider(self.provider)
