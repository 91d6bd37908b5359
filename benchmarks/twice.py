"""Enlarge by 4: compare an x4 model with an x2 model applied twice.

    python benchmarks/twice.py ../shared/data/eval/academic/Set5/HR

Means over the images of a folder: PSNR and SSIM of Y, border of 4 px, inputs reduced as the official ones are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import swin2sr_ops
from swin2sr_ops.evaluate.metrics import luma, psnr, ssim
from swin2sr_ops.evaluate.resize import reduce_by


def enlarged(image: np.ndarray, *models: str) -> np.ndarray:
    """Enlarge by one model after the other."""
    for model in models:
        image = swin2sr_ops.restore(image, axes="YXC", model=model, range="dtype").compute()
    return image


def main(folder: Path) -> None:
    """Measure both ways on a folder, and print the mean figures."""
    ways = {"tiny-x4-rgb": ("tiny-x4-rgb",), "tiny-x2-rgb twice": ("tiny-x2-rgb", "tiny-x2-rgb")}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for path in sorted(folder.glob("*.png")):
        clean = np.asarray(Image.open(path).convert("RGB"))
        height, width = (n // 4 * 4 for n in clean.shape[:2])
        clean = clean[:height, :width]
        given = (reduce_by(clean / 255, 4) * 255).round().clip(0, 255).astype("u1")
        for name, models in ways.items():
            a, b = luma(enlarged(given, *models)), luma(clean)
            found[name].append((psnr(a, b, border=4), ssim(a, b, border=4)))
    for name, rows in found.items():
        print(f"{name}: {np.mean([r[0] for r in rows]):.2f} / {np.mean([r[1] for r in rows]):.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
