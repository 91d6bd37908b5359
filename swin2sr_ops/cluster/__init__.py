"""The processes of a Dask cluster."""
