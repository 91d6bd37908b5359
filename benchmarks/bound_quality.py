"""Compare bound and free results of models on a folder of clean colour images: PSNR, SSIM, consistency.

python benchmarks/bound_quality.py Set5/HR --models nano-x2-rgb,small-x2-rgb --how mean,psf=0.3
python benchmarks/bound_quality.py Set5/HR --models swin2sr-lightweight-x2 --made psf=0.4 --how mean,psf=0.4

The inputs are made bicubically as in the papers, by the mean of each block (--made mean), or through a lens and a
sensor (--made psf=0.4). Consistency is the difference of the result's block means from the input: root mean square and
largest, of 255.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage import io

import swin2sr_ops
from swin2sr_ops.evaluate.metrics import crop, luma, psnr, ssim
from swin2sr_ops.evaluate.resize import reduce_by
from swin2sr_ops.geometry.back_projection import blur_of
from swin2sr_ops.pixels.back_projection import blurred


def reduced(truth: NDArray[np.uint8], scale: int, made: str) -> NDArray[np.uint8]:
    """Make the input of a clean image."""
    rows, columns = (n // scale for n in truth.shape[:2])
    wide = truth[: rows * scale, : columns * scale].astype(np.float64)
    blur = None if made in ("bicubic", "mean") else blur_of(made, scale)
    if blur is not None:
        small = np.moveaxis(blurred(np.moveaxis(wide, -1, 0), blur), 0, -1)
    elif made == "mean":
        small = wide.reshape(rows, scale, columns, scale, -1).mean((1, 3))
    else:
        small = reduce_by(wide, scale)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def figures(result: NDArray[np.uint8], truth: NDArray[np.uint8], given: NDArray[np.uint8]) -> list[float]:
    """Return PSNR-Y, SSIM-Y, and the root mean square and the largest difference of block means from the input."""
    scale = result.shape[0] // given.shape[0]
    planes = [luma(crop(x[: result.shape[0], : result.shape[1]], scale).astype(float), 255.0) for x in (result, truth)]
    means = result.reshape(given.shape[0], scale, given.shape[1], scale, -1).mean((1, 3))
    gap = means - given
    return [psnr(*planes, peak=255.0), ssim(*planes, peak=255.0), float((gap**2).mean() ** 0.5), float(abs(gap).max())]


def main() -> None:
    """Measure all models with every way to bind them, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", default="nano-x2-rgb,tiny-x2-rgb,small-x2-rgb")
    parser.add_argument("--how", default="mean,psf=0.3")
    parser.add_argument("--made", default="bicubic", help="bicubic, mean, or psf=SIGMA")
    args = parser.parse_args()
    print("| model | consistent | PSNR-Y | SSIM-Y | rms off | largest off |")
    print("|---|---|---|---|---|---|")
    for model in args.models.split(","):
        for how in [None, *args.how.split(",")]:
            rows = []
            for path in sorted(args.data.iterdir()):
                truth = io.imread(path)[..., :3]
                given = reduced(truth, 2, args.made)
                result = swin2sr_ops.restore(given, model=model, axes="YXC", scale=2, consistent=how).compute()
                rows.append(figures(result, truth, given))
            one = np.array(rows)
            mean = one.mean(0)
            name = Path(model).name
            print(
                f"| `{name}` | {how or 'no'} | {mean[0]:.2f} | {mean[1]:.4f} | {mean[2]:.2f} | {one[:, 3].max():.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
