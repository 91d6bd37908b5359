"""Describe an image for the page: axes, channels, levels, plan, and how other programs open it."""

from __future__ import annotations

from typing import Any

from swin2sr_ops.io.zarr.documents import ZARR_FORMATS
from swin2sr_ops.io.zarr.ngff import image_attributes, stored_axes
from swin2sr_ops.serve.image import RestoredImage
from swin2sr_ops.serve.views import TILE

__all__ = ["describe", "links"]

#: Where links have the address of the Zarr, which only the page knows.
ZARR = "{zarr}"
#: Units of OME-Zarr as neuroglancer takes them: metres.
_METRES = {
    "meter": 1.0, "decimeter": 1e-1, "centimeter": 1e-2, "millimeter": 1e-3, "micrometer": 1e-6, "nanometer": 1e-9,
    "picometer": 1e-12, "angstrom": 1e-10, "kilometer": 1e3,
}  # fmt: skip
#: Channels that are shown at once at the beginning.
_AT_FIRST = 4


def describe(image: RestoredImage) -> dict[str, Any]:
    """Say what the page needs to know of an image, JSON-ready."""
    info, job, axes = image.info, image.job, stored_axes(image.info.axes)
    placed = job.restorer.network.placed()
    channels = _channels(image)
    return {
        "axes": axes,
        "shape": list(image.codec.shapes[0]),
        "dtype": str(info.dtype),
        "scale": job.plan.spec.scale,
        "model": image.key.settings["model"],
        "engine": placed.engine,
        "device": placed.device,
        "fingerprint": image.fingerprint,
        "tile": TILE,
        "levels": [
            {"height": shape[axes.index("Y")], "width": shape[axes.index("X")], "exact": image.restorer.is_exact(k)}
            for k, shape in enumerate(image.codec.shapes)
        ],
        "sliders": [
            {"axis": a, "size": n}
            for a, n in zip(axes, image.codec.shapes[0], strict=True)
            if a not in "YXSC" and n > 1
        ],
        "channels": channels,
        "pixel_size": info.pixel_size.get("X"),
        "unit": info.units.get("X", ""),
        "source": {"axes": job.order.axes, "shape": list(job.source.info.shape), "format": job.source.info.format},
        "plan": str(job.plan),
        "links": links(image, channels),
    }


def _channels(image: RestoredImage) -> list[dict[str, Any]]:
    """Name, colour and range of each channel, as the metadata of the result have them; of colours, one for all."""
    info, job = image.info, image.job
    maps = [image.maps[job.map_of(c) if len(image.maps) > 1 else 0] for c in range(info.size("C"))]
    ranges = [(m.lo, m.hi) for m in maps]
    if "S" in info.axes:
        return [_channel("colours", "FFFFFF", *ranges[0], True)]
    attributes = image_attributes(info, version="0.5", levels=1, name="", ranges=ranges)
    named = attributes["ome"].get("omero", {}).get("channels", []) if "C" in info.axes or info.channels else []
    if not named:
        return [_channel("brightness", "FFFFFF", *ranges[0], True)]
    found: list[dict[str, Any]] = []
    for number, one in enumerate(named):
        window, active = one["window"], bool(one["active"])
        active = active and sum(c["active"] for c in found) < _AT_FIRST
        found.append(_channel(one["label"], one["color"], window["start"], window["end"], active, number))
    return found


def _channel(label: str, color: str, low: Any, high: Any, active: bool, number: int = 0) -> dict[str, Any]:
    return {
        "number": number, "label": label, "color": str(color)[:6].upper(), "low": float(low), "high": float(high),
        "active": active,
    }  # fmt: skip


def links(image: RestoredImage, channels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say how other programs open the image: an address in the web, or a text to copy; `ZARR` is its own address."""
    axes = stored_axes(image.info.axes)
    beyond = "".join(":0" for a in axes if a not in "YX")
    gdal = f'ZARR:"/vsicurl/{ZARR}":/0{beyond}'
    old = ZARR_FORMATS[image.options.ngff] == 2
    return [
        {"name": "neuroglancer", "state": _neuroglancer(image, channels)},
        {"name": "vizarr", "source": "https://hms-dbmi.github.io/vizarr/?source="},
        {"name": "napari", "text": f"napari --plugin napari-ome-zarr {ZARR}"},
        {"name": "QGIS, GDAL", "text": gdal if old else "", "note": "" if old else "serve with --ngff 0.4 for it"},
        {"name": "Python", "text": f'import zarr\nimage = zarr.open_group("{ZARR}", mode="r")["0"]'},
    ]


def _neuroglancer(image: RestoredImage, channels: list[dict[str, Any]]) -> dict[str, Any]:
    """A state of neuroglancer: X to the right and Y down, and each channel in its colour."""
    info, axes = image.info, stored_axes(image.info.axes)
    source = f"{ZARR}/|{'zarr2' if ZARR_FORMATS[image.options.ngff] == 2 else 'zarr3'}:"
    sizes = {}
    for axis in sorted(set(axes) & set("XYZ")):
        unit = info.units.get(axis, "")
        metres = _METRES.get(unit)
        size = info.pixel_size.get(axis, 1.0)
        sizes[axis.lower()] = [size, ""] if metres is None else [size * metres, "m"]
    shader = (
        "#uicontrol invlerp normalized(range=[{low:g}, {high:g}])\n"
        '#uicontrol vec3 color color(default="#{color}")\n'
        "void main() {{ emitRGB(color * normalized()); }}"
    )
    layers = []
    for one in channels if "S" not in axes else _colours(channels[0]):
        place = {"localPosition": [one["number"]]} if set(axes) & set("CS") else {}
        layers.append(
            {
                "type": "image", "name": one["label"], "source": source, "blend": "additive",
                "visible": one["active"], "shader": shader.format(**one),
            } | place
        )  # fmt: skip
    height, width = (image.codec.shapes[0][axes.index(a)] for a in "YX")
    return {"dimensions": sizes, "layers": layers, "layout": "xy", "crossSectionScale": max(height, width) / 800}


def _colours(channel: dict[str, Any]) -> list[dict[str, Any]]:
    """A colour image as three channels."""
    names = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
    return [channel | {"number": n, "label": label, "color": color} for n, (label, color) in enumerate(names)]
