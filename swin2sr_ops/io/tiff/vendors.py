"""Read the pixel size of TIFFs from microscopes and scanners, which store it in tags of their own.

tifffile decodes most of these tags. If a file of a known vendor has no readable pixel size, the caller
warns, so that pixels do not silently become the unit.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree

__all__ = ["Size", "vendor_of", "vendor_sizes"]


class Size(NamedTuple):
    """Distance between pixels along an axis, and its unit in the file's spelling."""

    axis: str
    value: object
    unit: object


#: Common name of each kind of TIFF that tifffile detects.
_NAMES = {
    "lsm": "Zeiss LSM", "stk": "MetaMorph STK", "metaseries": "MetaSeries", "fei": "FEI", "sis": "Olympus SIS",
    "sem": "Zeiss SEM", "fluoview": "Olympus FluoView", "nih": "NIH Image", "tvips": "TVIPS", "svs": "Aperio",
    "ndpi": "Hamamatsu NDPI", "qpi": "PerkinElmer QPTIFF", "bif": "Ventana BIF", "scn": "Leica SCN",
    "philips": "Philips", "micromanager": "Micro-Manager", "scanimage": "ScanImage", "eer": "EER", "andor": "Andor",
    "indica": "Indica Labs", "mediacy": "Media Cybernetics", "avs": "Argos", "vista": "ISS Vista",
    "pilatus": "Pilatus", "nuvu": "Nuvu",
}  # fmt: skip
# Errors of tags whose content differs from the vendor's format.
_ODD = (
    KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, struct.error, ElementTree.ParseError,
)  # fmt: skip


def vendor_of(tiff: Any) -> str:
    """Return the common name of an open TIFF's kind; empty if it has no vendor's tags."""
    return next((name for flag, name in _NAMES.items() if flag in tiff.pages.first.flags), "")


def vendor_sizes(tiff: Any, page: Any) -> list[Size]:
    """Return the pixel sizes that vendors' tags give for the image whose first page is ``page``.

    Tags in the first page describe that page's image: thumbnails and labels after it have none of their own.
    """
    first, flags = page.index == tiff.pages.first.index, tiff.pages.first.flags
    for flag, read in {**(_FIRST if first else {}), **_ANY}.items():
        if flag not in flags:
            continue
        try:
            sizes = [size for size in read(tiff, page) if _positive(size.value)]
        except _ODD:
            continue
        if sizes:
            return sizes
    return []


def _positive(value: Any) -> bool:
    try:
        return 0 < float(value) < float("inf")
    except (TypeError, ValueError):
        return False


def _plane(unit: str, x: object, y: object) -> Iterator[Size]:
    yield from (Size("Y", y, unit), Size("X", x, unit))


def _lsm(tiff: Any, page: Any) -> Iterator[Size]:
    info = tiff.lsm_metadata
    yield from (Size(axis, info[f"VoxelSize{axis}"], "m") for axis in "ZYX")
    yield Size("T", info["TimeIntervall"], "s")  # misspelt by the vendor


def _stk(tiff: Any, page: Any) -> Iterator[Size]:
    info = tiff.stk_metadata
    if not info.get("SpatialCalibration", 1):
        return
    unit = info["CalibrationUnits"]
    yield from _plane(unit, info["XCalibration"], info["YCalibration"])
    steps = {float(step) for step in info.get("ZDistance", ())}
    if len(steps) == 1:  # planes at different distances have no common step
        yield Size("Z", steps.pop(), unit)


def _metaseries(tiff: Any, page: Any) -> Iterator[Size]:
    info = tiff.metaseries_metadata["PlaneInfo"]
    if info.get("spatial-calibration-state", True):
        yield from _plane(
            info["spatial-calibration-units"], info["spatial-calibration-x"], info["spatial-calibration-y"]
        )


def _fei(tiff: Any, page: Any) -> Iterator[Size]:
    """Read the section of the beam: Scan, EScan, IScan."""
    for section in tiff.fei_metadata.values():
        if isinstance(section, Mapping) and "PixelWidth" in section:
            yield from _plane("m", section["PixelWidth"], section["PixelHeight"])
            return


def _sis(tiff: Any, page: Any) -> Iterator[Size]:
    yield from _plane("m", tiff.sis_metadata["pixelsizex"], tiff.sis_metadata["pixelsizey"])


def _sem(tiff: Any, page: Any) -> Iterator[Size]:
    info = tiff.sem_metadata
    found = info["ap_image_pixel_size"] if "ap_image_pixel_size" in info else info["ap_pixel_size"]
    _, size, unit = found
    yield from _plane(unit, size, size)


def _fluoview(tiff: Any, page: Any) -> Iterator[Size]:
    for name, _, _, step, unit in tiff.fluoview_metadata["Dimensions"]:
        axis = {"TIME": "T"}.get(name.upper(), name.upper())
        if axis in ("T", "Z", "Y", "X"):
            yield Size(axis, step, unit)


def _nih(tiff: Any, page: Any) -> Iterator[Size]:
    info = tiff.nih_metadata  # in pixels per unit
    unit = info["XUnit"] or info["UM"]
    yield from _plane(unit, 1 / info["XScale"], info["PixelAspectRatio"] / info["XScale"])


def _tvips(tiff: Any, page: Any) -> Iterator[Size]:
    yield from _plane("nm", tiff.tvips_metadata["PixelSizeX"], tiff.tvips_metadata["PixelSizeY"])


def _micromanager(tiff: Any, page: Any) -> Iterator[Size]:
    here = page.tags.valueof(51123) or {}
    summary = (tiff.micromanager_metadata or {}).get("Summary") or {}
    size = here.get("PixelSizeUm") or summary.get("PixelSize_um")
    yield from _plane("µm", size, size)
    yield Size("Z", summary.get("z-step_um"), "µm")


def _bif(tiff: Any, page: Any) -> Iterator[Size]:
    xmp = page.tags.valueof(700)
    size = re.search(r"\bScanRes\s*=\s*[\"']([\d.]+)", xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else "")
    yield from _plane("µm", size and size[1], size and size[1])


def _philips(tiff: Any, page: Any) -> Iterator[Size]:
    found = re.search(r"DICOM_PIXEL_SPACING[^>]*>([^<]*)<", page.description)
    rows, columns = re.findall(r"[\d.eE+-]+", found[1].replace("&quot;", " ") if found else "")
    yield from _plane("mm", columns, rows)


def _scn(tiff: Any, page: Any) -> Iterator[Size]:
    """Read each image's view, in nanometres, and the number of its pixels."""
    root = ElementTree.fromstring(tiff.scn_metadata)  # noqa: S314  (tifffile parses the same text)
    for image in root.iterfind(".//{*}image"):
        view, pixels = image.find("{*}view"), image.find("{*}pixels")
        if view is None or pixels is None:
            continue
        columns, rows = int(pixels.attrib["sizeX"]), int(pixels.attrib["sizeY"])
        if (rows, columns) == (page.imagelength, page.imagewidth):
            yield from _plane("nm", float(view.attrib["sizeX"]) / columns, float(view.attrib["sizeY"]) / rows)
            return


def _svs(tiff: Any, page: Any) -> Iterator[Size]:
    found = re.search(r"\bMPP\s*=\s*([0-9.]+)", str(page.description))
    yield from _plane("µm", found and found[1], found and found[1])


_Read = Callable[[Any, Any], Iterator[Size]]
_FIRST: dict[str, _Read] = {
    "lsm": _lsm, "stk": _stk, "metaseries": _metaseries, "fei": _fei, "sis": _sis, "sem": _sem,
    "fluoview": _fluoview, "nih": _nih, "tvips": _tvips, "philips": _philips,
}  # fmt: skip
_ANY: dict[str, _Read] = {"svs": _svs, "bif": _bif, "scn": _scn, "micromanager": _micromanager}
