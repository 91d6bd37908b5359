"""Adapt the OME-XML beside a series of images to the restored pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin2sr_ops.errors import FormatError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["rescale_ome_xml"]

_NAMESPACE = re.compile(rb"""xmlns(?::([\w.-]+))?\s*=\s*["']([^"']+)["']""")
# Regions of interest are measured in pixels; their origin is a pixel's corner.
_LENGTHS = ("X", "Y", "X1", "Y1", "X2", "Y2", "Width", "Height", "RadiusX", "RadiusY")
_SHIFTS = ("A02", "A12")


def rescale_ome_xml(xml: bytes, scale: int, kept: Sequence[int] | None = None) -> bytes:
    """Adapt ``xml`` to images with ``scale`` times more pixels along Y and X.

    ``SizeX``, ``SizeY``, ``PhysicalSizeX`` and ``PhysicalSizeY`` change, and regions of interest, which
    are in pixels. Positions on the stage stay. ``kept`` holds the numbers of the restored images;
    the other images, and references to them, are removed.

    Raises
    ------
    FormatError
        It is no XML, or its sizes are no numbers.
    """
    try:
        return _rescaled(xml, scale, kept)
    # No XML, an unknown encoding or character, no number, numbers out of range, elements nested without end.
    except (SyntaxError, LookupError, ValueError, TypeError, ArithmeticError, RecursionError) as exc:
        raise FormatError(f"The OME-XML beside the images is broken ({exc}).") from exc


def _rescaled(xml: bytes, scale: int, kept: Sequence[int] | None) -> bytes:
    from xml.etree import ElementTree

    for prefix, uri in reversed(_NAMESPACE.findall(xml)):  # otherwise they become ns0, ns1; the first one wins
        name = prefix.decode()
        if not re.fullmatch(r"ns\d+", name):
            ElementTree.register_namespace(name, uri.decode())
    root = ElementTree.fromstring(xml)  # noqa: S314 - of the user's own image; expat stops entity bombs
    if kept is not None:
        _drop_images(root, kept)
    for element in root.iter():
        name = _local(element)
        if name == "Pixels":
            _rescale_pixels(element, scale)
        elif name == "Union":
            for shape in element.iter():
                _rescale_shape(shape, scale)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _local(element: Element) -> str:
    return element.tag.rsplit("}", 1)[-1] if isinstance(element.tag, str) else ""


def _drop_images(root: Element, kept: Sequence[int]) -> None:
    images = [child for child in root if _local(child) == "Image"]
    gone = {image.get("ID") for i, image in enumerate(images) if i not in kept}
    if len(gone) == len(images):  # the numbers do not refer to these images
        return
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child) in ("Image", "ImageRef") and child.get("ID") in gone:
                parent.remove(child)


def _rescale_pixels(pixels: Element, scale: int) -> None:
    for axis in "XY":
        count, size = pixels.get(f"Size{axis}"), pixels.get(f"PhysicalSize{axis}")
        if count is not None:
            pixels.set(f"Size{axis}", str(int(count) * scale))
        if size is not None:
            pixels.set(f"PhysicalSize{axis}", repr(float(size) / scale))


def _rescale_shape(shape: Element, scale: int) -> None:
    names = _SHIFTS if _local(shape) == "Transform" else _LENGTHS
    for name in names:
        value = shape.get(name)
        if value is not None:
            shape.set(name, repr(float(value) * scale))
    points = shape.get("Points")
    if points is not None:
        pairs = (point.split(",") for point in points.split())
        shape.set("Points", " ".join(",".join(repr(float(v) * scale) for v in pair) for pair in pairs))
