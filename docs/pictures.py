"""Make the picture of the README: the sample of nuclei, enlarged by bicubic interpolation and restored.

python docs/pictures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import swin2sr_ops
from swin2sr_ops.io.samples import sample_path

OUT = Path(__file__).parent / "images"


def main() -> None:
    """Restore the sample and draw it beside its enlargement."""
    source = swin2sr_ops.open_source(sample_path("sample:cells"))
    image = source.read(tuple(slice(0, n) for n in source.info.shape))
    restored = swin2sr_ops.restore(image).compute().astype("f4")
    size = restored.shape[::-1]
    bicubic = np.asarray(Image.fromarray(image.astype("f4"), "F").resize(size, Image.Resampling.BICUBIC))
    low, high = np.percentile(restored, [0.1, 99.8])
    window = (slice(150, 400), slice(20, 340))
    panels = [np.clip((p[window] - low) / (high - low) * 255, 0, 255).astype("u1") for p in (bicubic, restored)]
    OUT.mkdir(exist_ok=True)
    pair = np.concatenate([panels[0], np.full((panels[0].shape[0], 8), 255, "u1"), panels[1]], axis=1)
    picture = Image.fromarray(pair)
    picture.resize((picture.width * 3 // 2, picture.height * 3 // 2), Image.Resampling.NEAREST).save(
        OUT / "cells_x2.png"
    )


if __name__ == "__main__":
    main()
