"""Make the README's picture of quality against speed: x2 colour models on one core.

    OMP_NUM_THREADS=1 python docs/pareto.py --data ../shared/data/eval/academic/Set5/HR \
        --released ../shared/weights/swin2sr-lightweight-x2-64

Quality is the gain in PSNR of Y over bicubic enlargement on the folder's images, by the official protocol. Speed is
thousand output pixels per second of CPU time: the median of three images of 256 x 256, in float32, by the engine that
`restore` chooses. A busy machine lengthens CPU time a little, for all alike.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

import swin2sr_ops
from swin2sr_ops.evaluate import evaluate

OUT = Path(__file__).parent / "images" / "pareto.svg"
MODELS = ("fast", "good", "best")
SIDE, SCALE = 256, 2
#: The picture and its margins, in pixels.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 56, 40, 24, 52


@dataclass(frozen=True)
class Point:
    """A method: its gain in dB, and its speed in thousand pixels per second."""

    label: str
    gain: float
    speed: float
    ours: bool


def speed_of(work: Callable[[], object]) -> float:
    """Return thousand output pixels per CPU second: the median of three runs, after one that does not count."""
    work()  # once before: compiles, loads
    seconds = []
    for _ in range(3):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return (SIDE * SCALE) ** 2 / 1000 / median(seconds)


def points(data: Path, released: str | None) -> list[Point]:
    """Measure bicubic enlargement, the shipped models by their words, and the released model."""
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype="u1")
    size = (SIDE * SCALE, SIDE * SCALE)

    def bicubic() -> object:
        return Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)

    names = [*MODELS, *([released] if released else [])]
    found = []
    for name in names:
        scores = evaluate(name, data, scale=SCALE, degrade="bicubic", baseline=True, metrics=["psnr_y"])
        assert scores.baseline is not None
        gain = scores.models[0].mean["psnr_y"] - scores.baseline.mean["psnr_y"]

        def restored(model: str = name) -> object:
            return swin2sr_ops.restore(image, model=model, scale=SCALE, axes="YXS", precision="float32").compute()

        ours = name in MODELS
        found.append(Point(f"{name} model" if ours else "released lightweight", gain, speed_of(restored), ours))
    return [Point("bicubic", 0.0, speed_of(bicubic), False), *found]


def drawn(found: list[Point]) -> str:
    """Draw the points as SVG: speed to the right in logarithm, quality upwards."""
    low = math.floor(min(math.log10(p.speed) for p in found))
    high = math.ceil(max(math.log10(p.speed) for p in found))
    top = math.ceil(max(p.gain for p in found) + 0.3)

    def x(speed: float) -> float:
        return LEFT + (math.log10(speed) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(gain: float) -> float:
        return HEIGHT - BOTTOM - gain / top * (HEIGHT - BOTTOM - TOP)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        lines.append(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        lines.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10.0**power:,g}</text>')
    for gain in range(top + 1):
        lines.append(f'<line x1="{LEFT}" y1="{y(gain):.1f}" x2="{WIDTH - RIGHT}" y2="{y(gain):.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y(gain) + 4:.1f}" text-anchor="end">{gain}</text>')
    front = sorted((p for p in found if p.ours), key=lambda p: p.speed)
    path = " ".join(f"{x(p.speed):.1f},{y(p.gain):.1f}" for p in front)
    lines.append(f'<polyline points="{path}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>')
    for p in found:
        colour = "#1f5fa8" if p.ours else "#777"
        at, up = x(p.speed), y(p.gain)
        lines.append(f'<circle cx="{at:.1f}" cy="{up:.1f}" r="5" fill="{colour}"/>')
        # Two lines, below our models and above the others.
        for line, text in enumerate((p.label, f"+{p.gain:.2f} dB, {p.speed:,.0f} kpx/s")):
            level = up + (20 if p.ours else -26) + 16 * line
            place = f'x="{min(at, WIDTH - 70):.1f}" y="{level:.1f}" text-anchor="middle" font-size="11"'
            lines.append(f'<text {place} fill="{colour}">{text}</text>')
    lines.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">thousand output pixels per'
        " second on one core (CPU time)</text>"
    )
    lines.append(
        f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2})">dB over bicubic'
        "</text>"
    )
    return "\n".join([*lines, "</svg>"]) + "\n"


def main() -> None:
    """Measure all models and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="clean images; the README's are Set5")
    parser.add_argument("--released", help="a released x2 model to draw beside them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = points(args.data, args.released)
    for p in found:
        print(f"{p.label}: {p.gain:+.2f} dB, {p.speed:,.1f} kpx/s", flush=True)
    OUT.write_text(drawn(found), encoding="utf-8")


if __name__ == "__main__":
    main()
