"""Files beside an image that readers take for a part of it: they must belong to it.

GDAL reads a coordinate system, nodata values, statistics and masks from ``NAME.aux.xml``,
``NAME.msk`` and ``NAME.ovr``. Those of an output that is replaced describe pixels that are no more.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["orphans", "sidecars"]

_APPENDED = (".aux.xml", ".msk", ".msk.ovr", ".ovr", ".ovr.aux.xml")
_WORLD = {
    ".tif": (".tfw", ".tifw", ".wld"), ".tiff": (".tfw", ".tiffw", ".wld"), ".png": (".pgw", ".pngw", ".wld"),
}  # fmt: skip


def sidecars(path: Path) -> list[Path]:
    """Those of the image file at ``path`` that are there."""
    if path.suffix.lower() not in _WORLD:
        return []
    named = [path.with_name(path.name + suffix) for suffix in _APPENDED]
    world = [path.with_suffix(suffix) for suffix in _WORLD[path.suffix.lower()]]
    return [one for one in (*named, *world) if one.is_file()]


def orphans(path: Path) -> list[Path]:
    """Sidecars named after ``path`` though it is not there; world files may be another image's."""
    if path.exists():
        return []
    return [one for one in sidecars(path) if one.name.startswith(path.name)]
