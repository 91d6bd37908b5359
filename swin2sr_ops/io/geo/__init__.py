"""Read and write GeoTIFF and COG, and read the other rasters of GDAL."""
