"""Compare the native engine with another commit's, network by network: CPU time of one tile on one thread.

    git worktree add /tmp/before a016e2a^
    python benchmarks/pairs.py --against /tmp/before [--models nano-x2-gray=192,...] [--rounds 5]

Two processes for each network, one for each version, take turns: in a round each restores the same random pixels with
the same random weights. Reported: medians, the median of the rounds' ratios, and the ratio of the fastest runs, which
other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
#: Side of the image in pixels: all shipped networks (small-x1-camera's is small-x1-gray's), and released ones of each
#: size and kind of head.
SIDES = {
    "nano-x2-gray": 192, "nano-x2-rgb": 192, "small-x1-gray": 128, "small-x1-rgb": 128,
    "small-x2-gray": 128, "small-x2-rgb": 128, "tiny-x1-gray": 192, "tiny-x1-rgb": 192, "tiny-x2-gray": 192,
    "tiny-x2-rgb": 192, "tiny-x4-gray": 192, "tiny-x4-rgb": 192, "swin2sr-lightweight-x2": 128,
    "swin2sr-classical-x2": 64, "swin2sr-classical-x4": 64, "swin2sr-compressed-x4": 64, "swin2sr-jpeg": 56,
    "swinir-real-x4-psnr": 64, "swinir-real-large-x4-psnr": 48, "swinir-classical-df2k-x3": 48,
    "swinir-classical-df2k-x8": 48, "swinir-lightweight-x4": 128,
}  # fmt: skip


def child(name: str, side: int) -> None:
    """Restore a tile for each line of the standard input; print its CPU seconds."""
    import torch

    from swin2sr_ops.engine.tile_engine import TileEngine
    from swin2sr_ops.geometry.plan import TilePlan
    from swin2sr_ops.hooks.dispatch import build_network, resolve_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = resolve_model(name)
    (tile,) = TilePlan(spec, side, side, (side, side))
    image = torch.rand(spec.channels, side, side)[:, tile.y.padding][:, :, tile.x.padding].contiguous()
    with torch.inference_mode():
        engine = TileEngine(build_network(spec).eval(), kernels="native")
        engine.run(image, tile)
        for _ in sys.stdin:
            began = time.process_time()
            engine.run(image, tile)
            print(time.process_time() - began, flush=True)


def compared(roots: list[Path], name: str, side: int, rounds: int) -> list[list[float]]:
    """Return each version's CPU seconds, round by round."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    words = [sys.executable, __file__, "--child", f"{name}={side}"]
    processes = [
        subprocess.Popen(
            words, env=os.environ | threads | {"PYTHONPATH": str(root)}, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for root in roots
    ]  # fmt: skip
    found: list[list[float]] = [[] for _ in roots]
    for turn in range(rounds):
        for i in range(len(roots))[:: 1 if turn % 2 else -1]:
            asked, answers = processes[i].stdin, processes[i].stdout
            assert asked is not None
            assert answers is not None
            print(file=asked, flush=True)
            found[i].append(float(answers.readline()))
    for process in processes:
        process.communicate()
    return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="a checkout of the other commit")
    parser.add_argument("--models", default=",".join(f"{name}={side}" for name, side in SIDES.items()))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, _, side = args.child.partition("=")
        child(name, int(side))
        return
    print(
        "| network | px | before, CPU s | now, CPU s | ratio | of the fastest |\n|---|---|---|---|---|---|", flush=True
    )
    for text in args.models.split(","):
        name, _, side = text.partition("=")
        before, now = compared([args.against.resolve(), ROOT], name, int(side), args.rounds)
        ratio = median(a / b for a, b in zip(before, now, strict=True))
        figures = f"{median(before):.3f} | {median(now):.3f} | {ratio:.2f} | {min(before) / min(now):.2f}"
        print(f"| {name} | {side} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
