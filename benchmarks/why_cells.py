"""Show why the engine computes in fixed cells, and the cost.

    python benchmarks/why_cells.py

First: of 200 random crops of a plane, how many give other bits than the plane itself when torch
convolves them (3x3, pixels that both see whole)? Second: pixels computed per pixel of an 8192 px
plane with the lightweight network, in cells of 4 x 4 windows and in single windows.
"""

from __future__ import annotations

import platform
import random

import torch
from torch.nn import functional as F

from swin2sr_ops.geometry import plan, steps as layers
from swin2sr_ops.spec import ModelSpec


def differing_crops(inputs: int, outputs: int, dtype: torch.dtype, channels_last: bool) -> int:
    """Count crops whose convolution differs from that of the whole plane."""
    random.seed(1)
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    weight = torch.randn(outputs, inputs, 3, 3, dtype=dtype).contiguous(memory_format=layout)
    x = torch.randn(1, inputs, 96, 136, dtype=dtype).contiguous(memory_format=layout)
    whole = F.conv2d(x, weight)  # output (y, x) sees input (y..y+2, x..x+2)
    count = 0
    for _ in range(200):
        y0, x0 = random.randrange(90), random.randrange(130)
        y1, x1 = random.randrange(y0 + 3, 97), random.randrange(x0 + 3, 137)
        part = F.conv2d(x[:, :, y0:y1, x0:x1].contiguous(memory_format=layout), weight)
        count += not torch.equal(part, whole[:, :, y0 : y1 - 2, x0 : x1 - 2])
    return count


def main() -> None:
    """Measure, and print the results."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, one thread\n")
    print("| convolution | dtype | layout | crops of 200 that differ |\n|---|---|---|---|")
    for inputs, outputs in ((3, 60), (60, 60), (180, 180)):
        for dtype in (torch.float32, torch.float64):
            for last in (False, True):
                count = differing_crops(inputs, outputs, dtype, last)
                name = "channels last" if last else "channels first"
                print(f"| {inputs} -> {outputs} | {str(dtype).removeprefix('torch.')} | {name} | {count} |")
    spec = ModelSpec(name="s", dim=60, depths=(6,) * 4, heads=(6,) * 4, upsampler="pixelshuffledirect")
    print("\n| tile | in cells | in windows |\n|---|---|---|")
    for tile in (256, 512, 1024, 2048):
        cost = []
        for layers.CELL_WINDOWS in (4, 1):
            cost.append(plan.TilePlan(spec, 8192, 8192, (tile, tile)).over_compute)
        print(f"| {tile} px | {cost[0]:.2f} | {cost[1]:.2f} |")


if __name__ == "__main__":
    main()
