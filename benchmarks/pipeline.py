"""How busy is the network while an image goes from Zarr to Zarr, or TIFF to TIFF?

    python benchmarks/pipeline.py [--side 2048] [--model tiny-x2-gray] [--device auto] [--engine auto]

Restores a uint16 image with `swin2sr_ops.restore_image` (default compression and pyramid) and notes when the network
runs. Printed: seconds from the first tile's start to the last one's end, the share of it in which the network was at
work, what comes before and after, input pixels per second end to end, and the resident memory it grew by.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

import swin2sr_ops
from swin2sr_ops.nets.engine import TileEngine


def measured(source: Path, target: Path, pixels: int, options: dict[str, Any]) -> str:
    """A line of the table."""
    spans: list[tuple[float, float]] = []
    plain = TileEngine.run

    def timed(self: TileEngine, *args: Any) -> Any:
        began = time.perf_counter()
        result = plain(self, *args)
        if self.net.conv_first.weight.is_cuda:
            import torch

            torch.cuda.synchronize()
        spans.append((began, time.perf_counter()))
        return result

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    TileEngine.run = timed  # type: ignore[method-assign]
    try:
        began = time.perf_counter()
        swin2sr_ops.restore_image(source, target, **options)
        ended = time.perf_counter()
    finally:
        TileEngine.run = plain  # type: ignore[method-assign]
    first, last = min(a for a, _ in spans), max(b for _, b in spans)
    busy, reached = 0.0, first
    for a, b in sorted(spans):  # tiles may overlap
        busy += max(0.0, b - max(a, reached))
        reached = max(reached, b)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    cells = [
        f"{source.suffix} to {target.suffix}", str(len(spans)), f"{first - began:.1f}", f"{last - first:.1f}",
        f"{busy / (last - first):.1%}", f"{ended - last:.1f}", f"{pixels / (ended - began) / 1e3:.1f}",
        f"{grown:.0f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--model", default="tiny-x2-gray")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    options = {name: getattr(args, name) for name in ("model", "device", "engine", "precision", "tile")}
    rng = np.random.default_rng(0)
    coarse = np.repeat(np.repeat(rng.integers(200, 3000, (args.side // 8, args.side // 8)), 8, 0), 8, 1)
    image = (coarse + rng.poisson(100, coarse.shape)).astype("u2")
    print("| | tiles | before, s | tiles, s | network at work | after, s | kpx/s | memory, MiB |")
    print("|---" * 8 + "|")
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        tifffile.imwrite(folder / "a.tif", image, tile=(512, 512), compression="zlib")
        import zarr

        array = zarr.create_array(folder / "a.zarr", shape=image.shape, dtype="u2", chunks=(512, 512))
        array[:] = image
        for source, target in (("a.zarr", "b.ome.zarr"), ("a.tif", "b.ome.tif")):
            print(measured(folder / source, folder / target, image.size, options), flush=True)


if __name__ == "__main__":
    main()
