"""Numbers of TIFF tags."""

from __future__ import annotations

__all__ = ["GDAL_METADATA", "GDAL_NODATA", "ORIENTATION"]

ORIENTATION = 274
#: Tags that GDAL defines.
GDAL_METADATA, GDAL_NODATA = 42112, 42113
