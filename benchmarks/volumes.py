"""Compare a model of neighbouring planes with the same network without them, and with Gaussian filters.

    python benchmarks/volumes.py --data FOLDER ... --planes THREE.safetensors --single ONE.safetensors

Folders hold clean stacks (Z, one channel), or pictures. Of each picture a stack of five planes is made as a recipe's
``[volume]`` makes them, with shifts of 0 and 2 px per plane; of all pictures one stack, in which every plane shows
another picture. Every plane gets shot and Gaussian noise of its own. The filters' widths are the best ones for each
kind of stack: they know the truth.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import swin2sr_ops
from swin2sr_ops.evaluate.metrics import psnr
from swin2sr_ops.training.images import find_images
from swin2sr_ops.training.noisy_images import load_sequences
from swin2sr_ops.training.volumes import MadeVolume

Stack = NDArray[np.float32]
#: Photons at full range, and sigma of the Gaussian noise in 255ths.
PHOTONS, SIGMA = 60, 15
SIDE = 160
WIDTHS = np.linspace(0, 2.5, 6)


def kinds(paths: list[Path]) -> dict[str, list[Stack]]:
    """Load the centres of all stacks, and make stacks of pictures."""
    parts = [centre(planes[:, 0]) for path in paths for planes in load_sequences(path, 1)]
    pictures = [part for part in parts if len(part) == 1]
    found = {"as they are": [part for part in parts if len(part) > 1]}
    for shift in (0, 2):
        found[f"{shift} px per plane"] = [made(part, shift, number) for number, part in enumerate(pictures)]
    least = min((n for part in pictures for n in part.shape[1:]), default=0)
    around = [centre(part, least) for part in (*pictures[-1:], *pictures, *pictures[:1])]
    found["every plane another picture"] = [np.concatenate(around)] if len(pictures) > 2 else []
    return {kind: stacks for kind, stacks in found.items() if stacks}


def centre(planes: Stack, side: int = SIDE) -> Stack:
    """Return the centre of all planes."""
    y, x = (max(0, (n - side) // 2) for n in planes.shape[1:])
    return planes[:, y : y + side, x : x + side]


def made(picture: Stack, shift: float, seed: int) -> Stack:
    """Make five planes of a picture."""
    volume = MadeVolume({"shift": [shift, shift], "blur": [0.6, 0.6]})
    return volume.apply(picture, 5, np.random.default_rng(seed))[[3, 1, 0, 2, 4]]


def noisy(stack: Stack, rng: np.random.Generator) -> Stack:
    """Record a stack: shot noise and Gaussian noise, of its own in each pixel."""
    shot = rng.poisson(stack.clip(0, None).astype(np.float64) * PHOTONS) / PHOTONS
    recorded: Stack = (shot + rng.standard_normal(stack.shape) * SIGMA / 255).astype(np.float32)
    return recorded


def score(result: NDArray[Any], stack: Stack) -> float:
    """Return the mean PSNR of the inner planes, which have both neighbours."""
    return fmean(psnr(a, b, peak=1.0) for a, b in zip(result[1:-1], stack[1:-1], strict=True))


def best_filter(pairs: list[tuple[Stack, Stack]], depth: bool) -> float:
    """Return the PSNR of the best Gaussian filter, in the plane or along Z, too."""
    along = WIDTHS if depth else [0.0]
    return max(
        fmean(score(gaussian_filter(given, (z, w, w)), truth) for given, truth in pairs) for w in WIDTHS for z in along
    )


def restored(model: str, given: Stack) -> NDArray[Any]:
    """Restore a stack with the range of 0..1 that the training had."""
    lazy = swin2sr_ops.restore(given, model=model, axes="ZYX", range=(0, 1))
    return np.asarray(lazy.compute())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders or files")
    parser.add_argument("--planes", required=True)
    parser.add_argument("--single", required=True)
    args = parser.parse_args()
    print("| stacks | noisy | Gaussian | Gaussian along Z too | one plane | three planes |\n|---|---|---|---|---|---|")
    paths = [path for place in args.data for path in ([place] if place.is_file() else find_images(place))]
    for kind, truths in kinds(paths).items():
        pairs = [(noisy(truth, np.random.default_rng(i)), truth) for i, truth in enumerate(truths)]
        figures = [fmean(score(given, truth) for given, truth in pairs), best_filter(pairs, depth=False)]
        figures.append(best_filter(pairs, depth=True))
        models = (args.single, args.planes)
        figures += [fmean(score(restored(model, given), truth) for given, truth in pairs) for model in models]
        print(f"| {len(pairs)}, {kind} | " + " | ".join(f"{f:.2f}" for f in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
