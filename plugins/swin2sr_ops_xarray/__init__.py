"""Restoration as an xarray accessor: ``import swin2sr_ops_xarray``, then ``array.swin2sr.restore()``.

xarray finds accessors by import alone: there is no entry point that would load this module. The code for
`swin2sr-ops hosts` is in ``swin2sr_ops_xarray_host``, so that the command imports no xarray.
"""

from __future__ import annotations

try:
    import xarray as _xarray
except ImportError as exc:
    raise ImportError("xarray is not installed: `pip install 'swin2sr-ops[xarray]'` brings it.") from exc

from swin2sr_ops_xarray.accessor import RestoreArray, RestoreDataset

__all__ = ["RestoreArray", "RestoreDataset"]

_xarray.register_dataarray_accessor("swin2sr")(RestoreArray)  # type: ignore[no-untyped-call]
_xarray.register_dataset_accessor("swin2sr")(RestoreDataset)  # type: ignore[no-untyped-call]
