"""Measure the patches per second of training, with torch and with our kernels.

    python benchmarks/training_speed.py [--recipe tiny-x2-gray] [--device cpu] [--steps 12] [--shares]

Trains on noise, one thread, each way in a process of its own, in turns: by our own kernels (on a CPU), by torch, by
torch in bfloat16 (``--amp``). Medians of three. ``--shares`` prints instead how a step with our kernels divides its
time, in one run under torch's profiler.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

#: Operations of torch's profiler that make up a part of a step; the rest is another part.
PARTS = {
    "Swin blocks, forwards": ("_Windows",),
    "Swin blocks, backwards": ("_WindowsBackward",),
    "convolutions, forwards": ("aten::mkldnn_convolution", "aten::_slow_conv2d_forward"),
    "convolutions, backwards": ("aten::convolution_backward",),
    "optimiser: matrix products": ("aten::mm", "aten::addmm"),
}
WAYS = {"native": ["native"], "torch": ["torch"], "torch, --amp": ["torch", "--amp"]}


def child(recipe: str, data: Path, device: str, steps: int, engine: str, amp: bool) -> None:
    """Print patches per second, after some steps that do not count."""
    import torch

    from swin2sr_ops.training.loop import Trainer
    from swin2sr_ops.training.recipe import Recipe

    torch.set_num_threads(1)
    one = replace(Recipe.read(recipe), folders={".": 1.0}, amp=amp)
    trainer = Trainer(one, data, data / "run", device, engine=engine)
    for _ in range(3):
        trainer._train_step()
    began = time.perf_counter() if device != "cpu" else time.process_time()
    for _ in range(steps):
        trainer._train_step()  # ends with the loss's number: a GPU has done its work then
    seconds = (time.perf_counter() if device != "cpu" else time.process_time()) - began
    print(steps * one.batch / seconds)


def shares(recipe: str, data: Path, steps: int) -> None:
    """Print the parts of a step's time."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from swin2sr_ops.training.loop import Trainer
    from swin2sr_ops.training.recipe import Recipe

    torch.set_num_threads(1)
    trainer = Trainer(replace(Recipe.read(recipe), folders={".": 1.0}), data, data / "run", engine="native")
    for _ in range(3):
        trainer._train_step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(steps):
            trainer._train_step()
    times = {one.key: one.self_cpu_time_total for one in seen.key_averages()}
    whole = sum(times.values())
    parts = {name: sum(times.get(key, 0) for key in keys) / whole for name, keys in PARTS.items()}
    print("| part of a step | share |\n|---|---|")
    for name, share in (parts | {"the rest": 1 - sum(parts.values())}).items():
        print(f"| {name} | {share:.0%} |")


def main() -> None:
    """Measure both engines in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="tiny-x2-gray")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--shares", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--amp", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.recipe, Path(args.child), args.device, args.steps, args.engine, args.amp)
        return
    ways = {name: options for name, options in WAYS.items() if name != "native" or args.device == "cpu"}
    found: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype="u1")
        Image.fromarray(noise).save(Path(folder) / "noise.png")
        if args.shares:
            shares(args.recipe, Path(folder), args.steps)
            return
        words = ["--recipe", args.recipe, "--device", args.device, "--steps", str(args.steps), "--child", folder]
        for _ in range(3):
            for name, options in ways.items():
                environment = os.environ | {"OMP_NUM_THREADS": "1"}
                command = [sys.executable, __file__, *words, "--engine", *options]
                done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True)
                found[name].append(float(done.stdout.splitlines()[-1]))
    print(f"{args.recipe} on {args.device}, patches per second\n")
    print("| | patches/s |\n|---|---|")
    for name, speeds in found.items():
        print(f"| {name} | {statistics.median(speeds):.2f} |")


if __name__ == "__main__":
    main()
