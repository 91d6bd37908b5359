"""Denoise real microscope images by the x1 models and by classical filters; what docs/models.md shows.

    python benchmarks/microscopes.py --data ../shared/data/eval/microscopy/w2s_pairs [--models small-x1-gray,FILE]
    python benchmarks/microscopes.py --made --no-bm3d --data ../shared/data/eval/microscopy/bbbc039

The folder holds pairs (see `swin2sr_ops.evaluate.data.find_cases`). Figures are scale-invariant PSNR in dB, mean over
the images, and CPU seconds for an image. The Gaussian and the median filter have the width that is best for this
folder: without the truth they cannot be used as well. BM3D (`pip install bm3d`, a benchmark's own dependency) works on
values made of constant variance by Anscombe's transform, for the noise that `noise_of` finds in the image itself, and
is inverted without bias. With `--made` the folder holds clean images: 200 x 200 px of the first one are blurred (sigma
1.5) and recorded by the camera of recipes, with 20 photons, with 200, with noise of rows, and with hot pixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import swin2sr_ops
from swin2sr_ops.evaluate.data import find_cases, planes
from swin2sr_ops.evaluate.microscopy import si_psnr
from swin2sr_ops.pixels.noise import noise_of
from swin2sr_ops.training.camera import Camera
from swin2sr_ops.training.images import find_images, load_images

Image = NDArray[np.float64]
Pair = tuple[NDArray[np.generic], Image]


def pairs(folder: Path) -> list[Pair]:
    """Inputs as stored, and truths."""
    found: list[Pair] = []
    for case in find_cases(folder, 1):
        assert case.given is not None
        assert case.truth is not None
        found += [
            (a[..., 0], b[..., 0].astype(float))
            for (_, a), (_, b) in zip(planes(case.given), planes(case.truth), strict=True)
        ]
    return found


#: What `--made` records, beside a background of 0.1 and an offset: `swin2sr_ops.training.camera` says what they mean.
MADE = {
    "20 photons": {"photons": [20, 20]},
    "200 photons": {"photons": [200, 200]},
    "200 photons, rows": {"photons": [200, 200], "read": [6, 6], "rows": [1, 1]},
    "200 photons, hot pixels": {"photons": [200, 200], "hot": [0.002, 0.002]},
}


def made_pairs(folder: Path) -> list[Pair]:
    """The first image of a folder under each condition of `MADE`."""
    clean = load_images(find_images(folder)[0], 1)[0][:, :200, :200]
    base = {"psf": [1.5, 1.5], "background": [0.1, 0.1], "read": [2, 2], "offset": [20, 20], "gain": [2, 2]}
    found: list[Pair] = []
    for table in MADE.values():
        truth, recorded = Camera(base | table).record(clean, np.random.default_rng(0))
        found.append((recorded[0].astype(np.float32), truth[0]))
    return found


def anscombe_bm3d(image: Image) -> Image:
    """BM3D between the generalised Anscombe transform and its inverse (Makitalo and Foi, closed form)."""
    import bm3d

    noise = noise_of([image], image.min(), image.max())
    gain, zero = noise.gain, noise.offset
    if gain == 0:
        return np.asarray(bm3d.bm3d(image, np.sqrt(max(zero, 1e-3))))
    flat = 2 / gain * np.sqrt(np.maximum(gain * image + 0.375 * gain**2 + zero, 0))
    low, width = flat.min(), max(float(np.ptp(flat)), 1e-6)
    d = np.asarray(bm3d.bm3d((flat - low) / width, 1 / width)) * width + low
    d = np.maximum(d, 1e-3)
    inverse = d**2 / 4 + np.sqrt(1.5) / 4 / d - 11 / 8 / d**2 + 5 / 8 * np.sqrt(1.5) / d**3 - 1 / 8
    return np.asarray(gain * inverse - zero / gain)


def filters(data: list[Pair], *, slow: bool) -> Iterator[tuple[str, Callable[[NDArray[np.generic]], Image]]]:
    """Filters by their names, the widths of the first two chosen for the best mean."""
    from scipy.ndimage import gaussian_filter, median_filter

    def best(make: Callable[[float], Callable[[NDArray[np.generic]], Image]], widths: list[float]) -> float:
        return max(widths, key=lambda width: float(np.mean([si_psnr(make(width)(a), b) for a, b in data])))

    def gaussian(width: float) -> Callable[[NDArray[np.generic]], Image]:
        return lambda image: gaussian_filter(image.astype(float), width)

    def median(width: float) -> Callable[[NDArray[np.generic]], Image]:
        return lambda image: median_filter(image.astype(float), int(width))

    width = best(gaussian, [0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.4, 2.8])
    yield f"Gaussian, sigma {width:g}", gaussian(width)
    width = best(median, [3, 5, 7, 9])
    yield f"median, {width:g} x {width:g}", median(width)
    if slow:
        yield "BM3D after Anscombe", lambda image: anscombe_bm3d(image.astype(float))


def model(name: str, ensemble: int) -> Callable[[NDArray[np.generic]], Image]:
    """Return a function that restores a noisy image with a model of scale 1."""

    def run(image: NDArray[np.generic]) -> Image:
        restored = swin2sr_ops.restore(image, model=name, axes="YX", scale=1, precision="float32", ensemble=ensemble)
        return np.asarray(restored.compute().astype(float))

    return run


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default="tiny-x1-gray,small-x1-gray", help="names or files, separated by commas")
    parser.add_argument("--ensemble", type=int, default=1)
    parser.add_argument("--no-filters", action="store_true", help="models only")
    parser.add_argument("--no-bm3d", action="store_true")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--made", action="store_true", help="clean images, recorded by the camera of recipes")
    args = parser.parse_args()
    data = (made_pairs if args.made else pairs)(args.data)[: args.limit]
    if args.made:
        print(f"each: {'; '.join(MADE)}")
    methods: list[tuple[str, Callable[[NDArray[np.generic]], Image]]] = [("input", lambda image: image.astype(float))]
    if not args.no_filters:
        methods += filters(data, slow=not args.no_bm3d)
    methods += [(name, model(name, args.ensemble)) for name in args.models.split(",") if name]
    print(f"| {args.data.name}, {len(data)} images | si-PSNR, dB | each | CPU s |\n|---|---|---|---|")
    for name, method in methods:
        began = time.process_time()
        scores = [si_psnr(method(given), truth) for given, truth in data]
        seconds = (time.process_time() - began) / len(data)
        each = " ".join(f"{s:.2f}" for s in scores)
        print(f"| {name} | {np.mean(scores):.2f} | {each} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
