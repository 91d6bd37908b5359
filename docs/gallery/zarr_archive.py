# %% [markdown]
# # A Zarr archive, stopped and resumed
#
# An image of many chunks, a run that is interrupted, and the same command again: finished chunks are verified and
# kept.

# %%
import json
from pathlib import Path

import numpy as np
import zarr

import swin2sr_ops

y, x = np.mgrid[:192, :256] / 7
image = (2000 + 1500 * np.sin(y) * np.cos(x)).astype("uint16")
zarr.create_array("scan.zarr", data=image, chunks=(64, 64), dimension_names=["y", "x"])

# %% [markdown]
# An observer sees each tile. This one stops the run as Ctrl-C does.


# %%
def impatient(event):
    """Stop after the second tile."""
    if event.kind == "tile" and event.done == 2:
        raise KeyboardInterrupt


options = {"model": "nano-x2-gray", "tile": 64, "chunks": (128, 128), "range": (0, 4095)}
try:
    swin2sr_ops.restore_image("scan.zarr", "fine.ome.zarr", progress=impatient, **options)
except KeyboardInterrupt:
    print(Path("fine.ome.zarr").exists(), Path("fine.ome.zarr.partial").exists())  # False True

# %%
report = swin2sr_ops.restore_image("scan.zarr", "fine.ome.zarr", **options)
print(report.state, report.tiles, report.resumed >= 2)  # done 12 True

# %% [markdown]
# The output records how it was made.

# %%
made = json.loads(Path("fine.ome.zarr/zarr.json").read_text())["attributes"]["swin2sr_ops"]
print(made["model"], made["settings"]["scale"])  # nano-x2-gray 2
