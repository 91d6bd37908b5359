"""Read OME-TIFF sets of several files: which image a file contains, and where the set's metadata are.

The OME-XML of each file describes all images of the set (OME model, `TiffData` and `BinaryOnly`). The file
that a user names may contain any of them, and the others may be missing.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from swin2sr_ops.io.tiff.masters import part_of_master
from swin2sr_ops.io.tiff.ome import CONTROL

__all__ = ["image_number", "metadata_file_of", "ome_root", "open_tiff", "own_images", "own_series"]


#: An ampersand that starts no entity is a fatal error in XML.
_BARE = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)")
_TIFF = {".tif", ".tiff", ".tf2", ".tf8", ".btf"}
# Further images that slide scanners store: the glass's label, a photograph of it, small copies.
_BESIDES = {"label", "macro", "thumbnail", "overview", "label image", "macro image"}
_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType: not an independent image


def open_tiff(path: Path) -> Any:
    """Open a TIFF with tifffile: with the OME-XML of another file if necessary, and repaired if not well-formed."""
    import tifffile

    tiff = _beside(tifffile.TiffFile(path), path)
    beside = metadata_file_of(tiff, path)
    xml = _mended(tiff) if beside is None else _described(tiff, path, beside)
    if xml is None:
        return tiff
    tiff.close()
    return _beside(tifffile.TiffFile(path, omexml=xml), path)


def _described(tiff: Any, path: Path, beside: Path) -> str | None:
    """Return the OME-XML in another file: all of a companion's, or this file's part of a master TIFF's."""
    try:
        if beside.suffix.lower() in _TIFF:
            return part_of_master(beside, path.name, ome_root(tiff).get("UUID"), len(tiff.pages))
        return beside.read_text(encoding="utf-8")
    except (OSError, ValueError, LookupError, ElementTree.ParseError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        warnings.warn(
            f"The metadata of {str(path)!r} are in {beside.name!r}, which cannot be read ({reason}): axes, pixel size"
            " and channels are guessed. Put that file beside it.",
            stacklevel=3,
        )
        return None


def _mended(tiff: Any) -> str | None:
    """Replace illegal characters in OME-XML; return None if it needs no repair, or cannot be repaired."""
    text = tiff.pages.first.description if tiff.is_ome else ""
    fault = _fault(text)
    if fault is None:
        return None
    mended = _BARE.sub("&amp;", CONTROL.sub(" ", text))
    what = "its axes, pixel size and channels are lost" if _fault(mended) else "wrong characters in it are replaced"
    warnings.warn(f"The OME-XML of {tiff.filename!r} is not well-formed ({fault}): {what}.", stacklevel=3)
    return None if _fault(mended) else mended


def _fault(xml: str) -> ElementTree.ParseError | None:
    try:
        if xml:
            ElementTree.fromstring(xml)  # noqa: S314  (tifffile parses the same text)
    except ElementTree.ParseError as exc:
        return exc
    return None


def metadata_file_of(tiff: Any, path: Path) -> Path | None:
    """Return the file with the metadata of a `BinaryOnly` TIFF, which may be missing; None if it has its own.

    A companion (XML) describes a set, and every file of the set opens the whole image. The files of a master TIFF are
    separate images: the master is the source of the whole.
    """
    name = _metadata_file(tiff)
    if not name or name == path.name:
        return None
    return path.parent / name  # in the TIFF's own folder, whatever folder the name contains


def ome_root(tiff: Any) -> dict[str, Any]:
    """Return the OME element as tifffile's nested dicts; empty if the XML is not well-formed."""
    from tifffile import xml2dict

    try:
        root = xml2dict(tiff.ome_metadata or "").get("OME", {})
    except (ElementTree.ParseError, ValueError, TypeError):  # `open_tiff` has warned of it
        return {}
    return root if isinstance(root, dict) else {}


def own_series(tiff: Any) -> tuple[int, ...]:
    """List the series to restore for this file; all of them if none has pixels in it.

    They are those with pixels in the file, and those in files without metadata of their own: a master file lists
    such files, which contain no OME-XML or refer back to it.
    """
    inside = [any(page is not None and page.parent is tiff for page in _some(series)) for series in tiff.series]
    if not any(inside):
        return tuple(range(len(inside)))
    return tuple(k for k, series in enumerate(tiff.series) if inside[k] or not _apart(series, tiff))


def own_images(tiff: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the series that are images to restore for this file, and those beside them, such as labels and copies.

    A GeoTIFF's further series are its overviews and masks; if there are only labels, the first is the image.
    """
    own = (0,) if tiff.is_geotiff else own_series(tiff)
    besides = tuple(k for k in own if _is_beside(tiff.series[k])) if len(tiff.series) > 1 else ()
    kept = tuple(k for k in own if k not in besides)
    return (kept, besides) if kept else (own[:1], ())


def _is_beside(series: Any) -> bool:
    named = str(series.name).strip().lower() in _BESIDES
    return named or bool(int(series.keyframe.subfiletype) & _REDUCED_OR_MASK)


def _apart(series: Any, tiff: Any) -> bool:
    """Return True if the files of a series are separate sources."""
    page = next((page for page in series.pages if page is not None), None)
    if page is None:
        return True
    return bool(page.parent.is_ome) and _metadata_file(page.parent) != tiff.filehandle.name


def _metadata_file(tiff: Any) -> str:
    """Return the name of the file that a `BinaryOnly` file refers to; empty if it has metadata of its own."""
    from tifffile import xml2dict

    text = tiff.pages.first.description if tiff.is_ome else ""  # the file's own text, even if opened with another
    if "BinaryOnly" not in text:
        return ""
    try:
        found = xml2dict(text)["OME"].get("BinaryOnly")
    except ElementTree.ParseError:  # `open_tiff` has warned of it
        return ""
    return Path(str(found.get("MetadataFile", ""))).name if isinstance(found, dict) else ""


def image_number(tiff: Any, series: int) -> int:
    """Return the number in the OME-XML of the image that a series shows.

    tifffile omits images whose files are missing, so the numbers may differ: the image is the one whose
    `TiffData` refers to the file and the page of the series' first plane.
    """
    root = ome_root(tiff)
    images = _listed(root.get("Image"))
    if len(images) == len(tiff.series):
        return series
    page = next((p for p in tiff.series[series].pages if p is not None), None)
    if page is None:
        return series
    folder, where = tiff.filehandle.dirname, os.path.realpath(page.parent.filehandle.path)
    for number, image in enumerate(images):
        pixels = image.get("Pixels") if isinstance(image, dict) else None
        for data in _listed(pixels.get("TiffData") if isinstance(pixels, dict) else None):
            if (
                isinstance(data, dict)
                and _names(data, folder, root.get("UUID"), tiff) == where
                and _holds(data, page.index)
            ):
                return number
    return series


def _names(data: dict[str, Any], folder: str, own: object, tiff: Any) -> str:
    """Return the file that a `TiffData` refers to: this file if it names none, or this file's own UUID.

    A renamed file keeps its UUID.
    """
    uuid = data.get("UUID")
    if not isinstance(uuid, dict) or not uuid.get("FileName"):
        return str(os.path.realpath(tiff.filehandle.path))
    named = os.path.realpath(os.path.join(folder, str(uuid["FileName"])))
    renamed = bool(own) and uuid.get("value") == own and not os.path.exists(named)
    return str(os.path.realpath(tiff.filehandle.path)) if renamed else named


def _holds(data: dict[str, Any], index: int) -> bool:
    first = int(data.get("IFD", 0))
    return first <= index < first + int(data.get("PlaneCount", 1))


def _some(series: Any) -> list[Any]:
    """Return pages of a series without opening files for it: the first is enough if all are in one file."""
    return list(series.pages) if series.is_multifile else [series.pages[0]]


def _beside(tiff: Any, path: Path) -> Any:
    """Make tifffile search for the other files of a set beside the user's path, not beside a link's target."""
    if path.is_symlink():
        tiff.filehandle._dir, tiff.filehandle._name = str(path.parent.absolute()), path.name
    return tiff


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
