"""Restore Dask arrays lazily."""
