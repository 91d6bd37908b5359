# %% [markdown]
# # Look first, restore later
#
# A restored store is a Zarr store whose chunks are restored when they are read; with a cache, a run finishes what was
# looked at. `swin2sr-ops serve` gives the same by HTTP ([serve](../serve.md)).

# %%
import numpy as np
import zarr

import swin2sr_ops

y, x = np.mgrid[:128, :160] / 6
image = (1500 + 1200 * np.sin(y) * np.cos(x)).astype("uint16")
zarr.create_array("cells.zarr", data=image, chunks=(64, 64), dimension_names=["y", "x"])
options = {"model": "nano-x2-gray", "range": (0, 4095), "chunks": 64}

# %%
with swin2sr_ops.restored_store("cells.zarr", cache="fine.ome.zarr", **options) as store:
    level = zarr.open_group(store, mode="r")["0"]
    print(level.shape, level.dtype)  # (256, 320) uint16
    corner = level[:64, :64]  # restored now

# %%
report = swin2sr_ops.restore_image("cells.zarr", "fine.ome.zarr", **options)
print(report.state)  # done
print(np.array_equal(zarr.open_group("fine.ome.zarr", mode="r")["0"][:64, :64], corner))  # True
