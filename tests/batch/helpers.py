"""Small images of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
import zarr

PIXELS = np.arange(48, dtype="u2").reshape(6, 8)


def tif(path: str, **options: object) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, PIXELS, **options)
    return path


def raster(path: str, driver: str = "GTiff", bands: int = 1, **options: object) -> str:
    """A raster with a place on Earth."""
    import rasterio

    pixels = np.tile(np.kron(PIXELS, np.ones((8, 8), "u2")), (bands, 1, 1))
    profile = {"width": pixels.shape[2], "height": pixels.shape[1], "count": bands, "dtype": "uint16"}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 399960, 0, -10, 5400000)}
    with rasterio.open(path, "w", driver=driver, **profile, **place, **options) as dataset:
        dataset.write(pixels)
    return path


def image_zarr(path: str) -> str:
    """An OME-Zarr image with one level."""
    group = zarr.create_group(path, zarr_format=2)
    group.create_array("0", data=PIXELS, chunks=(4, 4))
    axes = [{"name": a, "type": "space"} for a in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    return path


def plate_zarr(path: str) -> str:
    """A plate of one well with two fields."""
    group = zarr.create_group(path, zarr_format=2)
    wells = [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}]
    group.attrs["plate"] = {"version": "0.4", "rows": [{"name": "A"}], "columns": [{"name": "1"}], "wells": wells}
    group.require_group("A/1").attrs["well"] = {"version": "0.4", "images": [{"path": "0"}, {"path": "1"}]}
    for field in "01":
        image_zarr(f"{path}/A/1/{field}")
    return path
