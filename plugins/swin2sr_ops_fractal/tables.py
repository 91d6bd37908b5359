"""Tables of regions (Fractal's ROI tables), carried beside a restored image.

Regions are boxes in physical units, measured from the image's first corner: they fit an image with
smaller pixels as they are. Tables of measurements are not carried: they were measured on other pixels.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from swin2sr_ops.hosting import Files, files_at, group_documents
from swin2sr_ops_fractal.groups import attributes_of

__all__ = ["carry_tables"]

_REGIONS, _OF_LABEL = "roi_table", "masking_roi_table"


def carry_tables(zarr_url: str, target: str, *, labels: bool = False) -> tuple[str, ...]:
    """Copy the tables of regions of an image to its restored version; done again, the result is the same.

    Parameters
    ----------
    zarr_url, target : str
        Image groups of one version of Zarr.
    labels : bool
        Whether labels were carried: only then tables of a label's regions are.

    Returns
    -------
    tuple of str
        Names of the tables that were carried.
    """
    kinds = {_REGIONS, _OF_LABEL} if labels else {_REGIONS}
    attributes = attributes_of(f"{zarr_url}/tables") or {}
    wanted = [str(name) for name in attributes.get("tables") or ()]
    found = [name for name in wanted if (attributes_of(f"{zarr_url}/tables/{name}") or {}).get("type") in kinds]
    source, there = files_at(zarr_url), files_at(target)
    left = [name for name in wanted if name not in found]
    if left:
        logging.getLogger("swin2sr_ops.fractal").info("tables left out: %s", ", ".join(left))
    for name in found:
        _copy(source, there, f"tables/{name}")
    if found:
        _list(target, there, found, "0.5" if source.read("tables/zarr.json") is not None else "0.4")
    return tuple(found)


def _copy(source: Files, target: Files, prefix: str) -> None:
    for key in sorted(source.listing(prefix)):
        data = source.read(key)
        if data is not None:
            target.write(key, data)


def _list(url: str, files: Files, names: list[str], version: str) -> None:
    """Say which tables there are: last, so that what is named is there."""
    attributes: dict[str, Any] = json.loads(json.dumps(attributes_of(f"{url}/tables") or {}))
    before = [str(name) for name in attributes.get("tables") or ()]
    attributes["tables"] = [*before, *(name for name in names if name not in before)]
    for key, data in group_documents("tables", attributes, version):
        files.write(key, data)
