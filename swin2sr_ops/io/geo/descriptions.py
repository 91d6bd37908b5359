"""Decide which descriptions of remote rasters may be followed: a VRT, a web service, a catalogue.

GDAL follows a description wherever it points, to servers or to any file of the user, under any file name. So a file
of guessed kind is only opened with drivers whose pixels are in the file or beside it. A VRT is read if all its
sources are in its own folder or below; everything else needs the user's consent, see `TRUST`.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

from swin2sr_ops.errors import FormatError
from swin2sr_ops.io.geo.address import file_of, is_address

__all__ = ["TRUST", "check_description", "safe_drivers"]

#: Environment variable; 1 allows descriptions to point anywhere.
TRUST = "SWIN2SR_OPS_FOLLOW"

#: GDAL's drivers that read servers or files other than those beside the file, or that run a query.
_POINTING = {
    "AVCBin", "AVCE00", "COG", "DAAS", "DERIVED", "ECRGTOC", "EEDA", "EEDAI", "ESRI Shapefile", "ESRIC", "ESRIJSON",
    "GNMDatabase", "GNMFile", "GTI", "GeoJSON", "GeoJSONSeq", "HTTP", "KMLSUPEROVERLAY", "MEM", "MRF", "MVT", "Memory",
    "NGW", "OGCAPI", "OSM", "OpenFileGDB", "PDF", "PLMOSAIC", "PLSCENES", "PostGISRaster", "RPFTOC", "Rasterlite",
    "SQLite", "STACIT", "STACTA", "TIL", "TileDB", "TopoJSON", "VRT", "WCS", "WMS", "WMTS",
}  # fmt: skip
_MARKS = (b"<VRTDataset", b"<GDAL_WMS", b"<WMS_Capabilities", b"<WMT_MS_Capabilities", b"<WMTS", b"<WCS_GDAL")
_START = 4096  # bytes in which GDAL searches for them
_NO_PATHS = {"SRS", "GeoTransform", "Histograms", "Description", "CategoryNames", "GCPList"}
_DEPTH = 8
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
#: Codes of coordinate systems, which metadata such as those of geolocation arrays hold; no driver has these prefixes.
_CRS = re.compile(r"(?:EPSG|ESRI|OGC|CRS|IGNF|IAU_2015|urn:ogc):[\w:.+-]+", re.IGNORECASE)


@lru_cache(maxsize=1)
def _plain_drivers() -> list[str]:
    import rasterio

    with rasterio.Env() as env:
        return sorted(set(env.drivers()) - _POINTING)


def safe_drivers(path: Path) -> list[str] | None:
    """Return the drivers that may read the file at ``path``; None for all of them."""
    if os.environ.get(TRUST, "") not in ("", "0"):
        return None
    return [*_plain_drivers(), "VRT"] if _kind(path) == b"<VRTDataset" and not _elsewhere(path) else _plain_drivers()


def check_description(uri: str, path: Path) -> None:
    """Reject a description that points elsewhere.

    Raises
    ------
    FormatError
        The message says where it points, and what to do.
    """
    if os.environ.get(TRUST, "") not in ("", "0"):
        return
    kind = _kind(path)
    where = "" if not kind else _elsewhere(path) if kind == b"<VRTDataset" else "a web service"
    if where:
        raise FormatError(
            f"{uri!r} refers to a raster elsewhere ({where}) and is not followed: it could read any file or"
            f" query any server. Put its sources beside it, or set {TRUST}=1 if you trust it."
        )


def _kind(path: Path) -> bytes:
    """Return the mark of a description; empty if ``path`` is none."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return b""
    return next((mark for mark in _MARKS if mark in start), b"")


def _elsewhere(path: Path) -> str:
    """Return the first source of a VRT that is outside its folder; empty if there is none."""
    found = path.stat()
    return _pointed(str(path.absolute()), found.st_mtime_ns, found.st_size, 0)


@lru_cache(maxsize=256)
def _pointed(name: str, changed: int, size: int, depth: int) -> str:
    path = Path(name)
    try:
        root = ElementTree.fromstring(path.read_bytes())  # noqa: S314  # expat limits what entities expand to
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as exc:
        return f"it is not valid XML: {exc}"
    for text in _texts(root):
        if _leaves(text, path):
            return text[:200]
        beside = path.parent / text
        kind = _kind(beside) if os.path.isfile(beside) else b""
        if kind and (kind != b"<VRTDataset" or depth >= _DEPTH):
            return text[:200]
        if kind:
            found = beside.stat()
            below = _pointed(str(beside), found.st_mtime_ns, found.st_size, depth + 1)
            if below:
                return below
    return ""


def _texts(element: ElementTree.Element) -> list[str]:
    """Return all texts of a VRT that could name a file."""
    if element.tag in _NO_PATHS:
        return []
    own = [element.text or "", *element.attrib.values()]
    return [t.strip() for t in own if t.strip()] + [t for child in element for t in _texts(child)]


def _leaves(text: str, path: Path) -> bool:
    """Return True if GDAL could open something outside the folder of ``path`` under the name ``text``."""
    if "/vsi" in text or "://" in text or "<" in text:
        return True
    if _CRS.fullmatch(text):
        return False
    if is_address(text):
        inside = file_of(text)
        return True if inside is None else _leaves(str(inside), path)
    if "\n" in text or len(text) > 1000:  # a table of numbers, or WKT
        return False
    if text.startswith(("/", "\\")) or _DRIVE.match(text):
        return not Path(os.path.abspath(text)).is_relative_to(path.absolute().parent)
    return ".." in re.split(r"[\\/]", text)
