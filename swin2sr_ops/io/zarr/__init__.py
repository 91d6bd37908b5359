"""Zarr and OME-Zarr: images, plates, labels."""
