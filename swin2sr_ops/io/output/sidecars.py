"""Find the files beside an image that readers take for a part of it.

GDAL reads a coordinate system, nodata values, statistics and masks from ``NAME.aux.xml``,
``NAME.msk`` and ``NAME.ovr``. After an output is replaced, its old sidecars describe the old pixels.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["orphans", "sidecars"]

_APPENDED = (".aux.xml", ".msk", ".msk.ovr", ".ovr", ".ovr.aux.xml")
_WORLD = {
    ".tif": (".tfw", ".tifw", ".wld"), ".tiff": (".tfw", ".tiffw", ".wld"), ".png": (".pgw", ".pngw", ".wld"),
}  # fmt: skip


def sidecars(path: Path) -> list[Path]:
    """List the existing sidecars of the image file at ``path``."""
    if path.suffix.lower() not in _WORLD:
        return []
    named = [path.with_name(path.name + suffix) for suffix in _APPENDED]
    world = [path.with_suffix(suffix) for suffix in _WORLD[path.suffix.lower()]]
    return [one for one in (*named, *world) if one.is_file()]


def orphans(path: Path) -> list[Path]:
    """List sidecars named after ``path`` if it does not exist; world files may belong to another image."""
    if path.exists():
        return []
    return [one for one in sidecars(path) if one.name.startswith(path.name)]
