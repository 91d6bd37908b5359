"""Read georeferenced rasters through rasterio: GeoTIFF, COG, JPEG 2000, VRT and the other formats of GDAL.

This needs the extra ``geo``; without rasterio no file is opened here.
"""

from __future__ import annotations

import os
import threading
import warnings
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, RequestError, without_secrets
from swin2sr_ops.io.base import ImageInfo, Region, check_axes, check_region, listing
from swin2sr_ops.io.geo.address import absolute_address, name_of
from swin2sr_ops.io.geo.files import check_tiff, is_geotiff, is_premultiplied, is_raster, naming, open_dataset, parts_of
from swin2sr_ops.io.geo.identity import files_behind, raster_identity
from swin2sr_ops.io.geo.metadata import bands_by_colour, channels_of, describe, place
from swin2sr_ops.io.geo.resampled import is_resampled, read_blocks
from swin2sr_ops.pixels.holes import keep_valid, nodata_pixels, stored_nodata

__all__ = ["GeoSource", "is_geotiff", "open_source", "rasters_in"]

_LOOK = 128  # side in pixels of the central part of an opacity band that is checked
_DOUBTFUL = 0.5  # share of intermediate values above which the band is doubtful
_HEAVY = 4096  # characters of metadata above which a copy for a task leaves them out
_NO_BRIGHTNESS = {
    "palette": "palette indices, not colours", "cyan": "printing inks (CMYK)",
    "hue": "hue, saturation and lightness", "Cb": "YCbCr colours",
}  # fmt: skip


@dataclass(repr=False)
class GeoSource:
    """One raster at one level; pickles as its address, and opens again in another process.

    GDAL's datasets belong to one thread, so each reading thread has its own.
    """

    uri: str
    series: int = 0
    level: int = 0
    axes: str | None = None
    nodata: float | None = None  # given by a person: the file's own values are pixels
    _info: ImageInfo | None = None
    _local: Any = field(default_factory=threading.local, compare=False)
    _closings: int = field(default=0, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        # Reading hundreds of control points again is faster than storing them in every copy of a task graph.
        heavy = self._info is not None and len(repr(self._info.extra)) > _HEAVY
        uri = absolute_address(self.uri)
        kept = {"_info": None if heavy else self._info, "_local": None, "_closings": 0}
        return {**self.__dict__, "uri": uri, **kept}

    def __repr__(self) -> str:
        # Dask logs the arguments of a task that fails.
        return f"GeoSource({without_secrets(self.uri)!r}, series={self.series}, level={self.level}, axes={self.axes!r})"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    @property
    def info(self) -> ImageInfo:
        """Facts about the raster without its pixels; ``extra["geo"]`` comes from `geo_metadata.describe`."""
        if self._info is None:
            with naming(self.uri):
                self._info = _info(self.uri, self._dataset(), self.axes, self.level)
            if self.nodata is not None:
                self._info = replace(self._info, nodata=self.nodata)
        return self._info

    def with_nodata(self, value: float) -> GeoSource:
        """Return the source of the stored values with ``value`` as the only nodata value, in every band."""
        return GeoSource(self.uri, self.series, self.level, self.axes, float(value))

    def read(self, region: Region) -> NDArray[Any]:
        """Decode ``region``.

        Where bands have different values for "no pixel here", or some have none, all holes come as
        ``info.nodata``, since an output has one value only; a valid pixel with that very value
        comes as the value beside it. With a value that a person gave, pixels come as they are stored.
        """
        info = self.info
        region = check_region(region, info.shape)
        bands = region[0] if len(region) == 3 else slice(0, 1)
        shape = [r.stop - r.start for r in (bands, *region[-2:])]
        if 0 in shape:
            return np.empty(shape[-len(region) :], info.dtype)
        with naming(self.uri):
            dataset = self._dataset()
            chosen = range(bands.start + 1, bands.stop + 1)
            if self._local.resampled:
                pixels = read_blocks(dataset, chosen, region[-2:])
            else:
                pixels = _pixels(dataset, chosen, _window(region[-2:]))
            if self.nodata is None:
                _unify_nodata(pixels, dataset.nodatavals[bands], info.nodata)
        return np.ascontiguousarray(pixels.reshape(shape[-len(region) :]), dtype=info.dtype)

    def valid_mask(self, region: Region) -> NDArray[np.bool_] | None:
        """Read the valid pixels by the file's own mask, for all bands together.

        Parameters
        ----------
        region : tuple of slice
            Along Y and X.

        Returns
        -------
        ndarray of bool or None
            None if the file has no mask: a mask inside, a ``.msk`` file beside it, or a VRT's.
            ``info.nodata`` and an alpha band are no masks. If bands have separate masks, a pixel
            is valid if all of them say so.
        """
        region = check_region(region, self.info.shape[-2:])
        flags = self.info.extra["geo"]["mask_flags"]
        masked = [b for b, names in enumerate(flags, start=1) if not set(names) & {"all_valid", "alpha", "nodata"}]
        if not masked:
            return None
        shape = (region[0].stop - region[0].start, region[1].stop - region[1].start)
        if 0 in shape:
            return np.empty(shape, bool)
        if "per_dataset" in flags[masked[0] - 1]:
            masked = masked[:1]
        with naming(self.uri):
            masks = self._dataset().read_masks(masked, window=_window(region))
        valid: NDArray[np.bool_] = (masks != 0).all(axis=0)
        return valid

    def shown(self, region: Region) -> NDArray[np.bool_] | None:
        """Find the pixels that the opacity band, if there is one, does not hide.

        Parameters
        ----------
        region : tuple of slice
            Along Y and X.
        """
        info = self.info
        alpha = bands_by_colour(info.extra["geo"])["alpha"] if "C" in info.axes else None
        if alpha is None:
            return None
        rows, columns = check_region(region, info.shape[-2:])
        opacity = self.read((slice(alpha, alpha + 1), rows, columns))[0]
        return np.asarray(opacity != 0)

    def files(self) -> list[str]:
        """List the local files of the raster."""
        with naming(self.uri), open_dataset(self.uri, self.series, self.level) as dataset:
            return files_behind(self.uri, dataset)

    def identity(self) -> dict[str, Any]:
        """Return size and time of all files of the raster, and which raster in them it is."""
        with naming(self.uri), open_dataset(self.uri, self.series, self.level) as dataset:
            found = raster_identity(self.uri, dataset, self.level)
        given = {} if self.nodata is None else {"nodata": "given"}
        return {**found, "series": self.series, "level": self.level, **given}

    def close(self) -> None:
        """Close the file in this thread now, and in other threads at their next read or end."""
        self._closings += 1
        dataset = self._local.__dict__.pop("dataset", None)
        if dataset is not None:
            dataset.close()

    def _dataset(self) -> Any:
        """Return this thread's dataset; a forked worker opens its own, since it shares its parent's file position."""
        mine, now = self._local, (os.getpid(), self._closings)
        if getattr(mine, "opened", None) != now:
            mine.dataset = open_dataset(self.uri, self.series, self.level)
            mine.opened, mine.resampled = now, is_resampled(mine.dataset)
        return mine.dataset


def open_source(
    uri: str, *, axes: str | None = None, level: int = 0, series: int | None = None, array: str | None = None
) -> GeoSource | None:
    """Open the georeferenced raster at ``uri``, or return None if ``uri`` is none.

    Parameters
    ----------
    uri : str
        A file, an ``https://`` or ``s3://`` address with a raster's suffix, or a ``/vsi`` path.
    axes : str, optional
        One letter per dimension, if bands are not channels: ``"TYX"``.
    level : int
        0 is the full raster, others are its overviews.
    series : int
        Which raster, where a file holds several (GDAL's subdatasets); the first unless given.
    array : str, optional
        Not supported for rasters.

    Raises
    ------
    FormatError
        If nothing is there, it is truncated or damaged, or its bands cannot be averaged.
    RequestError
        If an option does not fit the raster.
    """
    if find_spec("rasterio") is None or not is_raster(uri):
        return None
    if array is not None:
        raise RequestError(f"array={array!r} is not possible: a raster has no arrays, choose an image with series=.")
    if series is None:
        series = _first_raster(uri)
    source = GeoSource(uri, series, 0, axes)
    levels = source.info.levels
    if not 0 <= level < levels:
        raise RequestError(f"level={level} does not exist: {uri!r} has the levels 0 to {levels - 1}.")
    check_tiff(uri)
    if level:
        source.close()
        source = GeoSource(uri, series, level, axes)
    assert source.info  # opens the file and finds its errors here
    _check_opacity(source)
    _note_swath(source)
    return source


def _first_raster(uri: str) -> int:
    """Choose the raster where the caller does not, and say so where there are several."""
    names = _names_in(uri)
    if names:
        warnings.warn(
            f"{without_secrets(uri)!r} contains {len(names)} rasters; the first is used: choose with series="
            f" ({listing(dict(enumerate(names)))}).",
            stacklevel=3,
        )
    return 0


def rasters_in(uri: str) -> list[str]:
    """List the names of the rasters in ``uri``, in the order of ``series``; empty if it is a raster itself."""
    if find_spec("rasterio") is None or uri.startswith("sample:") or not is_raster(uri):
        return []
    return _names_in(uri)


def _names_in(uri: str) -> list[str]:
    with naming(uri):
        parts = parts_of(uri)
    names = [part.rsplit(":", 1)[-1].strip('/"') for part in parts]
    return [] if len(parts) < 2 else names if len(set(names)) == len(parts) else parts


def _check_opacity(source: GeoSource) -> None:
    """Warn if an opacity band looks like an image: GDAL assumes opacity for any fourth band of 8 bits."""
    info = source.info
    alpha = bands_by_colour(info.extra["geo"])["alpha"] if "C" in info.axes else None
    if alpha is None:
        return
    sides = [(max(n // 2 - _LOOK // 2, 0), min(n // 2 + _LOOK // 2, n)) for n in info.shape[-2:]]
    seen = source.read((slice(alpha, alpha + 1), *(slice(*side) for side in sides)))
    highest = np.iinfo(seen.dtype).max if seen.dtype.kind != "f" else seen.max()
    if np.mean((seen != 0) & (seen != highest) & (seen != 255)) > _DOUBTFUL:
        warnings.warn(
            f"Band {alpha + 1} of {without_secrets(source.uri)!r} counts as opacity (alpha) and is only repeated, not"
            " restored, though most of its values are neither 0 nor the highest: if it is near infrared, mark it"
            f" with `rio edit-info --colorinterp {alpha + 1}=undefined`.",
            stacklevel=2,
        )


def _note_swath(source: GeoSource) -> None:
    """Say that a place which is given per pixel lies in arrays of its own, which are not copied."""
    items = source.info.extra["geo"]["geolocation"]
    names = [without_secrets(items[key]) for key in ("X_DATASET", "Y_DATASET") if key in items]
    if names:
        warnings.warn(
            f"{without_secrets(source.uri)!r} has geolocation arrays ({', '.join(names)}), which are not"
            " copied: a GeoTIFF refers to them where they are, other outputs have no georeference.",
            stacklevel=3,
        )


def _info(uri: str, dataset: Any, axes: str | None, level: int) -> ImageInfo:
    geo = describe(dataset)
    if "alpha" in geo["colorinterp"] and is_premultiplied(uri):
        geo["alpha"] = "premultiplied"
    _check_bands(uri, dataset, geo)
    letters, shape = _axes(dataset, axes)
    dtype, structure = _dtype(dataset), dataset.tags(ns="IMAGE_STRUCTURE")
    together = dataset.count if structure.get("INTERLEAVE") == "PIXEL" else 1
    chunks = (together, *dataset.block_shapes[0])[-len(shape) :]
    size, origin, units = place(dataset)
    return ImageInfo(
        shape=shape,
        axes=letters,
        dtype=dtype,
        chunks=tuple(min(c, n) for c, n in zip(chunks, shape, strict=True)),
        pixel_size=size,
        origin=origin,
        units=units,
        channels=channels_of(geo) if "C" in letters else (),
        nodata=next((float(v) for v in dataset.nodatavals if v is not None), None),
        name=name_of(uri),
        format=_format(dataset, structure),
        levels=level + 1 + len(dataset.overviews(1)),
        extra={"geo": geo, **_extra(dataset, dtype, geo)},
    )


def _axes(dataset: Any, axes: str | None) -> tuple[str, tuple[int, ...]]:
    shape = (dataset.count, *dataset.shape) if dataset.count > 1 else tuple(dataset.shape)
    if axes is None:
        return "CYX"[-len(shape) :], shape
    letters = check_axes(axes, len(shape))
    if letters[-2:] != "YX":
        raise RequestError(f"axes={axes!r} does not fit: a raster's bands come first, then Y, then X, such as 'TYX'.")
    return letters, shape


def _check_bands(uri: str, dataset: Any, geo: dict[str, Any]) -> None:
    """Reject colour interpretations whose samples cannot be averaged (palette, CMYK, HSL, YCbCr)."""
    if not dataset.count:
        raise FormatError(f"{uri!r} contains no raster bands.")
    for name, what in _NO_BRIGHTNESS.items():
        if name in geo["colorinterp"]:
            raise FormatError(f"{uri!r} stores {what}: convert it to RGB first.")


def _dtype(dataset: Any) -> np.dtype[Any]:
    """Return one type that holds all bands; GDAL shows half floats as float32 with 16 bits."""
    names = ["complex64" if name.startswith("complex_int") else name for name in dataset.dtypes]
    dtype = np.result_type(*names)
    half = all(dataset.tags(b, ns="IMAGE_STRUCTURE").get("NBITS") == "16" for b in dataset.indexes)
    return np.dtype("float16") if dtype == np.float32 and half else dtype


def _extra(dataset: Any, dtype: np.dtype[Any], geo: dict[str, Any]) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "")
    if dtype.kind == "u" and bits.isdigit() and int(bits) < 8 * dtype.itemsize:
        extra["bits_per_sample"] = int(bits)  # a 12-bit sensor's values end at 4095
    if geo["photometric"]:
        extra["photometric"] = geo["photometric"]
    if "alpha" in geo:
        extra["alpha"] = geo["alpha"]
    return extra


def _format(dataset: Any, structure: dict[str, str]) -> str:
    if dataset.driver != "GTiff":
        return str(dataset.driver)
    return "GeoTIFF (COG)" if structure.get("LAYOUT") == "COG" else "GeoTIFF"


def _window(region: Region) -> Any:
    from rasterio.windows import Window

    rows, columns = region
    return Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)


def _pixels(dataset: Any, bands: range, window: Any) -> NDArray[Any]:
    if len({dataset.dtypes[b - 1] for b in bands}) == 1:
        pixels: NDArray[Any] = dataset.read(list(bands), window=window)
        return pixels
    return np.stack([dataset.read(b, window=window) for b in bands])


def _unify_nodata(pixels: NDArray[Any], values: tuple[float | None, ...], common: float | None) -> None:
    """Mark invalid pixels of all bands, and no valid one, with ``common`` if bands have other nodata values or none."""
    if common is None:
        return
    for band, own in zip(pixels, values, strict=True):
        if own is not None and (own == common or (isnan(own) and isnan(common))):
            continue
        hole = nodata_pixels(band, own)
        if own is not None and isnan(own) and band.dtype.kind == "f":
            hole = np.isnan(band)
        keep_valid(band, common, None if hole is None else ~hole)
        if hole is not None and stored_nodata(common, band.dtype) is not None:
            band[hole] = common
