"""TIFF and COG for `archives.py`: ours, which are staged first, and those of tifffile and GDAL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from archives_work import CHUNK, SCALE, Case, enlarge, ours, squares, twice
from numpy.typing import NDArray


def tiff(case: Case) -> None:
    """Ours, through the staging arrays."""
    ours(case)


def plain_tiff(case: Case) -> None:
    """tifffile alone: a row of tiles at a time, the same compression."""
    import tifffile
    import zarr

    source = zarr.open_array(case.source, mode="r")

    def tiles() -> Iterator[NDArray[Any]]:
        for top in range(0, case.side, CHUNK // SCALE):
            band = enlarge(source[top : top + CHUNK // SCALE])
            for left in range(0, case.side * SCALE, CHUNK):
                yield band[:, left : left + CHUNK]

    shape = (case.side * SCALE,) * 2
    tifffile.imwrite(
        case.output, tiles(), shape=shape, dtype="uint16", tile=(CHUNK, CHUNK), compression="adobe_deflate",
        predictor=True, maxworkers=case.cpus,
    )  # fmt: skip


def geotiff(case: Case) -> None:
    """The source once more as GeoTIFF, for COG."""
    import rasterio
    import zarr

    for path in (case.source, f"{case.source}.small.zarr"):
        array = zarr.open_array(path, mode="r")
        with rasterio.open(f"{path}.tif", "w", **_profile(array.shape[0]), transform=_place(10.0)) as file:
            for rows, columns in squares(array.shape[0], CHUNK):
                _put(file, rows, columns, array[rows, columns])


def cog(case: Case) -> None:
    """Ours, with overviews."""
    ours(replace(case, source=f"{case.source}.tif", facts=case.facts), pyramid=True)


def plain_cog(case: Case) -> None:
    """rasterio alone: windows into a GeoTIFF, which GDAL's COG driver copies, with overviews."""
    import rasterio
    from rasterio.shutil import copy
    from rasterio.windows import Window

    draft = Path(f"{case.output}.draft.tif")
    with (
        rasterio.open(f"{case.source}.tif") as source,
        rasterio.open(draft, "w", **_profile(case.side * SCALE), transform=_place(10.0 / SCALE)) as output,
    ):
        for rows, columns in squares(case.side, case.unit // SCALE):
            block = source.read(1, window=Window.from_slices(rows, columns))
            _put(output, twice(rows), twice(columns), enlarge(block))
    options: dict[str, Any] = {"compress": "deflate", "predictor": "yes", "blocksize": CHUNK, "num_threads": case.cpus}
    copy(draft, case.output, driver="COG", overview_resampling="average", **options)
    draft.unlink()


def _profile(side: int) -> dict[str, Any]:
    size = {"width": side, "height": side, "count": 1, "dtype": "uint16", "crs": "EPSG:32632"}
    return size | {"driver": "GTiff", "tiled": True, "blockxsize": CHUNK, "blockysize": CHUNK, "compress": "deflate"}


def _place(pixel: float) -> Any:
    from rasterio.transform import from_origin

    return from_origin(500_000, 5_000_000, pixel, pixel)


def _put(file: Any, rows: slice, columns: slice, block: NDArray[Any]) -> None:
    from rasterio.windows import Window

    file.write(np.ascontiguousarray(block), 1, window=Window.from_slices(rows, columns))
