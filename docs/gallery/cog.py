# %% [markdown]
# # A scene on Earth, as a COG
#
# Needs the extra `geo`. A GeoTIFF in, a cloud-optimized GeoTIFF out: the coordinate system, corners, nodata and
# scales stay.

# %%
import numpy as np
import rasterio
from rasterio.transform import Affine

import swin2sr_ops

pixels = np.random.default_rng(1).integers(1000, 6000, (2, 64, 80), dtype="uint16")
pixels[:, :8, :8] = 0  # not seen by the satellite
place = Affine(10, 0, 500_000, 0, -10, 5_400_000)
profile = {"driver": "GTiff", "width": 80, "height": 64, "count": 2, "dtype": "uint16", "crs": "EPSG:32632"}
with rasterio.open("scene.tif", "w", transform=place, nodata=0, **profile) as raster:
    raster.write(pixels)
    raster.descriptions = ("B04", "B08")
    raster.scales, raster.offsets = (1e-4, 1e-4), (-0.1, -0.1)

# %%
swin2sr_ops.restore_image("scene.tif", "scene_x2.tif", model="nano-x2-gray", range=(1000, 11000))
with rasterio.open("scene.tif") as before, rasterio.open("scene_x2.tif") as after:
    print(after.crs == before.crs, after.bounds == before.bounds)  # True True
    print(after.res, after.nodata, after.descriptions)  # (5.0, 5.0) 0.0 ('B04', 'B08')
    print(bool((after.read()[:, :16, :16] == 0).all()))  # True
    print(after.tags(ns="IMAGE_STRUCTURE")["LAYOUT"])  # COG
