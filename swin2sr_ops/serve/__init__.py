"""Restored images that are computed when they are read: a Zarr store, its cache, and a web server."""
