"""Pixel arrays in NumPy: intensity maps, statistics, sampling, masks and nodata."""
