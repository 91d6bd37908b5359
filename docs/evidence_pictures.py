"""Make the pictures of docs/evidence.md from the package's samples.

python docs/evidence_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import swin2sr_ops
from swin2sr_ops.evaluate.calibrate import Calibrator
from swin2sr_ops.evaluate.degrade import Levels
from swin2sr_ops.evaluate.resize import imresize
from swin2sr_ops.evaluate.scoring import Measured
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.pixels.intervals import Interval, contrast
from swin2sr_ops.pixels.trust import WIDE, Trust

OUT = Path(__file__).parent / "images"
SIDE, MODEL = 128, "nano-x2-gray"


def sample(name: str) -> NDArray[np.uint8]:
    """Return a sample as 8 bits of gray, ``(rows, columns)`` with even sides."""
    source = swin2sr_ops.open_source(f"sample:{name}")
    image = source.read(tuple(slice(0, n) for n in source.info.shape)).astype("f4")
    image = image.mean(-1) if image.ndim == 3 else image
    low, high = np.percentile(image, [0.1, 99.9])
    rows, columns = (n // 2 * 2 for n in image.shape)
    return (((image - low) / (high - low)).clip(0, 1) * 255).round().astype("u1")[:rows, :columns]


def busiest(image: NDArray[np.uint8], top: int) -> tuple[slice, slice]:
    """Return the square below row ``top`` with the most contrast."""
    places = [
        (y, x) for y in range(top, image.shape[0] - SIDE + 1, 32) for x in range(0, image.shape[1] - SIDE + 1, 32)
    ]
    y, x = max(places, key=lambda at: image[at[0] : at[0] + SIDE, at[1] : at[1] + SIDE].std())
    return slice(y, y + SIDE), slice(x, x + SIDE)


def intervals() -> NDArray[np.uint8]:
    """Show input, result, four times its error, half width and flags; the upper part of the sample calibrates."""
    truth = sample("cells")
    small = imresize(truth[..., None], (truth.shape[0] // 2, truth.shape[1] // 2))[..., 0]
    result = swin2sr_ops.restore(small, model=MODEL).compute()
    top = (truth.shape[0] - SIDE) // 32 * 32
    calibrator = Calibrator(patch=32)  # the sample is small
    calibrator(
        Measured(
            "upper", 2, small[: top // 2, :, None], truth[:top, :, None], Levels(0.0, 255.0), None,
            {MODEL: result[:top, :, None]},
        )
    )  # fmt: skip
    made = calibrator.fit(model=MODEL, weights="", ensemble=1, consistent=None)
    half = Interval.of(made, 90).half_width(result, contrast(result, 2, 0, 1), IntensityMap(0, 255))
    at = busiest(truth, top)
    error = np.abs(result.astype("f4") - truth)
    print(f"intervals of 90 % hold {100 * (error[at] <= half[at]).mean():.1f} % of the shown pixels")
    limit = float(np.percentile(half[at], 90))
    flags = Trust(limit=limit).flags(result, small, half, (0, 1), None)
    flagged = gray(result[at])
    flagged[flags[at] == WIDE] = (0.4 * flagged[flags[at] == WIDE] + 0.6 * np.array([255, 140, 0])).astype("u1")
    widest = max(float(np.percentile(half[at], 99.5)), 1.0)
    maps = [gray((255 * (one[at] / widest).clip(0, 1)).astype("u1")) for one in (4 * error, half)]
    given = small.repeat(2, 0).repeat(2, 1)
    return beside([gray(given[at]), gray(result[at]), *maps, flagged])


def means() -> NDArray[np.uint8]:
    """Show a result, and how far its means are from the input: free, and with ``mean``."""
    small = sample("photo")
    at = busiest(small, 0)
    given = small[at]
    parts = [gray(given)]
    for how in (None, "mean"):
        result = swin2sr_ops.restore(given, model=MODEL, consistent=how).compute()
        gap = result.astype("f4").reshape(SIDE, 2, SIDE, 2).mean((1, 3)) - given
        print(f"consistent={how}: means are off by {np.abs(gap).max():.2f} at most, of 255")
        parts.append(signed(gap, 16.0))
    return beside(parts)


def signed(gap: NDArray[np.float32], most: float) -> NDArray[np.uint8]:
    """Colour a difference: white is none, red is too bright, blue too dark."""
    part = (gap / most).clip(-1, 1)[..., None]
    red, blue = np.array([200, 30, 30]), np.array([30, 60, 200])
    white = np.full(3, 255)
    return np.where(part > 0, white + (red - white) * part, white + (blue - white) * -part).astype("u1")


def gray(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a plane as three equal colours."""
    return np.repeat(plane[..., None], 3, -1)


def beside(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Join pictures, twice as large, in thin frames with white gaps."""
    framed = [np.pad(part.repeat(2, 0).repeat(2, 1), ((1, 1), (1, 1), (0, 0)), constant_values=160) for part in parts]
    wide = [np.pad(part, ((0, 0), (0, 10), (0, 0)), constant_values=255) for part in framed]
    return np.concatenate(wide, 1)[:, :-10]


if __name__ == "__main__":
    for name, make in (("evidence_intervals", intervals), ("evidence_means", means)):
        Image.fromarray(make()).save(OUT / f"{name}.png", optimize=True)
