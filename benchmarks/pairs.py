"""Compare the native engine with another commit's, network by network: CPU time of one tile on one thread.

    git worktree add /tmp/before a016e2a^
    python benchmarks/pairs.py --against /tmp/before [--models nano-x2-gray=192,...] [--rounds 5]

Two processes for each network, one for each version, take turns: in a round each restores the same random pixels with
the same random weights. Reported: medians, the median of the rounds' ratios, and the ratio of the fastest runs, which
other work on the machine disturbs least. ``--rate`` adds the share of the matrix rate: products, attention and
convolutions per second, compared with torch's own large product, which takes its turn in each round.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
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
    from swin2sr_ops.nets.network import SwinNet
    from swin2sr_ops.weights.catalogue import find

    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = find(name)
    (tile,) = TilePlan(spec, side, side, (side, side))
    image = torch.rand(spec.channels, side, side)[:, tile.y.padding][:, :, tile.x.padding].contiguous()
    with torch.inference_mode():
        engine = TileEngine(SwinNet(spec).eval(), kernels="native")
        engine.run(image, tile)
        for _ in sys.stdin:
            began = time.process_time()
            engine.run(image, tile)
            print(time.process_time() - began, flush=True)


def operations(name: str, side: int) -> float:
    """Return the GFLOP of a tile."""
    import torch
    from step_times import flops

    from swin2sr_ops.engine.tile_engine import TileEngine
    from swin2sr_ops.geometry.plan import TilePlan
    from swin2sr_ops.nets.network import SwinNet
    from swin2sr_ops.weights.catalogue import find

    spec = find(name)
    (tile,) = TilePlan(spec, side, side, (side, side))
    image = torch.zeros(spec.channels, side, side)[:, tile.y.padding][:, :, tile.x.padding]
    with torch.inference_mode():
        counts = flops(TileEngine(SwinNet(spec).eval()), image, tile)
    return sum(counts.values()) / 1e9


def compared(roots: list[Path], name: str, side: int, rounds: int, between: Callable[[], None]) -> list[list[float]]:
    """Return each version's CPU seconds, round by round; each round begins with ``between``."""
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
        between()
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
    parser.add_argument("--rate", action="store_true", help="add the share of torch's matrix rate")
    args = parser.parse_args()
    if args.child:
        name, _, side = args.child.partition("=")
        child(name, int(side))
        return
    columns = ["network", "px", "before, CPU s", "now, CPU s", "ratio", "of the fastest"]
    columns += ["of the matrix rate before", "now"] * args.rate
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    for text in args.models.split(","):
        name, _, side = text.partition("=")
        rates: list[float] = []
        between = partial(note_rate, rates) if args.rate else lambda: None
        before, now = compared([args.against.resolve(), ROOT], name, int(side), args.rounds, between)
        ratio = median(a / b for a, b in zip(before, now, strict=True))
        cells = [name, side, f"{median(before):.3f}", f"{median(now):.3f}", f"{ratio:.2f}"]
        cells.append(f"{min(before) / min(now):.2f}")
        if args.rate:
            work = operations(name, int(side))
            cells += [f"{median(work / t / r for t, r in zip(of, rates, strict=True)):.0%}" for of in (before, now)]
        print(f"| {' | '.join(cells)} |", flush=True)


def note_rate(rates: list[float]) -> None:
    """Add the GFLOP/s of torch's matrix product to ``rates``."""
    from speed import Way, matrix_rate

    rates.append(matrix_rate(Way("cpu", "float32")))


if __name__ == "__main__":
    main()
