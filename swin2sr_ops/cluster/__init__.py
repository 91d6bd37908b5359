"""Restore tiles on the processes of a Dask cluster."""
