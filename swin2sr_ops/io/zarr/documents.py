"""Define the names of a Zarr's documents, and the Zarr formats of NGFF versions."""

from __future__ import annotations

__all__ = ["DOCUMENTS", "GROUP_DOCUMENTS", "ZARR_FORMATS"]

#: Documents of arrays and groups, in format 3 and 2; a folder with one of them is a Zarr.
DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
#: Documents that make a folder a group.
GROUP_DOCUMENTS = ("zarr.json", ".zgroup")
#: NGFF version -> Zarr format.
ZARR_FORMATS = {"0.4": 2, "0.5": 3}
