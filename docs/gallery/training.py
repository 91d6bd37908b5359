# %% [markdown]
# # Fine-tune a model
#
# A shipped model learns from fields of your own. A few steps show the way; a real run takes thousands
# ([training](../training.md)).

# %%
from pathlib import Path

import numpy as np
import tifffile

import swin2sr_ops
from swin2sr_ops.training import train

Path("fields").mkdir()
y, x = np.mgrid[:96, :96]
for seed in range(3):
    rng = np.random.default_rng(seed)
    spots = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 20) for a, b in rng.uniform(0, 96, (30, 2)))
    tifffile.imwrite(f"fields/{seed}.tif", (100 + 3000 * spots).astype("uint16"))

# %% [markdown]
# The call resumes if it is interrupted, and exports a model that is used by its path.

# %%
lines = []
train(
    init="nano-x2-gray", data="fields", out="run", export_to="mine.safetensors",
    steps=2, batch=1, patch=24, save_every=2, log=lines.append,
)  # fmt: skip
print(sorted(p.name for p in Path("run").iterdir())[:2])  # ['log.csv', 'recipe.json']

# %%
report = swin2sr_ops.restore_image("fields/0.tif", "fields_0_x2.ome.tif", model="mine.safetensors")
print(report.state, tifffile.imread("fields_0_x2.ome.tif").shape)  # done (192, 192)
