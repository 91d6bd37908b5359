"""Measure the CPU time of each kind of step of a tile, on one thread.

    python benchmarks/step_times.py [--models tiny-x2-rgb,FILE] [--sizes 256] [--engines torch,native]

One tile of random pixels, float32, the median of `--repeats` runs. *window* are the Swin blocks, *merge* the ends of
stages, *tail* that of the trunk, *embed* the first convolution, *setup* the planes. Rates count products, attention
and convolutions alone; beside them stands what torch's own large matrix product reaches.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from speed import Way, matrix_rate
from torch.utils.flop_counter import FlopCounterMode

from swin2sr_ops.engine.native import engine as native
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.geometry.plan import Tile, TilePlan
from swin2sr_ops.hooks.dispatch import build_network, resolve_model
from swin2sr_ops.spec import ModelSpec


class Clocked:
    """A tile's work that adds to ``kinds`` what ``clock`` gains in each kind of step."""

    def __init__(self, work: Any, kinds: Counter[str], clock: Callable[[], float]) -> None:
        self._work, self._kinds, self._clock = work, kinds, clock

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._work, name)
        return partial(self._timed, name, found) if callable(found) else found

    def _timed(self, kind: str, function: Callable[..., Any], *args: Any) -> Any:
        at = self._clock()
        result = function(*args)
        self._kinds[kind] += self._clock() - at
        return result


def passed(engine: TileEngine, image: torch.Tensor, tile: Tile, clock: Callable[[], float]) -> Counter[str]:
    """Run one tile: what ``clock`` gained in each kind of step."""
    kinds = Counter[str]()
    holder: Any = engine if engine._native is None else native
    name = "_work" if engine._native is None else "NativeTile"
    begin, clocked = getattr(holder, name), Clocked(None, kinds, clock)
    setattr(holder, name, lambda *args: Clocked(clocked._timed("setup", begin, *args), kinds, clock))
    try:
        engine.run(image, tile)
    finally:
        setattr(holder, name, begin)
    return kinds


def flops(engine: TileEngine, image: torch.Tensor, tile: Tile) -> Counter[str]:
    """Return the FLOP of each kind of step; those of Swin blocks by formula, since attention is not counted."""
    with FlopCounterMode(display=False) as counter:
        found = passed(engine, image, tile, counter.get_total_flops)
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
        runs = [passed(engine, image, tile, time.process_time) for _ in range(repeats + 1)]
    return Counter({kind: median(run[kind] for run in runs[1:]) for kind in runs[0]}), counts


def main() -> None:
    """Measure each kind of step, and print a table."""
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
                figures = f"{spent:.2f} | {spent / whole:.0%} | {count:.1f} | {count / spent / rate:.0%}"
                print(f"| {kind} | {figures} |")


if __name__ == "__main__":
    main()
