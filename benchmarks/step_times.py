"""Where does the time of a tile go? CPU time of each kind of step, on one thread.

    python benchmarks/step_times.py [--models tiny-x2-rgb,FILE] [--sizes 256] [--engines torch,native]

One tile of random pixels, float32, the median of `--repeats` runs. *window* are the Swin blocks, *merge* the ends of
stages, *tail* that of the trunk, *embed* the first convolution, *setup* the planes. Rates count products, attention
and convolutions alone; beside them stands what torch's own large matrix product reaches.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from statistics import median
from typing import Any

import torch
from speed import Way, matrix_rate
from torch.utils.flop_counter import FlopCounterMode

from swin2sr_ops.layers import network_steps
from swin2sr_ops.nets.engine import TileEngine
from swin2sr_ops.plan import Tile, TilePlan
from swin2sr_ops.plugins import build_network, resolve_model
from swin2sr_ops.spec import ModelSpec


def passed(engine: TileEngine, image: torch.Tensor, tile: Tile, kinds: Counter[str], clock: Any) -> None:
    """Run one tile, and add to ``kinds`` what ``clock`` gains in each kind of step."""
    at = clock()
    work = engine._work(engine, image, tile, None)
    for index, (kind, step) in enumerate([("setup", None), *((s.kind, s) for s in network_steps(engine.spec))]):
        if step is not None:
            getattr(work, step.kind)(step, index - 1)
        now = clock()
        kinds[kind] += now - at
        at = now


def flops(engine: TileEngine, image: torch.Tensor, tile: Tile) -> Counter[str]:
    """Of each kind of step; of Swin blocks by their formula, since attention is not counted."""
    found: Counter[str] = Counter()
    with FlopCounterMode(display=False) as counter:
        passed(engine, image, tile, found, counter.get_total_flops)
    spec, pixels = engine.spec, image.shape[-2] * image.shape[-1]
    block = 8 * spec.dim**2 + 4 * spec.window**2 * spec.dim + 4 * spec.dim * int(spec.dim * spec.mlp_ratio)
    found["window"] = block * sum(spec.depths) * pixels
    return found


def measure(spec: ModelSpec, side: int, kernels: str, repeats: int) -> tuple[Counter[str], Counter[str]]:
    """Seconds and floating-point operations of each kind of step."""
    (tile,) = TilePlan(spec, side, side, (side, side))
    image = torch.rand(spec.channels, side, side)[:, tile.y.padding][:, :, tile.x.padding]
    with torch.inference_mode():
        counts = flops(TileEngine(build_network(spec).eval()), image, tile)
        engine = TileEngine(build_network(spec).eval(), kernels=kernels)
        runs = []
        for _ in range(repeats + 1):
            runs.append(Counter[str]())
            passed(engine, image, tile, runs[-1], time.process_time)
    return Counter({kind: median(run[kind] for run in runs[1:]) for kind in runs[0]}), counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="tiny-x2-rgb")
    parser.add_argument(
        "--sizes", default="256", help="side of the image, a multiple of the window; one, or one a model"
    )
    parser.add_argument("--engines", default="torch,native")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    models, sizes = args.models.split(","), [int(n) for n in args.sizes.split(",")]
    rate = matrix_rate(Way("cpu", "float32"))
    print(f"matrix rate {rate:.0f} GFLOP/s")
    for model, side in zip(models, sizes * (len(models) if len(sizes) == 1 else 1), strict=True):
        spec = resolve_model(model)
        for kernels in args.engines.split(","):
            seconds, counts = measure(spec, side, kernels, args.repeats)
            whole = sum(seconds.values())
            print(f"\n{spec.name}, {spec.dim} channels, {side} x {side} px, {kernels}: {whole:.2f} CPU s\n")
            print("| step | CPU s | of the time | GFLOP | of the matrix rate |\n|---|---|---|---|---|")
            for kind, spent in [*seconds.most_common(), ("all", whole)]:
                count = (counts[kind] if kind != "all" else sum(counts.values())) / 1e9
                told = f"{spent:.2f} | {spent / whole:.0%} | {count:.1f} | {count / spent / rate:.0%}"
                print(f"| {kind} | {told} |")


if __name__ == "__main__":
    main()
