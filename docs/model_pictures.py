"""Make the pictures of docs/models.md: the package's samples made poor and restored, and curves of training.

    python docs/model_pictures.py [--log NAME=log.csv ... --curves x1_training.svg]

Without logs only the pictures are made. A curve is the mean loss over steps, on a logarithmic scale; of the loss `psnr`
the root mean square error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import swin2sr_ops
from swin2sr_ops.evaluate.degrade import Degradation, Levels
from swin2sr_ops.evaluate.resize import imresize

OUT = Path(__file__).parent / "images"
COLOURS = ("#1f6fb4", "#d1571f", "#3a8f3a", "#8a4fb0")


def sample(name: str, side: int) -> NDArray[np.uint8]:
    """The middle of a sample as 8 bits, ``(side, side, C)``."""
    source = swin2sr_ops.open_source(f"sample:{name}")
    image = source.read(tuple(slice(0, n) for n in source.info.shape)).astype("f4")
    image = image[..., None] if image.ndim == 2 else image
    low, high = (0, 255) if source.info.dtype == np.uint8 else np.percentile(image, [0.1, 99.9])
    top, left = ((n - side) // 2 for n in image.shape[:2])
    image = image[top : top + side, left : left + side]
    return (((image - low) / (high - low)).clip(0, 1) * 255).round().astype("u1")


def row(name: str, model: str, degrade: str) -> NDArray[np.uint8]:
    """Poor, cleaned, and as it was."""
    clean = sample(name, 192)
    given = Degradation.parse(degrade).apply(clean, 1, Levels(0.0, 255.0))
    poor = given.pixels if given.unit else given.pixels.astype("f4") / 255
    axes = "YXS" if clean.shape[2] == 3 else "YX"
    poor = poor.astype("f4")
    result = swin2sr_ops.restore(
        poor if axes == "YXS" else poor[..., 0], model=model, axes=axes, range=(0, 1)
    ).compute()
    return beside([poor, result, clean / 255])


def enlarged(name: str, kind: str) -> NDArray[np.uint8]:
    """Made half as large and enlarged: bicubically, by the nano, tiny and small models; and as it was."""
    clean = sample(name, 192)
    half = imresize(clean, (96, 96))
    given, axes = (half, "YXS") if kind == "rgb" else (half[..., 0], "YX")
    models = [
        swin2sr_ops.restore(given / np.float32(255), model=f"{size}-x2-{kind}", axes=axes, range=(0, 1)).compute()
        for size in ("nano", "tiny", "small")
    ]
    return beside([imresize(half, (192, 192)) / 255, *models, clean / 255])


def beside(panels: list[NDArray[np.floating]]) -> NDArray[np.uint8]:
    """Panels of values in 0..1, gray or colour, as one row of 8 bits."""
    found: list[NDArray[np.floating]] = []
    for panel in panels:
        height, width = panel.shape[:2]
        found += [np.broadcast_to(panel.reshape(height, width, -1), (height, width, 3)), np.ones((height, 6, 3))]
    return (np.concatenate(found[:-1], 1).clip(0, 1) * 255).round().astype("u1")


def log_of(loss: float) -> float:
    """Its decimal logarithm; of the loss `psnr` (weight 0.01), which is negative, that of the error it stands for."""
    return float(np.log10(loss)) if loss > 0 else 5 * loss  # 0.01 * 10 log10(error**2)


def curves(logs: dict[str, Path]) -> str:
    """An SVG of the loss over steps."""
    read = {}
    for name, path in logs.items():
        rows = [line.split(",")[:2] for line in path.read_text().splitlines() if line[:1].isdigit()]
        read[name] = [(int(step), log_of(float(loss))) for step, loss in rows]
    points = [p for curve in read.values() for p in curve]
    last, low, high = max(p[0] for p in points), min(p[1] for p in points), max(p[1] for p in points)
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="720" height="330" font-family="sans-serif" font-size="13">'
    ]
    lines.append('<rect width="720" height="330" fill="white"/>')
    for loss in (0.01, 0.011, 0.012, 0.013, 0.014, 0.016, 0.02, 0.03, 0.04):
        if low <= np.log10(loss) <= high:
            y = 280 - 250 * (np.log10(loss) - low) / (high - low)
            lines.append(f'<path d="M70,{y:.1f}H690" stroke="#ddd"/><text x="20" y="{y + 4:.1f}">{loss:g}</text>')
    for colour, (name, curve) in zip(COLOURS, read.items(), strict=False):
        path = " ".join(f"{70 + 620 * s / last:.1f},{280 - 250 * (v - low) / (high - low):.1f}" for s, v in curve)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        y = 50 + 20 * COLOURS.index(colour)
        lines.append(f'<text x="520" y="{y}" fill="{colour}">{name}</text>')
    lines.append(f'<text x="250" y="315">mean loss over steps, to step {last}</text></svg>')
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw the examples, and the curves of the logs that are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--curves", default="x1_training.svg", metavar="NAME.svg", help="picture of the logs' losses")
    args = parser.parse_args()
    gray = [row("cells", "tiny-x1-gray", "poisson:30"), row("cells", "tiny-x1-gray", "noise:25")]
    colour = [row("photo", "tiny-x1-rgb", "noise:25"), row("photo", "tiny-x1-rgb", "jpeg:10")]
    twice = [enlarged("cells", "gray"), enlarged("photo", "rgb")]
    for name, rows in {"x1_gray": gray, "x1_rgb": colour, "x2": twice}.items():
        gap = np.full((6, rows[0].shape[1], 3), 255, "u1")
        Image.fromarray(np.concatenate([rows[0], gap, rows[1]])).save(OUT / f"{name}.png", optimize=True)
    if args.log:
        logs = dict(text.split("=", 1) for text in args.log)
        (OUT / args.curves).write_text(curves({name: Path(path) for name, path in logs.items()}))


if __name__ == "__main__":
    main()
