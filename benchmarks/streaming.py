"""Measure the gain of the row cache: CPU time and memory of one plane, on one thread.

    python benchmarks/streaming.py [--model tiny-x2-gray | FILE | 180] [--side 2048] [--largest 512]

The same random plane three times, a process each: in square tiles that each compute their own surroundings, in the same
tiles where each goes on where the one above ended, and in tiles twice as wide and half as high, as a run cuts them.
``--largest`` is the side of the square tiles (1024 makes the wide ones what a run takes). 180 is the classical x4
network with random weights. Results are compared to the last bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import torch
from pipeline import peak

from swin2sr_ops.engine.row_cache import RowCache
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.hooks.dispatch import build_network, resolve_model
from swin2sr_ops.nets.network import SwinNet

WAYS = ("square", "streamed", "wide")


def network(model: str) -> SwinNet:
    """Return a network of a model; ``180`` is a random one with 180 channels."""
    if model != "180":
        return build_network(resolve_model(model))  # type: ignore[return-value]
    torch.manual_seed(0)
    return SwinNet(replace(resolve_model("swin2sr-classical-x4"), weights="")).eval().requires_grad_(False)


def measured(model: str, side: int, largest: int, way: str, engine_name: str) -> dict[str, Any]:
    """Measure one plane, restored in one way."""
    torch.set_num_threads(1)
    engine = TileEngine(network(model), kernels=engine_name)
    spec = engine.spec
    tile = (largest // 2, 2 * largest) if way == "wide" else (largest, largest)
    plan = TilePlan(spec, side, side, tile, streamed=way != "square")
    image = torch.rand(spec.channels, side, side, generator=torch.Generator().manual_seed(0))
    warm = next(iter(TilePlan(spec, 64, 64, (64, 64))))
    engine.run(image[:, :64, :64], warm)
    found = torch.empty(spec.channels, side * spec.scale, side * spec.scale)
    row_cache = RowCache() if plan.streamed else None
    resting = peak(anew=True)
    began = time.process_time()
    for one in plan:
        given = image[:, slice(*one.y.source), slice(*one.x.source)][:, one.y.padding][:, :, one.x.padding]
        found[:, slice(*one.y.write), slice(*one.x.write)] = engine.run(given, one, row_cache)["image"]
    seconds = time.process_time() - began
    return {
        "model": spec.name,
        "way": way,
        "tile": tile,
        "over_compute": plan.over_compute,
        "seconds": seconds,
        "memory": peak() - resting,
        "pixels": hashlib.sha256(found.numpy().tobytes()).hexdigest(),
    }


def main() -> None:
    """Measure each way in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-x2-gray")
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--largest", type=int, default=512)
    parser.add_argument("--engine", default="native", choices=("native", "torch"))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    given = args.model, args.side, args.largest
    if args.way:
        print(json.dumps(measured(*given, args.way, args.engine)))
        return
    print(f"{args.model}, {args.side} x {args.side} px, {args.engine}\n")
    print("| tiles | px | pixels computed per pixel | CPU s | time | memory, MiB |\n|---|---|---|---|---|---|")
    rows = []
    for way in WAYS:
        words = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        rows.append(json.loads(subprocess.run(words, check=True, capture_output=True, encoding="utf-8").stdout))
        row, first = rows[-1], rows[0]
        print(
            f"| {way} | {row['tile'][0]} x {row['tile'][1]} | {row['over_compute']:.2f} | {row['seconds']:.1f} "
            f"| {row['seconds'] / first['seconds']:.2f} | {row['memory'] / 2**10:.0f} |",
            flush=True,
        )
    if len({row["pixels"] for row in rows}) > 1:
        raise SystemExit("The results differ.")


if __name__ == "__main__":
    main()
