"""Find weights for the losses of the Swin2SR paper, and the width of their Gaussian, which the paper does not state.

    python benchmarks/loss_study.py --data ../shared/data --out runs/losses --steps 400 --seeds 2

Trains one small network, x2, one channel, from its start as an interpolation: same patches, batches and schedule,
another loss each time, one run per seed. Killed, the same command resumes the run. Measured on Set5's luma and on
held-out micrographs, in 0..1, 2 px of border left out: PSNR; PSNR of the details alone, which is what is left after a
Gaussian of 5 x 5 px and sigma 1; fidelity, the PSNR of the result, reduced again, against the input. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from unittest.mock import patch

import torch
from seed_study import held_out
from torch import Tensor

from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training import losses
from swin2sr_ops.training.degrade import bicubic_reduce
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.recipe import Recipe

Cases = list[tuple[Tensor, Tensor]]

MICROGRAPHS = ("axon_sem", "bbbc013", "bbbc039", "em_vnc")
#: Losses, and the sigma of the Gaussian of the high-frequency loss.
WAYS: dict[str, tuple[dict[str, float], float]] = {
    "l1": ({"l1": 1.0}, 1.0),
    "charbonnier": ({"charbonnier": 1.0}, 1.0),
    "l1 + 0.1 auxiliary": ({"l1": 1.0, "auxiliary": 0.1}, 1.0),
    "l1 + 1 auxiliary": ({"l1": 1.0, "auxiliary": 1.0}, 1.0),
    "l1 + 0.1 hf, sigma 1": ({"l1": 1.0, "hf": 0.1}, 1.0),
    "l1 + 1 hf, sigma 0.5": ({"l1": 1.0, "hf": 1.0}, 0.5),
    "l1 + 1 hf, sigma 1": ({"l1": 1.0, "hf": 1.0}, 1.0),
    "l1 + 1 hf, sigma 2": ({"l1": 1.0, "hf": 1.0}, 2.0),
    "l1 + 0.5 auxiliary + 0.1 hf, sigma 1": ({"l1": 1.0, "auxiliary": 0.5, "hf": 0.1}, 1.0),
    "l1 + 0.1 auxiliary + 1 hf, sigma 2": ({"l1": 1.0, "auxiliary": 0.1, "hf": 1.0}, 2.0),
}


def recipe(loss: dict[str, float], seed: int, steps: int) -> Recipe:
    """Small: some minutes for all runs of one loss."""
    model = {
        "name": "study", "architecture": "swin2sr", "task": "classical_sr", "scale": 2, "channels": 1, "dim": 24,
        "depths": [2, 2], "heads": [2, 2], "window": 8, "upsampler": "pixelshuffledirect",
    }  # fmt: skip
    folders = {"photo": 0.6, "microscopy": 0.4}
    return Recipe(
        model=model, folders=folders, steps=steps, batch=4, patch=32, lr=2e-3, warmup=20, ema=0.98, seed=seed, loss=loss
    )


def decibels(error: Tensor) -> float:
    """PSNR of an error in 0..1, without its border."""
    return -10 * float((error[..., 2:-2, 2:-2] ** 2).mean().log10())


@torch.inference_mode()
def measured(trainer: Trainer, cases: Cases) -> tuple[float, float, float]:
    """PSNR, that of details, fidelity; means of the images."""
    net = SwinNet(trainer.recipe.spec).eval()
    net.load_state_dict(trainer.averaged_state())
    rows = []
    for source, truth in cases:
        error = net(source).clamp(0, 1) - truth
        again = bicubic_reduce(net(source).clamp(0, 1), 2) - source
        rows.append((decibels(error), decibels(losses._details(error)), decibels(again)))
    found = [statistics.fmean(column) for column in zip(*rows, strict=True)]
    return found[0], found[1], found[2]


def main() -> None:
    """Train with each set of losses, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and eval/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sets = {
        "Set5": held_out(args.data / "eval/academic/Set5/HR"),
        "micrographs": [case for name in MICROGRAPHS for case in held_out(args.data / "eval/microscopy" / name)],
    }
    print("| loss | " + " | ".join(f"{name}: PSNR | details | fidelity" for name in sets) + " | seeds apart |")
    print("|---" * (2 + 3 * len(sets)) + "|")
    for name, (loss, sigma) in WAYS.items():
        found: dict[str, list[tuple[float, float, float]]] = {of: [] for of in sets}
        for seed in range(args.seeds):
            folder = args.out / f"{name.replace(' ', '-')}-{seed}"
            with patch.object(losses, "_HF_SIGMA", sigma):
                trainer = Trainer(recipe(loss, seed, args.steps), args.data / "train", folder)
                trainer.run(save_every=100, log=lambda _: None)
            with patch.object(losses, "_HF_SIGMA", 1.0):  # details are measured with one, whatever was learned with
                for of, cases in sets.items():
                    found[of].append(measured(trainer, cases))
        means = [f"{statistics.fmean(column):.3f}" for of in sets for column in zip(*found[of], strict=True)]
        first = [row[0] for row in found["Set5"]]
        print(f"| {name} | {' | '.join(means)} | {max(first) - min(first):.3f} |", flush=True)


if __name__ == "__main__":
    main()
