# %% [markdown]
# # A plate
#
# A high-content screen in OME-Zarr: wells and fields stay what they are, every image becomes finer.

# %%
from pathlib import Path

import numpy as np
import zarr

import swin2sr_ops

WELLS = {"A/1": (0, 0), "B/2": (1, 1)}
plate = {
    "name": "screen",
    "rows": [{"name": "A"}, {"name": "B"}],
    "columns": [{"name": "1"}, {"name": "2"}],
    "wells": [{"path": name, "rowIndex": row, "columnIndex": column} for name, (row, column) in WELLS.items()],
}
zarr.create_group("plate.ome.zarr", attributes={"ome": {"version": "0.5", "plate": plate}})
axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
size = [{"type": "scale", "scale": [0.65, 0.65]}]
for seed, name in enumerate(WELLS):
    well = {"version": "0.5", "well": {"images": [{"path": "0"}]}}
    zarr.create_group(f"plate.ome.zarr/{name}", attributes={"ome": well}, overwrite=True)
    multiscales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": size}]}]
    zarr.create_group(
        f"plate.ome.zarr/{name}/0", attributes={"ome": {"version": "0.5", "multiscales": multiscales}}, overwrite=True
    )
    pixels = np.random.default_rng(seed).integers(0, 4000, (48, 56), dtype="uint16")
    zarr.create_array(f"plate.ome.zarr/{name}/0/0", data=pixels, chunks=(24, 28), dimension_names=["y", "x"])

# %%
report = swin2sr_ops.restore_batch(["plate.ome.zarr"], "restored", model="nano-x2-gray", range=(0, 4000))
print(report.ok, report.counts)  # True {'done': 1}

# %% [markdown]
# The copy is a plate again, at half the pixel size.

# %%
(copy,) = Path("restored").glob("*.ome.zarr")
print([well["path"] for well in zarr.open_group(copy, mode="r").attrs["ome"]["plate"]["wells"]])  # ['A/1', 'B/2']
info = swin2sr_ops.open_source(copy / "B/2/0").info
print(info.shape, info.pixel_size)  # (96, 112) {'Y': 0.325, 'X': 0.325}
