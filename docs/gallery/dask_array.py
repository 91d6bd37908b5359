# %% [markdown]
# # A Dask array
#
# `restore` takes a Dask array and returns one: nothing is computed until pixels are asked for, and then only the
# tiles that they need.

# %%
import dask.array as da
import numpy as np

import swin2sr_ops

rng = np.random.default_rng(0)
planes = rng.integers(0, 4096, (2, 2, 96, 128), dtype="uint16")
stack = da.from_array(planes, chunks=(1, 1, 64, 64))

# %% [markdown]
# The range is given: `range="auto"` would read the whole array first. Chunks of the result are those of the input,
# enlarged.

# %%
fine = swin2sr_ops.restore(stack, axes="ZCYX", model="nano-x2-gray", range=(0, 4095))
print(fine.shape, fine.dtype)  # (2, 2, 192, 256) uint16

# %% [markdown]
# A part is computed from its own tiles, and it is the same part of the whole, to the last bit: the result does not
# depend on chunks or tiles.

# %%
part = fine[0, 1, 50:90, 100:160].compute()
whole = swin2sr_ops.restore(planes, axes="ZCYX", model="nano-x2-gray", range=(0, 4095)).compute()
print(np.array_equal(part, whole[0, 1, 50:90, 100:160]))  # True
