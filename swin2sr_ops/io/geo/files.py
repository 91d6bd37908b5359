"""Detect georeferenced rasters, and open them with rasterio.

TIFFs without a georeference are left to `tiff_source`, which reads the same pixel values. So are microscopes'
TIFFs, since GDAL would only show their first page.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.base import RASTER_SUFFIXES
from swin2sr_ops.io.geo.address import is_address, subdataset
from swin2sr_ops.io.geo.descriptions import check_description, safe_drivers
from swin2sr_ops.io.geo.metadata import is_georeferenced
from swin2sr_ops.io.storage.paths import existing_path, local_path
from swin2sr_ops.io.tiff.colours import is_premultiplied as is_premultiplied_page
from swin2sr_ops.io.tiff.damage import check_whole
from swin2sr_ops.io.tiff.tags import GDAL_METADATA, GDAL_NODATA

__all__ = ["check_tiff", "is_geotiff", "is_premultiplied", "is_raster", "naming", "open_dataset", "parts_of"]

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PICTURE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
#: How long a server may take to accept a connection, and to send a byte; GDAL itself would wait for ever.
_PATIENCE = {"GDAL_HTTP_CONNECTTIMEOUT": "10", "GDAL_HTTP_LOW_SPEED_TIME": "15", "GDAL_HTTP_LOW_SPEED_LIMIT": "1"}
_SIDECARS = (".aux.xml", ".wld", ".tfw", ".pgw", ".pngw", ".jgw", ".jpgw", ".jpegw", ".gfw", ".bpw", ".wbw")
_IMAGES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")  # they say nothing about the place of a file beside them
_MANY_FILES = 1000  # in a folder: GDAL looks through it faster
_COG_MARK, _HEADER_BYTES = b"GDAL_STRUCTURAL_METADATA", 64
_REMOTE = {"http", "https", "s3", "gs", "az"}
_WRAPPED = {"zip", "tar", "gzip", "vrt"}  # schemes of rasterio and GDAL for data in, or derived from, another file
_GEO_TAGS = {34735, 33550, 33922, 34264, 50844}  # GeoKeys, pixel scale, tie points, transformation, RPCs
_GDAL_TAGS = {GDAL_METADATA, GDAL_NODATA}  # training chips have them without a place
_MICROSCOPES = {
    "ome", "imagej", "svs", "lsm", "stk", "ndpi", "scn", "qpi", "bif", "fluoview", "micromanager", "mmstack",
    "metaseries", "philips", "fei", "sem", "nih", "eer", "indica",
}  # fmt: skip
_PLAIN = {"GTiff", "PNG", "JPEG", "GIF", "BMP", "WEBP"}  # other readers open these unless they are georeferenced
#: Drivers whose datasets are addressed by the driver's name and a file.
_DRIVERS = {
    "NETCDF", "HDF5", "HDF4_SDS", "HDF4_EOS", "GTIFF_DIR", "GPKG", "GRIB", "BAG", "NITF_IM", "VRT", "SENTINEL2_L1B",
    "SENTINEL2_L1C", "SENTINEL2_L2A", "SENTINEL1_CALIB", "WMS", "WMTS", "PG",
}  # fmt: skip
# Errors that tifffile raises for a file that it does not understand.
_TIFFFILE_RAISES = (ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, AssertionError, struct.error)


def is_raster(uri: str) -> bool:
    """Return True if rasterio should open ``uri``: georeferenced, a COG, or a format without another reader here.

    Raises
    ------
    FormatError
        If there is no such file.
    """
    if is_address(uri):
        return uri.startswith("/vsi") or _opens(uri)
    scheme, sep, rest = uri.partition("://")
    if sep and scheme != "file":
        named_so = PurePosixPath(urlsplit(rest).path).suffix.lower() in RASTER_SUFFIXES
        return scheme in _WRAPPED or (scheme in _REMOTE and named_so)
    return _is_raster_file(uri)


def _is_raster_file(uri: str) -> bool:
    path = existing_path(uri)
    if path is None or not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(4)
    if start in _TIFF_MAGIC:
        flags, codes = _tiff_kind(path)
        return not _MICROSCOPES & flags and (
            bool(_GEO_TAGS & codes)
            or ((bool(_GDAL_TAGS & codes) or Path(f"{path}.msk").is_file()) and _is_single(path))
            or (_may_have_a_place(path) and _gdal_has_a_place(uri))
        )
    if start.startswith(_PICTURE_MAGIC) and not any(
        path.with_suffix(s).exists() or Path(f"{path}{s}").exists() for s in _SIDECARS
    ):
        return False  # GDAL knows a picture's georeference only from a file beside it
    check_description(uri, path)
    return _gdal_has_a_place(uri)


def _opens(uri: str) -> bool:
    """Return True if GDAL opens ``uri``, or knows its prefix, so that opening it gives a useful error."""
    from rasterio._err import CPLE_BaseError  # passed on when rasterio reads an invalid tag
    from rasterio.env import env_ctx_if_needed
    from rasterio.errors import RasterioError

    if uri.partition(":")[0].upper() in _DRIVERS:
        return True
    try:
        with env_ctx_if_needed(), open_dataset(uri):
            return True
    except (RasterioError, CPLE_BaseError, OSError, UnicodeError):
        return False


def _may_have_a_place(path: Path) -> bool:
    """Return False if GDAL cannot know a place for a TIFF without geographic tags; this loads no GDAL.

    Places also come from files beside an image, under many names (world files, RPCs, vendors' metadata), and a COG says
    so in its first bytes.
    """
    with path.open("rb") as file:
        if _COG_MARK in file.read(_HEADER_BYTES):
            return True
    with os.scandir(path.parent) as entries:
        for count, entry in enumerate(entries):
            beside = not entry.name.startswith(".") and not entry.name.lower().endswith(_IMAGES) and entry.is_file()
            if beside or count >= _MANY_FILES:
                return True
    return False


def _gdal_has_a_place(uri: str) -> bool:
    from rasterio._err import CPLE_BaseError  # passed on when rasterio reads an invalid tag
    from rasterio.env import env_ctx_if_needed
    from rasterio.errors import RasterioError

    try:
        with env_ctx_if_needed(), open_dataset(uri) as dataset:
            if dataset.driver in _PLAIN:
                return is_georeferenced(dataset) or dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
            return bool(dataset.driver != "Zarr")
    except (RasterioError, CPLE_BaseError, OSError, UnicodeError):
        return False


def is_geotiff(path: str | Path) -> bool:
    """Return True if the file at ``path`` is a TIFF with georeference tags; this needs no rasterio."""
    if not _is_tiff(Path(path)):
        return False
    flags, codes = _tiff_kind(Path(path))
    return not _MICROSCOPES & flags and bool(_GEO_TAGS & codes)


def _is_tiff(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in _TIFF_MAGIC


def _tiff_kind(path: Path) -> tuple[set[str], set[int]]:
    """Return tifffile's flags of the TIFF, and the tags of its first page; empty if it is damaged."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return set(tiff.flags), {tag.code for tag in tiff.pages.first.tags}
    except _TIFFFILE_RAISES:  # the reader that opens the file will report it
        return set(), set()


def _is_single(path: Path) -> bool:
    """Return True if a TIFF has one image besides its overviews and masks: GDAL shows the first page."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return sum(not (page.is_reduced or page.is_mask) for page in tiff.pages) == 1
    except _TIFFFILE_RAISES:
        return False


def _reason(error: Exception) -> str:
    """Return GDAL's message; it may quote bytes of a damaged file, which rasterio cannot decode."""
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode("utf-8", "replace").strip().rstrip(".")
    return str(error.__cause__ or error).strip().rstrip(".")


@contextmanager
def naming(uri: str) -> Iterator[None]:
    """Turn GDAL's errors for a damaged file into one `FormatError`; without rasterio's context GDAL prints them too."""
    from rasterio._err import CPLE_BaseError  # passed on when rasterio reads an invalid tag
    from rasterio.env import env_ctx_if_needed
    from rasterio.errors import RasterioError

    try:
        with env_ctx_if_needed():
            yield
    except (RasterioError, CPLE_BaseError, OSError, UnicodeError) as exc:
        reason = _reason(exc)
        raise FormatError(
            f"{uri!r} cannot be read ({reason}): it is truncated or damaged, or of a kind that GDAL does not read."
        ) from exc


def open_dataset(uri: str, series: int = 0, level: int = 0) -> Any:
    """Open a dataset for one thread.

    Raises
    ------
    RequestError
        If there is no such series.
    """
    import rasterio

    options: dict[str, Any] = {"overview_level": level - 1} if level else {}
    path = uri if is_address(uri) else local_path(uri)
    drivers = _drivers_of(uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        dataset = _open(uri if path is None else path, drivers, options)
        parts = dataset.subdatasets
        if series == 0 and (dataset.count or not parts):
            return dataset
        dataset.close()
        if not 0 <= series < max(1, len(parts)):
            raise RequestError(f"series={series} does not exist: {uri!r} has {max(1, len(parts))}, numbered from 0.")
        return rasterio.open(subdataset(parts[series], dataset.name), **options)


def _open(path: str | Path, drivers: list[str] | None, options: dict[str, Any]) -> Any:
    """Open ``path``; a server must answer within a time, which GDAL keeps for all later reads of the dataset."""
    import rasterio

    if isinstance(path, Path):
        return _opened(path, drivers, options)
    with rasterio.Env(**{name: value for name, value in _PATIENCE.items() if name not in os.environ}):
        return _opened(path, drivers, options)


def _opened(path: str | Path, drivers: list[str] | None, options: dict[str, Any]) -> Any:
    import rasterio
    from rasterio.env import ensure_env_with_credentials
    from rasterio.io import DatasetReader

    if drivers is None:
        return rasterio.open(path, **options)
    # `rasterio.open` accepts only one driver.
    return ensure_env_with_credentials(lambda name: DatasetReader(name, driver=drivers, **options))(str(path))


def _drivers_of(uri: str) -> list[str] | None:
    """Return the drivers that may read ``uri``; None for all, if the user wrote a GDAL address."""
    if is_address(uri):
        return None
    path = local_path(uri)
    return (
        safe_drivers(Path() if path is None else path) if path is not None or not _is_named_description(uri) else None
    )


def _is_named_description(uri: str) -> bool:
    """Return True if the user named a VRT on a server, or used one of GDAL's schemes."""
    scheme, _, rest = uri.partition("://")
    return scheme in _WRAPPED or PurePosixPath(urlsplit(rest).path).suffix.lower() == ".vrt"


def parts_of(uri: str) -> list[str]:
    """List GDAL's addresses of the rasters in ``uri``, if it contains several and is none itself."""
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        path = None if is_address(uri) else local_path(uri)
        with _open(uri if path is None else path, _drivers_of(uri), {}) as dataset:
            return [] if dataset.count else list(dataset.subdatasets)


def is_premultiplied(uri: str) -> bool:
    """Return True if a local TIFF stores colours multiplied by their opacity, which GDAL does not say."""
    path = local_path(uri)
    if is_address(uri) or path is None or not _is_tiff(path):
        return False
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return is_premultiplied_page(tiff.pages.first)
    except _TIFFFILE_RAISES:  # GDAL supports TIFFs that tifffile does not
        return False


def check_tiff(uri: str) -> None:
    """Reject a truncated TIFF now: GDAL would only notice when it reads there, possibly an hour into a run."""
    path = local_path(uri)
    if is_address(uri) or path is None or not _is_tiff(path):
        return
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            for level in tiff.series[0].levels:
                check_whole(uri, tiff, level)
    except _TIFFFILE_RAISES:  # GDAL has opened it, and supports TIFFs that tifffile does not
        return
