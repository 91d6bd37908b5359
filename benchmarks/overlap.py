"""Look for images of the test sets among the training images.

    python benchmarks/overlap.py --train ../shared/data/train --eval ../shared/data/eval [--most 6]

Perceptual hashes (the lowest 8 x 8 frequencies of a 32 x 32 thumbnail against their median, the mean left out; Zauner
2010): of every image whole, in its eight orientations, and of its four quarters and its middle, so that a crop of half
the side is found too. Two images are near when at most ``--most`` of 63 bits differ; unrelated ones differ in about 31.
Of those that are near the correlation of their thumbnails is taken; the exit status is 1 if one is above 0.95.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from swin2sr_ops.errors import FormatError
from swin2sr_ops.training.images import find_images, load_images

Bits = NDArray[np.bool_]
Thumbnail = NDArray[np.float32]


def thumbnail(plane: NDArray[np.float32]) -> Thumbnail:
    """Reduce a plane to 32 x 32 px."""
    return np.asarray(Image.fromarray(plane).resize((32, 32), Image.Resampling.BOX))


def bits(small: Thumbnail) -> Bits:
    """Return the perceptual hash of a thumbnail."""
    low = dctn(small, norm="ortho")[:8, :8].flatten()[1:]
    return low > np.median(low)


def parts(plane: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The plane, its four quarters and its middle."""
    h, w = (n // 2 for n in plane.shape)
    corners = product((0, plane.shape[0] - h), (0, plane.shape[1] - w))
    return [plane, *(plane[y : y + h, x : x + w] for y, x in [*corners, (h // 2, w // 2)])]


def turned(small: Thumbnail) -> list[Thumbnail]:
    """Return the eight rotations and reflections."""
    return [np.rot90(side, k) for side in (small, small[::-1]) for k in range(4)]


def hashes(folder: Path) -> tuple[list[Path], list[Thumbnail]]:
    """Each file once for each of its parts."""
    names, found = [], []
    for path in find_images(folder):
        try:
            planes = load_images(path, 1)[:1]
        except FormatError:
            continue
        for plane in planes:
            for part in parts(plane[0]):
                names.append(path)
                found.append(thumbnail(np.ascontiguousarray(part)))
    return names, found


def correlation(a: Thumbnail, b: Thumbnail) -> float:
    """Return the largest correlation of ``a`` with an orientation of ``b``."""
    return max(float(np.corrcoef(a.ravel(), t.ravel())[0, 1]) for t in turned(b))


def main() -> None:
    """Compare all pairs of images, and print those that match."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--eval", type=Path, required=True)
    parser.add_argument("--most", type=int, default=6, help="differing bits of near images")
    args = parser.parse_args()
    (trained, known), (measured, others) = hashes(args.train), hashes(args.eval)
    table = np.stack([bits(t) for t in known])
    worst, near = 0.0, 0
    for path, small in zip(measured, others, strict=True):
        for side in turned(small):
            for i in np.flatnonzero((table != bits(side)).sum(1) <= args.most):
                found = correlation(small, known[i])
                near, worst = near + 1, max(worst, found)
                if found > 0.8:
                    line = f"{path.relative_to(args.eval)}  {trained[i].relative_to(args.train)}  {found:.3f}"
                    print(line, flush=True)
    pairs = len(set(trained)) * len(set(measured))
    print(f"{pairs} pairs of images, {near} near hashes, largest correlation among them {worst:.3f}")
    raise SystemExit(worst > 0.95)


if __name__ == "__main__":
    main()
