"""GeoTIFF, COG and the other rasters that GDAL reads."""
