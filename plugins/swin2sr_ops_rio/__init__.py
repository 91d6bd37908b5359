"""``rio restore``: restoration as a command of rasterio's command line."""
