"""Does Swin2SR train faster and more steadily than SwinIR, as its paper (arXiv:2209.11345, section 4) says?

    python benchmarks/seed_study.py --data ../shared/data --out runs/seeds --steps 1200 --seeds 3

Trains both from the official random initialisation: same size, data, batches, schedule; one run per seed and rate.
Killed, the same command resumes the run. Every `--every` steps: PSNR of the moving average of the weights on Set5
(luma in 0..1, border of 2 px left out). Prints Markdown, writes ``curves.csv`` and ``curves.svg``.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training.degrade import bicubic_reduce
from swin2sr_ops.training.images import find_images, load_images
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.recipe import Recipe

ARCHITECTURES = ("swin2sr", "swinir")
COLOURS = {"swin2sr": "#1f6fb4", "swinir": "#d1571f"}
Curve = list[tuple[int, float, float]]  # step, PSNR, loss


def recipe(architecture: str, seed: int, rate: float, steps: int) -> Recipe:
    """The head is the classical one: it starts from noise, as in the papers, not as an interpolation."""
    model = {
        "name": f"study-{architecture}", "architecture": architecture, "task": "classical_sr", "scale": 2,
        "channels": 1, "dim": 36, "depths": [4, 4], "heads": [3, 3], "window": 8, "upsampler": "pixelshuffle",
        "num_feat": 32,
    }  # fmt: skip
    return Recipe(
        model=model, folders={"photo": 1.0}, steps=steps, batch=4, patch=32, lr=rate, warmup=50, ema=0.99, seed=seed
    )


def held_out(folder: Path) -> list[tuple[Tensor, Tensor]]:
    """(input, truth) of Set5, ``(1, 1, H, W)`` each."""
    found = []
    for path in find_images(folder):
        (image,) = load_images(path, 1)
        height, width = (n // 2 * 2 for n in image.shape[1:])
        truth = torch.from_numpy(image[None, :, :height, :width])
        found.append(((bicubic_reduce(truth, 2).clamp(0, 1) * 255).round() / 255, truth))
    return found


@torch.inference_mode()
def quality(trainer: Trainer, cases: list[tuple[Tensor, Tensor]]) -> float:
    """Mean PSNR in dB of the averaged weights."""
    net = SwinNet(trainer.recipe.spec).eval()
    net.load_state_dict(trainer.averaged_state())
    found = []
    for source, truth in cases:
        error = (net(source).clamp(0, 1) - truth)[..., 2:-2, 2:-2]
        found.append(-10 * float(np.log10(float((error**2).mean()))))
    return statistics.fmean(found)


def train(one: Recipe, out: Path, data: Path, every: int, cases: list[tuple[Tensor, Tensor]]) -> Curve:
    """The curve of one run, from where it stood."""
    file = out / "curve.csv"
    trainer = Trainer(one, data / "train", out)
    rows = (
        [(int(a), float(b), float(c)) for a, b, c in csv.reader(file.open(encoding="utf-8"))] if file.exists() else []
    )
    curve: Curve = [row for row in rows if row[0] <= trainer.step]
    while trainer.step < one.steps:
        trainer.run(save_every=every, until=trainer.step + every, log=lambda _: None)
        loss = float((out / "log.csv").read_text(encoding="utf-8").splitlines()[-1].split(",")[1])
        curve.append((trainer.step, quality(trainer, cases), loss))
        with file.open("w", encoding="utf-8") as stream:
            csv.writer(stream).writerows(curve)
    return curve


def steps_to(curve: Curve, level: float) -> int | None:
    """The first step from which the curve stays at ``level`` or above."""
    good = None
    for step, psnr, _ in reversed(curve):
        if psnr < level:
            break
        good = step
    return good


def drawn(curves: dict[tuple[str, float, int], Curve]) -> str:
    """All curves as an SVG of PSNR over steps."""
    points = [p for curve in curves.values() for p in curve]
    last, low, high = max(p[0] for p in points), min(p[1] for p in points), max(p[1] for p in points)

    def at(step: int, psnr: float) -> str:
        return f"{60 + 620 * step / last:.1f},{360 - 330 * (psnr - low) / (high - low):.1f}"

    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="720" height="410" font-family="sans-serif" font-size="13">'
    ]
    lines.append('<rect width="720" height="410" fill="white"/>')
    for level in np.arange(np.ceil(low), high, 1.0 if high - low < 10 else 2.0):
        x0, y = at(0, float(level)).split(",")
        lines.append(f'<path d="M{x0},{y}H680" stroke="#ddd"/><text x="20" y="{float(y) + 4}">{level:.0f} dB</text>')
    for (architecture, rate, _), curve in curves.items():
        dash = "" if rate == min(r for _, r, _ in curves) else ' stroke-dasharray="5 4"'
        path = " ".join(at(step, psnr) for step, psnr, _ in curve)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[architecture]}"{dash}/>')
    for i, architecture in enumerate(ARCHITECTURES):
        lines.append(f'<text x="560" y="{300 + 20 * i}" fill="{COLOURS[architecture]}">{architecture}</text>')
    note = "; dashed: the larger learning rate" if len({rate for _, rate, _ in curves}) > 1 else ""
    lines.append(f'<text x="300" y="395">steps, to {last}{note}</text></svg>')
    return "\n".join(lines) + "\n"


def table(curves: dict[tuple[str, float, int], Curve]) -> str:
    """Markdown: a line for each architecture and rate."""
    groups: dict[tuple[str, float], list[Curve]] = defaultdict(list)
    for (architecture, rate, _), curve in curves.items():
        groups[architecture, rate].append(curve)
    levels = {rate: min(c[-1][1] for (_, r, _), c in curves.items() if r == rate) - 0.1 for _, rate in groups}
    head = "| network | rate | final PSNR of each seed, dB | mean | spread | steps to the level | worst drop, dB |"
    rows = [head, "|---|---|---|---|---|---|---|"]
    for (architecture, rate), runs in sorted(groups.items(), key=lambda item: (item[0][1], item[0][0])):
        final = [curve[-1][1] for curve in runs]
        reached = [steps_to(curve, levels[rate]) for curve in runs]
        drops = [a[1] - b[1] for curve in runs for a, b in pairwise(curve)]
        rows.append(
            f"| {architecture} | {rate:g} | {', '.join(f'{x:.2f}' for x in final)} | {statistics.fmean(final):.2f} "
            f"| {max(final) - min(final):.2f} | {', '.join(map(str, reached))} | {max(0.0, *drops):.2f} |"
        )
    note = "; ".join(f"{level:.2f} dB at rate {rate:g}" for rate, level in sorted(levels.items()))
    return "\n".join(rows) + f"\n\nThe level is the poorest final result less 0.1 dB: {note}.\n"


def main() -> None:
    """Train with each seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/photo and eval/academic/Set5/HR")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--every", type=int, default=50, help="steps between two looks")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", default="5e-4,2e-3")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cases = held_out(args.data / "eval/academic/Set5/HR")
    sizes = {a: sum(p.numel() for p in SwinNet(recipe(a, 0, 1e-4, 1).spec).parameters()) for a in ARCHITECTURES}
    print(f"parameters: {sizes}", flush=True)
    curves: dict[tuple[str, float, int], Curve] = {}
    for rate in map(float, args.rates.split(",")):
        for seed in range(args.seeds):
            for architecture in ARCHITECTURES:
                out = args.out / f"{architecture}-{rate:g}-{seed}"
                one = recipe(architecture, seed, rate, args.steps)
                curve = curves[architecture, rate, seed] = train(one, out, args.data, args.every, cases)
                print(f"{architecture} rate {rate:g} seed {seed}: {curve[-1][1]:.2f} dB", flush=True)
    (args.out / "curves.svg").write_text(drawn(curves), encoding="utf-8")
    with (args.out / "curves.csv").open("w", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["network", "rate", "seed", "step", "psnr", "loss"])
        writer.writerows([*key, *(f"{x:g}" for x in row)] for key, curve in curves.items() for row in curve)
    print("\n" + table(curves))


if __name__ == "__main__":
    main()
