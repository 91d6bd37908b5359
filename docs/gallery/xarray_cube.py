# %% [markdown]
# # A cube in xarray
#
# Needs the extra `xarray`. The accessor restores the planes of an array, with coordinates that follow the pixels.

# %%
import numpy as np
import swin2sr_ops_xarray
import xarray as xr

reflectance = np.random.default_rng(2).random((3, 40, 48), dtype="float32")
cube = xr.DataArray(
    reflectance,
    dims=("time", "y", "x"),
    coords={
        "time": np.array(["2026-06-01", "2026-07-01", "2026-08-01"], dtype="datetime64[ns]"),
        "y": 5_400_000 - 10 * np.arange(40) - 5.0,
        "x": 500_000 + 10 * np.arange(48) + 5.0,
    },
    name="reflectance",
)

# %%
fine = cube.swin2sr.restore(model="nano-x2-gray", range=(0, 1))
print(fine.dims, fine.shape)  # ('time', 'y', 'x') (3, 80, 96)

# %% [markdown]
# A pixel is half as large, and the corner of the image stays where it was: the first centre moves by a quarter of the
# old pixel. Nothing is computed yet.

# %%
print(float(fine.x[0]), float(fine.x[1] - fine.x[0]))  # 500002.5 5.0
july = fine.sel(time="2026-07-01").compute()
print(july.dtype, swin2sr_ops_xarray.__name__)  # float32 swin2sr_ops_xarray
