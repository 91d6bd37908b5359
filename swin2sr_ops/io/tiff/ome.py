"""Select metadata to copy from a source's OME-XML, and create the OME-XML of an output.

https://docs.openmicroscopy.org/ome-model, schema 2016-06. tifffile writes most of it; this
module adds the instrument and the file's byte order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite, prod
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from swin2sr_ops.io.base import ImageInfo, json_ready
from swin2sr_ops.io.tiff.planes import plane_attributes
from swin2sr_ops.io.tiff.vendors import vendor_of
from swin2sr_ops.io.units import OME_SYMBOLS

__all__ = ["CONTROL", "OME_DTYPES", "carried_ome", "carried_tags", "ome_xml"]

OME_DTYPES = {"int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64", "complex64", "complex128"}
_LENGTHS = {"m", "mm", "µm", "nm", "pm", "Å"}
_DATE = re.compile(r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")
CONTROL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # not allowed in XML
_MOST_TEXT = 2000  # characters of a description: every copy of a source contains it
# Texts of plain TIFFs that OME-XML has no element for: they become lines of the description.
_TEXTS = {"Software": 305, "Make": 271, "Model": 272, "Artist": 315, "HostComputer": 316, "Copyright": 33432}
_OURS = {"tifffile.py", "swin2sr_ops"}  # writers of the file, which say nothing about the image
_WAVES = ("EmissionWavelength", "ExcitationWavelength", "PinholeSize")
_IMMERSIONS = {"Oil", "Water", "WaterDipping", "Air", "Multi", "Glycerol", "Other"}


def carried_ome(root: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Select from the OME element ``root`` how an image was acquired, as far as schema 2016-06 can store it.

    Returns
    -------
    dict
        JSON-ready, with any of ``Description``, ``AcquisitionDate``, ``Objective`` (a dict), ``SignificantBits``,
        and ``Channel``, a list of dicts with ``Fluor``, ``EmissionWavelength``, ``ExcitationWavelength``,
        ``PinholeSize`` and their units.
    """
    images = _listed(root.get("Image"))
    image = images[number] if number < len(images) and isinstance(images[number], dict) else {}
    found: dict[str, Any] = {}
    text = _text(image.get("Description"))
    if text:
        found["Description"] = text
    date = _text(image.get("AcquisitionDate"))
    if date and _DATE.fullmatch(date):
        found["AcquisitionDate"] = date
    objective = _objective(root, image)
    if objective:
        found["Objective"] = objective
    pixels = image.get("Pixels")
    channels = [_channel(c) for c in _listed(pixels.get("Channel") if isinstance(pixels, dict) else None)]
    if any(channels):
        found["Channel"] = channels
    bits = _positive(pixels.get("SignificantBits") if isinstance(pixels, dict) else None)
    if bits is not None:
        found["SignificantBits"] = int(bits)
    return found


def carried_tags(tiff: Any, page: Any) -> dict[str, Any]:
    """Select the texts and the date of a TIFF without OME-XML, in the format of `carried_ome`.

    Descriptions in which ImageJ, tifffile or a microscope's program keeps numbers about the old pixels are left out.
    """
    own = str((tiff.imagej_metadata or {}).get("Info", "")) if tiff.is_imagej else str(page.description)
    if own.startswith(('{"shape"', "shape=")) or vendor_of(tiff):
        own = ""
    texts = {name: _text(page.tags.valueof(code, "")) for name, code in _TEXTS.items()}
    lines = [_text(own), *(f"{name}: {text}" for name, text in texts.items() if text and text not in _OURS)]
    found = {"Description": _text("\n".join(lines))}
    try:
        date = str(page.tags.valueof("DateTime", ""))[:19].replace("-", ":")
        found["AcquisitionDate"] = datetime.strptime(date, "%Y:%m:%d %H:%M:%S").isoformat()  # TIFF has no time zone
    except ValueError:  # none, or not TIFF's format
        pass
    return {name: text for name, text in found.items() if text}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: object) -> str:
    if isinstance(value, dict):  # an element with attributes of its own
        value = value.get("value")
    return "" if value is None else CONTROL.sub(" ", str(value)).strip()[:_MOST_TEXT]


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # a file may contain anything
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) and number > 0 else None


def _channel(given: Any) -> dict[str, Any]:
    channel: dict[str, Any] = {}
    if not isinstance(given, dict):
        return channel
    if _text(given.get("Fluor")):
        channel["Fluor"] = _text(given["Fluor"])
    for key in _WAVES:
        value, unit = _positive(given.get(key)), str(given.get(f"{key}Unit", "µm" if key == "PinholeSize" else "nm"))
        if value is not None and unit in _LENGTHS:
            channel |= {key: value, f"{key}Unit": unit}
    return channel


def _objective(root: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """Return the objective that the image refers to, or the only one."""
    instruments = [i for i in _listed(root.get("Instrument")) if isinstance(i, dict)]
    objectives = [o for i in instruments for o in _listed(i.get("Objective")) if isinstance(o, dict)]
    settings = image.get("ObjectiveSettings") or image.get("ObjectiveRef")
    named = settings.get("ID") if isinstance(settings, dict) else None
    chosen = [o for o in objectives if o.get("ID") == named] or (objectives if len(objectives) == 1 else [])
    if not chosen:
        return {}
    given = chosen[0]
    found: dict[str, Any] = {k: _positive(given.get(k)) for k in ("NominalMagnification", "LensNA")}
    found |= {k: _text(given.get(k)) for k in ("Manufacturer", "Model")}
    if given.get("Immersion") in _IMMERSIONS:
        found["Immersion"] = given["Immersion"]
    return {key: value for key, value in found.items() if value}


def ome_xml(info: ImageInfo, axes: str, *, name: str, big_endian: bool, provenance: Mapping[str, Any]) -> bytes:
    """Create the OME-XML of ``info``, stored with ``axes``: one IFD per plane, colours last.

    The same image gives the same bytes: the UUID is a digest of ``provenance`` and ``name``.
    """
    from tifffile import OmeXml

    own = json.dumps(json_ready(provenance))
    carried = info.extra.get("ome", {})
    sizes = dict(zip(info.axes, info.shape, strict=True))
    shape = tuple(sizes[a] for a in axes)
    planes = prod(n for a, n in sizes.items() if a not in "YXS")
    metadata = {"Name": name, **{k: carried[k] for k in ("Description", "AcquisitionDate") if k in carried}}
    metadata |= _physical_sizes(info)
    bits = carried.get("SignificantBits") or info.extra.get("bits_per_sample")
    if bits and bits <= 8 * info.dtype.itemsize:
        metadata["SignificantBits"] = bits
    if provenance:
        metadata["CommentAnnotation"] = {"Namespace": "swin2sr_ops", "Value": own}
    metadata |= {
        "Channel": _channels(info, carried.get("Channel", ())),
        "Plane": plane_attributes(info, axes.rstrip("S")[:-2]),
    }
    xml = OmeXml(UUID=f"urn:uuid:{uuid5(NAMESPACE_OID, name + own)}", Creator="swin2sr_ops")
    stored = (planes, 1, 1, sizes["Y"], sizes["X"], sizes.get("S", 1))
    xml.addimage(info.dtype, shape, stored, axes=axes, **metadata)
    text = _with_objective(xml.tostring(declaration=True), carried.get("Objective"))
    order = "true" if big_endian else "false"
    return text.replace("<Pixels ", f'<Pixels BigEndian="{order}" ', 1).encode()


def _with_objective(xml: str, objective: Mapping[str, Any] | None) -> str:
    """Insert an instrument into ``xml``, which tifffile cannot write."""
    if not objective:
        return xml
    from xml.sax.saxutils import quoteattr  # loads http.client, for the one file that needs it

    attributes = "".join(f" {key}={quoteattr(str(value))}" for key, value in objective.items())
    instrument = f'<Instrument ID="Instrument:0"><Objective ID="Objective:0"{attributes}/></Instrument>'
    xml = xml.replace("<Image ", f"{instrument}<Image ", 1)
    references = '<InstrumentRef ID="Instrument:0"/><ObjectiveSettings ID="Objective:0"/>'
    return xml.replace("<Pixels ", f"{references}<Pixels ", 1)


def _physical_sizes(info: ImageInfo) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for axis in "XYZT":
        key = "TimeIncrement" if axis == "T" else f"PhysicalSize{axis}"
        size, unit = info.pixel_size.get(axis), OME_SYMBOLS.get(info.units.get(axis, ""))
        if size is not None and (axis != "T" or unit is not None):
            found |= {key: size, f"{key}Unit": unit or "pixel"}  # the default unit would be microns
    return found


def _channels(info: ImageInfo, carried: Sequence[Mapping[str, Any]]) -> dict[str, Any] | list[dict[str, Any]]:
    """Return one entry per channel, or one for all colours together."""
    count = 1 if "S" in info.axes else info.size("C")
    if "S" in info.axes and "C" in info.axes:
        count = info.size("C")
    channels = []
    for c in range(count):
        known = info.channels[c] if c < len(info.channels) and "S" not in info.axes else {}
        channel: dict[str, Any] = dict(carried[c]) if c < len(carried) else {}
        if info.channels and "S" not in info.axes:
            channel["Name"] = _text(known.get("label", f"Channel {c}"))
        if "color" in known:
            channel["Color"] = _signed_rgba(str(known["color"]))
        channels.append(channel)
    return channels if any(channels) else {}


def _signed_rgba(color: str) -> int:
    value = (int(color.lstrip("#")[:6], 16) << 8) | 0xFF
    return value - (1 << 32) if value >= 1 << 31 else value
