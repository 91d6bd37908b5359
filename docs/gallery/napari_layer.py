# %% [markdown]
# # In napari, from a script
#
# Needs the extra `napari`. The plugin has a window of its own (Plugins > Restore); this is how a script shows a
# lazily restored image above its source. `ViewerModel` is napari's viewer without a window: use `napari.Viewer()` to
# see it.

# %%
from napari.components import ViewerModel

import swin2sr_ops

source = swin2sr_ops.open_source("sample:cells")
image = source.read(tuple(slice(0, n) for n in source.info.shape))[:128, :160]

viewer = ViewerModel()
viewer.add_image(image, name="cells", scale=(1, 1))

# %% [markdown]
# Two pixels of the result lie in one of the source, so its centre moves by a quarter of a pixel.

# %%
fine = swin2sr_ops.restore(image, model="nano-x2-gray", range=(0, 65535))
limits = (float(image.min()), float(image.max()))
viewer.add_image(fine, name="restored", scale=(0.5, 0.5), translate=(-0.25, -0.25), contrast_limits=limits)
print([layer.name for layer in viewer.layers])  # ['cells', 'restored']
print(viewer.layers["restored"].extent.world[1].round(2).tolist())  # [127.25, 159.25]
