"""Compare a model with bicubic enlargement on images that it was not trained on.

    python benchmarks/quality.py --data FOLDER [--models tiny-x2-rgb,tiny-x2-gray] [--crop 512]

For every folder with images below FOLDER: each image is reduced by the model's scale (bicubic,
antialiased, 8-bit images rounded to 8 bits), enlarged by bicubic interpolation and by the model,
and compared with the original. PSNR of values in 0..1, border of `scale` pixels left out, all
channels of the image; mean over images. Images of one channel count for one-channel models, colour
images for colour models.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import swin2sr_ops
from swin2sr_ops.errors import FormatError
from swin2sr_ops.training.images import find_images, load_images


def resize(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic (A = -0.5, antialiased when reducing) of ``(C, H, W)``, channel by channel, in float32."""
    planes = [np.asarray(Image.fromarray(p, "F").resize(size[::-1], Image.Resampling.BICUBIC)) for p in x]
    return np.stack(planes)


def psnr(a: np.ndarray, b: np.ndarray, border: int) -> float:
    """Return the PSNR of values in 0..1 inside a border."""
    inner = (..., slice(border, -border), slice(border, -border))
    return float(-10 * np.log10(np.mean((np.clip(a, 0, 1)[inner] - b[inner]) ** 2)))


def one(path: Path, spec: swin2sr_ops.ModelSpec, crop: int, engine: str) -> tuple[float, float] | None:
    """Return the PSNR of bicubic enlargement and of the model for one image; None if it is not suitable."""
    try:
        planes, colour = load_images(path, spec.channels), load_images(path, 3)
    except FormatError:
        return None
    if not planes or (spec.channels == 1 and colour):
        return None
    image = planes[0]
    s = spec.scale
    height, width = (min(n, crop) // s * s for n in image.shape[1:])
    truth = image[:, :height, :width]
    low = resize(truth, (height // s, width // s))
    low = np.round(np.clip(low, 0, 1) * 255) / 255 if path.suffix.lower() not in (".tif", ".tiff") else low
    low = low.astype("f4")
    restored = swin2sr_ops.restore(low, model=spec, axes="SYX", range=(0, 1), engine=engine).compute()
    return psnr(resize(low, (height, width)), truth, s), psnr(restored, truth, s)


def main() -> None:
    """Measure a model on a folder, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default="tiny-x2-rgb,tiny-x2-gray")
    parser.add_argument("--crop", type=int, default=512, help="at most so many pixels of each side")
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args()
    folders = sorted({p.parent for p in find_images(args.data) if "LR_bicubic" not in p.parts})
    print("| model | images | n | bicubic dB | model dB | gain dB |\n|---|---|---|---|---|---|")
    for name in args.models.split(","):
        spec = next(m for m in swin2sr_ops.list_models() if m.name == name)
        for folder in folders:
            found = [
                r
                for p in sorted(folder.iterdir())
                if p in find_images(folder) and (r := one(p, spec, args.crop, args.engine))
            ]
            if found:
                base, ours = np.mean(found, axis=0)
                shown = folder.relative_to(args.data)
                print(f"| {name} | {shown} | {len(found)} | {base:.2f} | {ours:.2f} | {ours - base:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
