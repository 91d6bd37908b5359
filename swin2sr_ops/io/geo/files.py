"""Which files are rasters with a place on Earth, and how rasterio opens them.

A TIFF without a place is left to `tiff_source`, whose pixel values would be the same; microscopes'
TIFFs are too, since GDAL would show their first page only.
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
from swin2sr_ops.io.geo.address import is_address, subdataset
from swin2sr_ops.io.geo.descriptions import check_description, safe_drivers
from swin2sr_ops.io.geo.metadata import is_georeferenced
from swin2sr_ops.io.storage.paths import existing_path, local_path
from swin2sr_ops.io.tiff.damage import check_whole
from swin2sr_ops.io.tiff.tags import GDAL_METADATA, GDAL_NODATA

__all__ = ["check_tiff", "is_geotiff", "is_raster", "naming", "open_dataset", "parts_of"]

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PICTURE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
#: How long a server may take to accept a connection, and to send a byte; GDAL itself would wait for ever.
_PATIENCE = {"GDAL_HTTP_CONNECTTIMEOUT": "10", "GDAL_HTTP_LOW_SPEED_TIME": "15", "GDAL_HTTP_LOW_SPEED_LIMIT": "1"}
_SIDECARS = (".aux.xml", ".wld", ".tfw", ".pgw", ".pngw", ".jgw", ".jpgw", ".jpegw", ".gfw", ".bpw", ".wbw")
_REMOTE = {"http", "https", "s3", "gs", "az"}
_WRAPPED = {"zip", "tar", "gzip", "vrt"}  # rasterio's and GDAL's words for what lies in, or is made of, another file
_REMOTE_SUFFIXES = {".tif", ".tiff", ".jp2", ".j2k", ".vrt", ".img"}
_GEO_TAGS = {34735, 33550, 33922, 34264, 50844}  # GeoKeys, pixel scale, tie points, transformation, RPCs
_GDAL_TAGS = {GDAL_METADATA, GDAL_NODATA}  # training chips have them without a place
_MICROSCOPES = {
    "ome", "imagej", "svs", "lsm", "stk", "ndpi", "scn", "qpi", "bif", "fluoview", "micromanager", "mmstack",
    "metaseries", "philips", "fei", "sem", "nih", "eer", "indica",
}  # fmt: skip
_PLAIN = {"GTiff", "PNG", "JPEG", "GIF", "BMP", "WEBP"}  # other readers have these unless they have a place
#: Drivers whose datasets are addressed by their name and a file.
_DRIVERS = {
    "NETCDF", "HDF5", "HDF4_SDS", "HDF4_EOS", "GTIFF_DIR", "GPKG", "GRIB", "BAG", "NITF_IM", "VRT", "SENTINEL2_L1B",
    "SENTINEL2_L1C", "SENTINEL2_L2A", "SENTINEL1_CALIB", "WMS", "WMTS", "PG",
}  # fmt: skip
# What tifffile raises for a file that it does not understand.
_TIFFFILE_RAISES = (ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, AssertionError, struct.error)


def is_raster(uri: str) -> bool:
    """Whether ``uri`` is for rasterio: georeferenced, a COG, or a format that nobody else here reads.

    Raises
    ------
    FormatError
        There is no such file.
    """
    if is_address(uri):
        return uri.startswith("/vsi") or _opens(uri)
    scheme, sep, rest = uri.partition("://")
    if sep and scheme != "file":
        named_so = PurePosixPath(urlsplit(rest).path).suffix.lower() in _REMOTE_SUFFIXES
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
            or _gdal_has_a_place(uri)
        )
    if start.startswith(_PICTURE_MAGIC) and not any(
        path.with_suffix(s).exists() or Path(f"{path}{s}").exists() for s in _SIDECARS
    ):
        return False  # GDAL knows a picture's place from a file beside it only
    check_description(uri, path)
    return _gdal_has_a_place(uri)


def _opens(uri: str) -> bool:
    """Whether GDAL opens ``uri``, or knows its prefix so well that it should say what is wrong."""
    from rasterio._err import CPLE_BaseError  # reading an odd tag lets it through
    from rasterio.env import env_ctx_if_needed
    from rasterio.errors import RasterioError

    if uri.partition(":")[0].upper() in _DRIVERS:
        return True
    try:
        with env_ctx_if_needed(), open_dataset(uri):
            return True
    except (RasterioError, CPLE_BaseError, OSError, UnicodeError):
        return False


def _gdal_has_a_place(uri: str) -> bool:
    from rasterio._err import CPLE_BaseError  # reading an odd tag lets it through
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
    """Whether the file at ``path`` is a TIFF with georeference tags; needs no rasterio."""
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
    """What tifffile takes the TIFF for, and the tags of its first page; nothing where it is damaged."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return set(tiff.flags), {tag.code for tag in tiff.pages.first.tags}
    except _TIFFFILE_RAISES:  # the reader that takes the file will say what is wrong
        return set(), set()


def _is_single(path: Path) -> bool:
    """Whether a TIFF has one image, besides its overviews and masks: GDAL shows the first page."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return sum(not (page.is_reduced or page.is_mask) for page in tiff.pages) == 1
    except _TIFFFILE_RAISES:
        return False


def _reason(error: Exception) -> str:
    """Return what GDAL says; its text may quote bytes of a damaged file, which rasterio cannot decode."""
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode("utf-8", "replace").strip().rstrip(".")
    return str(error.__cause__ or error).strip().rstrip(".")


@contextmanager
def naming(uri: str) -> Iterator[None]:
    """Turn what GDAL says of a damaged file into one `FormatError`; else GDAL prints it, too."""
    from rasterio._err import CPLE_BaseError  # reading an odd tag lets it through
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
    """A dataset for one thread.

    Raises
    ------
    RequestError
        There is no such series.
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
            raise RequestError(f"series={series} was asked for, but {uri!r} has {max(1, len(parts))}, numbered from 0.")
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
    # `rasterio.open` takes a single driver only.
    return ensure_env_with_credentials(lambda name: DatasetReader(name, driver=drivers, **options))(str(path))


def _drivers_of(uri: str) -> list[str] | None:
    """Return the drivers that may read ``uri``; None for all, where a person used GDAL's own words."""
    if is_address(uri):
        return None
    path = local_path(uri)
    return (
        safe_drivers(Path() if path is None else path) if path is not None or not _is_named_description(uri) else None
    )


def _is_named_description(uri: str) -> bool:
    """Whether a person named a VRT on a server, or a raster in GDAL's own words."""
    scheme, _, rest = uri.partition("://")
    return scheme in _WRAPPED or PurePosixPath(urlsplit(rest).path).suffix.lower() == ".vrt"


def parts_of(uri: str) -> list[str]:
    """GDAL's addresses of the rasters in ``uri``, where it holds several and is none itself."""
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        path = None if is_address(uri) else local_path(uri)
        with _open(uri if path is None else path, _drivers_of(uri), {}) as dataset:
            return [] if dataset.count else list(dataset.subdatasets)


def check_tiff(uri: str) -> None:
    """Refuse a truncated TIFF. GDAL would find out when it reads there, an hour into a run."""
    path = local_path(uri)
    if is_address(uri) or path is None or not _is_tiff(path):
        return
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            for level in tiff.series[0].levels:
                check_whole(uri, tiff, level)
    except _TIFFFILE_RAISES:  # GDAL has opened it, and knows kinds of TIFF that tifffile does not
        return
