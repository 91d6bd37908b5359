"""Numbers of TIFF tags that GDAL defines."""

from __future__ import annotations

__all__ = ["GDAL_METADATA", "GDAL_NODATA"]

GDAL_METADATA, GDAL_NODATA = 42112, 42113
