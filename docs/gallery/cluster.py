# %% [markdown]
# # On a Dask cluster
#
# Needs the extra `distributed`. A lazy array is computed by the workers of the cluster that is in force. For files,
# give `restore_image` the number of `workers` or the address of a `scheduler`: then each worker writes the chunks
# that it owns, and no pixels travel through the client. The cluster here is one process with two threads.

# %%
import numpy as np
import zarr
from distributed import Client, LocalCluster

import swin2sr_ops

image = np.random.default_rng(3).integers(0, 4000, (160, 192), dtype="uint16")
zarr.create_array("image.zarr", data=image, chunks=(64, 64), dimension_names=["y", "x"])
options = {"model": "nano-x2-gray", "tile": 64, "chunks": (128, 128), "range": (0, 4000)}

# %%
with (
    LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
    Client(cluster),
):
    fine = swin2sr_ops.restore(image, model="nano-x2-gray", range=(0, 4000), tile=64)
    lazily = fine.compute()  # by the cluster's workers

# %% [markdown]
# The cluster's pixels are those of this process, to the last bit.

# %%
swin2sr_ops.restore_image("image.zarr", "alone.ome.zarr", **options)
alone = zarr.open_group("alone.ome.zarr", mode="r")["0"][:]
print(np.array_equal(alone, lazily))  # True
