"""Create the tags of a GeoTIFF: copied from a tiny file that rasterio writes.

So the library that most readers use encodes CRS, affine, control points, RPCs, names and all other
items, in any of its versions, and the pixels need not pass through it.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import json_ready

__all__ = ["PROVENANCE", "GeoTags", "Tag", "geo_tags"]

#: Item of GDAL's metadata that holds the provenance as JSON.
PROVENANCE = "SWIN2SR_OPS"

_SIDE = 16
_EPSG = re.compile(r',ID\["EPSG",(\d+)\]\]$')
# Tags that describe the tiny file's own pixels; `cog` writes those of the real file.
_LAYOUT = {254, 256, 257, 258, 259, 273, 274, 277, 278, 279, 284, 317, 322, 323, 324, 325, 330, 339}


@dataclass(frozen=True)
class Tag:
    """A TIFF tag: code, number of its type, number of values, and their bytes (little-endian)."""

    code: int
    kind: int
    count: int
    data: bytes


@dataclass(frozen=True)
class GeoTags:
    """Tags, and the text of the file ``.aux.xml`` beside it, if GDAL needs one for what GeoTIFF cannot store."""

    tags: list[Tag]
    sidecar: bytes | None = None


def geo_tags(
    geo: Mapping[str, Any],
    *,
    bands: int,
    colours: bool,
    dtype: np.dtype[Any],
    nodata: float | None,
    provenance: Mapping[str, Any],
) -> GeoTags:
    """Create the descriptive tags of a GeoTIFF, all but its layout.

    Parameters
    ----------
    geo : mapping
        From `geo_metadata.describe`; missing entries are skipped.
    bands : int
    colours : bool
        Whether 3 or 4 bands are red, green, blue and alpha if ``geo`` does not say.
    dtype : dtype
    nodata : float or None
        GDAL has one value for all bands.
    provenance : mapping
        Stored as JSON in the item `PROVENANCE`.

    Raises
    ------
    RequestError
        If rasterio is not installed.
    """
    try:
        from rasterio.errors import NotGeoreferencedWarning
    except ImportError as exc:
        raise RequestError(
            "Writing a GeoTIFF needs rasterio, which is not installed: pip install 'swin2sr-ops[geo]'."
        ) from exc
    import rasterio

    geo = _one_place(geo)
    interpretations = _interpretations(geo, bands, colours)
    with warnings.catch_warnings(), TemporaryDirectory(prefix="swin2sr-ops-") as folder:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        path = Path(folder) / "tags.tif"
        with (
            rasterio.Env(GDAL_PAM_ENABLED="YES", GTIFF_ALPHA=_alpha(geo)),
            rasterio.open(path, "w", **_profile(geo, bands, dtype, nodata, interpretations)) as dataset,
        ):
            _describe(dataset, geo, interpretations, provenance)
        beside = path.with_name(f"{path.name}.aux.xml")
        found = GeoTags(_read_tags(path.read_bytes()), beside.read_bytes() if beside.is_file() else None)
        _check_place(path, geo)
    return found


def _one_place(geo: Mapping[str, Any]) -> Mapping[str, Any]:
    """Drop the control points if there is an affine too: a GeoTIFF can store only one of them."""
    if not (geo.get("gcps") and geo.get("transform")):
        return geo
    warnings.warn(
        f"The {len(geo['gcps'])} ground control points are left out: a GeoTIFF holds either an affine or control "
        "points, and the affine is kept.",
        stacklevel=2,
    )
    kept = {**geo, "gcps": [], "gcp_crs": None}
    return kept if geo.get("crs") else {**kept, "crs": geo.get("gcp_crs")}


def _check_place(path: Path, geo: Mapping[str, Any]) -> None:
    """Warn about the part of the CRS that GeoTIFF and GDAL do not return."""
    import rasterio

    with rasterio.open(path) as dataset:
        back = dataset.gcps[1] if geo.get("gcps") else dataset.crs
    wanted = _crs(geo.get("gcp_crs") if geo.get("gcps") else geo.get("crs"))
    if wanted is not None and back != wanted:
        given = "no CRS" if not back else f"{back.to_string()[:120]!r}"
        warnings.warn(
            f"The coordinate reference system {wanted.to_string()[:120]!r} does not fit GeoTIFF: readers of the output "
            f"see {given}. Assign it to the output again.",
            stacklevel=2,
        )


def _crs(wkt: str | None) -> Any:
    """Return the CRS, by its EPSG code if its WKT is that code's: some lose their code when written from WKT."""
    from rasterio.crs import CRS

    if not wkt:
        return None
    found = CRS.from_wkt(wkt)
    code = _EPSG.search(wkt)
    if code is None:
        return found
    named = CRS.from_epsg(int(code[1]))
    return named if named == found else found


def _profile(
    geo: Mapping[str, Any], bands: int, dtype: np.dtype[Any], nodata: float | None, interpretations: list[str]
) -> dict[str, Any]:
    from rasterio.transform import Affine

    profile: dict[str, Any] = {
        "driver": "GTiff", "width": _SIDE, "height": _SIDE, "count": bands, "endianness": "LITTLE",
        "dtype": "float32" if dtype == np.float16 else dtype.name, "interleave": "pixel",
        "photometric": "RGB" if interpretations[:3] == ["red", "green", "blue"] else _gray(geo),
    }  # fmt: skip
    if dtype == np.float16:
        profile["nbits"] = 16
    if geo.get("crs"):
        profile["crs"] = _crs(geo["crs"])
    if geo.get("transform"):
        profile["transform"] = Affine(*geo["transform"])
    if nodata is not None and _holds(dtype, nodata):
        profile["nodata"] = nodata
    return profile


def _gray(geo: Mapping[str, Any]) -> str:
    return "MINISWHITE" if geo.get("photometric") == "miniswhite" else "MINISBLACK"


def _alpha(geo: Mapping[str, Any]) -> str:
    """Return GDAL's name of the kind of opacity that an alpha band becomes."""
    return "PREMULTIPLIED" if geo.get("alpha") == "premultiplied" else "NON-PREMULTIPLIED"


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Return True if a pixel can have ``value``; otherwise the nodata value is useless, and GDAL rejects it."""
    if dtype.kind == "f":
        return isnan(value) or bool(np.isinf(value)) or abs(value) <= float(np.finfo(dtype).max)
    return not isnan(value) and float(value).is_integer() and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def _interpretations(geo: Mapping[str, Any], bands: int, colours: bool) -> list[str]:
    given = list(geo.get("colorinterp") or ())
    if len(given) == bands:
        return given
    if colours and bands in (3, 4):
        return ["red", "green", "blue", "alpha"][:bands]
    return ["gray", *["undefined"] * (bands - 1)]


def _describe(dataset: Any, geo: Mapping[str, Any], interpretations: list[str], provenance: Mapping[str, Any]) -> None:
    from rasterio.enums import ColorInterp

    bands = dataset.count
    dataset.colorinterp = [ColorInterp[name] for name in interpretations]
    for key, blank in (("descriptions", None), ("units", None), ("scales", 1.0), ("offsets", 0.0)):
        values = list(geo.get(key) or ())
        if len(values) == bands and any(v != blank for v in values):
            setattr(dataset, key, [_text(v) if blank is None else v for v in values])
    _place(dataset, geo)
    tags = dict(geo.get("tags") or {})
    if geo.get("area_or_point"):
        tags["AREA_OR_POINT"] = geo["area_or_point"]
    if provenance:
        tags[PROVENANCE] = json.dumps(json_ready(provenance), sort_keys=True)
    _set(dataset, tags)
    for band, items in enumerate(geo.get("band_tags") or (), start=1):
        if band <= bands:
            _set(dataset, items, bidx=band)
    for space, items in (geo.get("domains") or {}).items():
        _set(dataset, items, ns=space)
    for band, spaces in enumerate(geo.get("band_domains") or (), start=1):
        for space, items in spaces.items() if band <= bands else ():
            _set(dataset, items, bidx=band, ns=space)


def _text(value: str | None) -> str:
    return value or ""


def _place(dataset: Any, geo: Mapping[str, Any]) -> None:
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS

    if geo.get("gcps"):
        # rasterio and GDAL each shift the points of such a file by half a pixel on writing and reading.
        shift = 1.0 if geo.get("area_or_point") == "Point" else 0.0
        points = [
            GroundControlPoint(row - shift, col - shift, x, y, z, id=i, info=t)
            for row, col, x, y, z, i, t in geo["gcps"]
        ]
        dataset.gcps = (points, _crs(geo.get("gcp_crs")) or CRS())
    if geo.get("rpcs"):
        _set(dataset, geo["rpcs"], ns="RPC")
    if geo.get("geolocation"):
        _set(dataset, geo["geolocation"], ns="GEOLOCATION")


def _set(dataset: Any, items: Mapping[str, str], **where: Any) -> None:
    # rasterio takes items as keyword arguments; it uses two of the names itself.
    items = {k: v for k, v in items.items() if k not in ("ns", "bidx")}
    if items:
        dataset.update_tags(**where, **items)


def _read_tags(content: bytes) -> list[Tag]:
    """Read the first directory's tags byte by byte."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        assert tiff.byteorder == "<"
        return [
            Tag(t.code, int(t.dtype), t.count, content[t.valueoffset : t.valueoffset + t.valuebytecount])
            for t in tiff.pages.first.tags
            if t.code not in _LAYOUT
        ]
