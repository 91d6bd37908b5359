"""Read the part of a master TIFF's metadata that describes one file of an OME-TIFF set.

A `BinaryOnly` file contains some planes of an image, and names the file with the OME-XML of the whole set. If a user
names such a file, its planes are restored: they are one image of the file's size, with the master's pixel size,
position and channels. https://docs.openmicroscopy.org/ome-model, "OME-TIFF specification".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["part_of_master"]

_AXES = "CZT"
Plane = tuple[int, int, int]  # along C, Z and T


def part_of_master(master: Path, name: str, uuid: object, pages: int) -> str:
    """Return OME-XML for the planes in the file ``name``, from that of the whole set in ``master``.

    Parameters
    ----------
    master : Path
        The TIFF with the OME-XML.
    name, uuid
        Name and UUID of the file; the master may refer to either.
    pages : int
        Number of planes in the file.

    Raises
    ------
    OSError, ElementTree.ParseError
        If the master cannot be read.
    LookupError
        If it does not describe the file, or the file's planes are not a regular part of an image.
    """
    seen = master.stat()
    root = _root_of(master, seen.st_size, seen.st_mtime_ns)
    part = ElementTree.Element(root.tag)
    part.extend(root.findall("{*}Instrument"))
    for image in root.iterfind("{*}Image"):
        pixels = image.find("{*}Pixels")
        planes = {} if pixels is None else dict(_planes(pixels, name, uuid, pages))
        if pixels is None or not planes:
            continue
        mine = ElementTree.SubElement(part, image.tag, image.attrib)
        mine.extend(child for child in image if child is not pixels)
        mine.append(_pixels(pixels, planes))
    if part.find("{*}Image") is None:
        raise LookupError("it does not list the file")
    return ElementTree.tostring(part, encoding="unicode")


@lru_cache(maxsize=2)  # the planes of a set are opened one after the other
def _root_of(master: Path, size: int, changed: int) -> ElementTree.Element:
    import tifffile

    try:
        with tifffile.TiffFile(master) as tiff:
            return ElementTree.fromstring(tiff.ome_metadata or "")  # noqa: S314  (tifffile parses the same text)
    except tifffile.TiffFileError as exc:
        raise OSError(str(exc)) from exc


def _planes(pixels: ElementTree.Element, name: str, uuid: object, pages: int) -> Iterator[tuple[Plane, int]]:
    """Iterate over the position of each plane in the file, and its page there."""
    order = [a for a in pixels.get("DimensionOrder", "XYCZT") if a in _AXES]
    sizes = [int(pixels.get(f"Size{a}", 1)) for a in order]
    for data in pixels.iterfind("{*}TiffData"):
        where = data.find("{*}UUID")
        if where is None or not (where.get("FileName") == name or (uuid and where.text == uuid)):
            continue
        start = sum(int(data.get(f"First{a}", 0)) * prod(sizes[:k]) for k, a in enumerate(order))
        page = int(data.get("IFD", 0))
        count = int(data.get("PlaneCount", 1 if "IFD" in data.attrib else pages - page))
        for k in range(min(count, pages - page)):
            place, rest = {}, start + k
            for axis, size in zip(order, sizes, strict=True):
                place[axis], rest = rest % size, rest // size
            yield (place["C"], place["Z"], place["T"]), page + k


def _pixels(pixels: ElementTree.Element, planes: Mapping[Plane, int]) -> ElementTree.Element:
    """Return the Pixels element of an image that consists of ``planes`` alone, with new indices."""
    kept = [sorted({plane[k] for plane in planes}) for k in range(len(_AXES))]
    if len(planes) != prod(map(len, kept)):
        raise LookupError("its planes are not a regular part of an image")
    part = ElementTree.Element(pixels.tag, dict(pixels.attrib))
    channels = pixels.findall("{*}Channel")
    if channels and len(channels) != int(pixels.get("SizeC", 1)):  # samples count as channels: all stay
        raise LookupError("its channels have several samples")
    part.extend(channel for k, channel in enumerate(channels) if k in kept[0])
    space = pixels.tag.removesuffix("Pixels")
    for axis, indices in zip(_AXES, kept, strict=True):
        part.set(f"Size{axis}", str(len(indices)))
    anew = [{old: new for new, old in enumerate(indices)} for indices in kept]
    for plane, page in planes.items():
        first = {f"First{a}": str(anew[k][plane[k]]) for k, a in enumerate(_AXES)}
        ElementTree.SubElement(part, f"{space}TiffData", {**first, "IFD": str(page), "PlaneCount": "1"})
    for found in pixels.iterfind("{*}Plane"):
        where = tuple(int(found.get(f"The{a}", 0)) for a in _AXES)
        if where in planes:
            counted = {f"The{a}": str(anew[k][where[k]]) for k, a in enumerate(_AXES)}
            ElementTree.SubElement(part, found.tag, {**found.attrib, **counted})
    return part
