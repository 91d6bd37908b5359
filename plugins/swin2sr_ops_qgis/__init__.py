"""Restoration as an algorithm of QGIS's Processing; ``provider/`` is the plugin that QGIS loads."""
