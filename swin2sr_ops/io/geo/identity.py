"""List the files that contain a raster's pixels and metadata, and detect changes in them.

A VRT has its pixels in other files; a mask, a header or a coordinate system may be beside the raster. GDAL
lists these files. Statistics that a viewer adds to ``.aux.xml``, and overviews that are not read, do
not count as changes.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from swin2sr_ops.io.geo.address import file_of

__all__ = ["files_behind", "raster_identity"]

_PAM = ".aux.xml"
_BESIDE = (_PAM, ".msk", ".msk.ovr")
_OVERVIEWS = ".ovr"
#: Elements of ``.aux.xml`` that viewers add and that change no pixel.
_LOOKS = {"Histograms", "PAMHistogram"}
_STATISTICS = "STATISTICS_"
_NESTED = (".vrt", ".xml")
_DEPTH = 8


def raster_identity(uri: str, dataset: Any, level: int) -> dict[str, Any]:
    """Return size and time of every local file of ``dataset``, in a fixed order.

    Parameters
    ----------
    uri : str
        Address as the user gave it.
    dataset
        The raster, opened with rasterio.
    level : int
        Overview to read; overview files do not count if it is 0.
    """
    paths = files_behind(uri, dataset)
    seen = [_seen(Path(path)) for path in paths if level or not path.lower().endswith(_OVERVIEWS)]
    return {"files": sorted(found for found in seen if found is not None)}


def files_behind(uri: str, dataset: Any) -> list[str]:
    """List the absolute paths of all local files of ``dataset``, which was opened from ``uri``."""
    paths: dict[str, None] = {}
    own = file_of(uri)
    for name in ([] if own is None else [str(own)]) + list(dataset.files):
        _gather(name, paths, 0)
    return list(paths)


def _gather(name: str, paths: dict[str, None], depth: int) -> None:
    """Add a file, its sidecars, and the files to which it refers."""
    inside = file_of(name) if name.startswith("/vsi") else Path(name)
    if inside is None or not inside.is_file():
        return
    path = os.path.abspath(inside)
    if path in paths:
        return
    paths[path] = None
    for suffix in _BESIDE:
        _gather(path + suffix, paths, depth)
    if depth < _DEPTH and path.lower().endswith(_NESTED) and not path.endswith(_PAM):
        for other in _listed(path):
            _gather(other, paths, depth + 1)


def _listed(path: str) -> Iterator[str]:
    """Iterate over the files that GDAL lists for the raster at ``path``; none if it is no raster."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                files = list(dataset.files)
        yield from files
    except (RasterioError, OSError, UnicodeError):
        return


def _seen(path: Path) -> list[Any] | None:
    """Return name, size and time; for ``.aux.xml`` a digest of its relevant content, None if it has none."""
    if path.name.endswith(_PAM):
        digest = _digest(path)
        return None if digest is None else [path.name, digest, ""]
    found = path.stat()
    return [path.name, str(found.st_size), str(found.st_mtime_ns)]


def _digest(path: Path) -> str | None:
    content = path.read_bytes()
    try:
        root = ElementTree.fromstring(content)  # noqa: S314  # GDAL reads the same file
    except ElementTree.ParseError:
        return hashlib.sha256(content).hexdigest()
    _without_looks(root)
    if not len(root):
        return None
    return hashlib.sha256(ElementTree.canonicalize(ElementTree.tostring(root), strip_text=True).encode()).hexdigest()


def _without_looks(element: ElementTree.Element) -> None:
    """Remove statistics and histograms, and elements that are empty without them."""
    for child in list(element):
        _without_looks(child)
        empty = child.tag in ("Metadata", "PAMRasterBand") and not len(child)
        if child.tag in _LOOKS or str(child.get("key", "")).startswith(_STATISTICS) or empty:
            element.remove(child)
