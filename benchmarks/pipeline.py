"""Measure how busy the network is during runs from Zarr to Zarr and from TIFF to TIFF.

    python benchmarks/pipeline.py [--sides 1024,2048] [--model NAME | thin | classical] [--device auto] [--engine auto]

Restores uint16 images with `swin2sr_ops.restore_image` (default compression and pyramid), each in a process of its own,
and notes when the network runs. Printed: seconds from the first tile's start to the last one's end, the share of it in
which the network was at work, what comes before (libraries and the model are loaded there) and after, input pixels per
second end to end, and the resident memory it grew by. The model `thin` is hardly one: with it sizes can be had in
minutes that take a real one hours. `classical` is the 180-channel x4 network. Both have random weights.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

import swin2sr_ops
from swin2sr_ops.engine.selftest import CHECK
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.save import save_model

FORMATS = {"zarr": (".zarr", "b.ome.zarr"), "tiff": (".tif", "b.ome.tif")}


def peak(*, anew: bool = False) -> int:
    """KiB of resident memory, the most so far, or from now on; a process that is started inherits its parent's."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if anew:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return next(
        int(line.split()[1]) for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")
    )


def measured(source: Path, target: Path, pixels: int, options: dict[str, Any]) -> str:
    """A line of the table."""
    spans: list[tuple[float, float]] = []
    plain = TileEngine.run

    def timed(self: TileEngine, *args: Any, **more: Any) -> Any:
        began = time.perf_counter()
        result = plain(self, *args, **more)
        if self.net.conv_first.weight.is_cuda:
            import torch

            torch.cuda.current_stream().synchronize()  # other tiles are copied meanwhile
        if self.spec.name != CHECK:  # not the image's
            spans.append((began, time.perf_counter()))
        return result

    before = peak(anew=True)
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
    grown = (peak() - before) / 1024
    cells = [
        f"{source.suffix} to {target.suffix}", str(len(spans)), f"{first - began:.1f}", f"{last - first:.1f}",
        f"{busy / (last - first):.1%}", f"{ended - last:.1f}", f"{pixels / (ended - began) / 1e3:.1f}",
        f"{grown:.0f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def bands(side: int, rows: int = 512) -> Iterator[np.ndarray]:
    """Squares and shot noise, ``side`` x ``side`` px, some rows at a time."""
    rng = np.random.default_rng(0)
    for first in range(0, side, rows):
        high = min(rows, side - first)
        coarse = np.repeat(np.repeat(rng.integers(200, 3000, (high // 8, side // 8)), 8, 0), 8, 1)
        yield (coarse + rng.poisson(100, coarse.shape)).astype("u2")


def tiles(side: int, length: int = 512) -> Iterator[np.ndarray]:
    """The bands in squares, those at the border filled up."""
    for band in bands(side, length):
        for x in range(0, side, length):
            part = band[:, x : x + length]
            yield np.pad(part, [(0, length - n) for n in part.shape])


def write(folder: Path, side: int, suffix: str) -> Path:
    """The image as Zarr or TIFF, never in memory."""
    import zarr

    file = folder / f"{side}{suffix}"
    if suffix == ".tif":
        how: dict[str, Any] = {"tile": (512, 512), "compression": "zlib"}
        tifffile.imwrite(file, tiles(side), shape=(side, side), dtype="u2", **how)
        return file
    array = zarr.create_array(file, shape=(side, side), dtype="u2", chunks=(512, 512))
    for i, band in enumerate(bands(side)):
        array[i * 512 : i * 512 + len(band)] = band
    return file


#: One block of 12 channels, which leaves nearly all to the pipeline, and the size of the released classical networks.
RANDOM: dict[str, dict[str, Any]] = {
    "thin": {"dim": 12, "depths": (1,), "heads": (2,), "scale": 2, "channels": 1, "upsampler": "pixelshuffledirect"},
    "classical": {"dim": 180, "depths": (6,) * 6, "heads": (6,) * 6, "scale": 4, "upsampler": "pixelshuffle"},
}


def random_model(folder: Path, name: str) -> str:
    """A checkpoint of random weights."""
    spec = ModelSpec(name=name, **RANDOM[name])
    save_model(folder / f"{name}.safetensors", SwinNet(spec).state_dict(), spec)
    return str(folder / f"{name}.safetensors")


def main() -> None:
    """Measure each size and format, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="2048", help="pixels, separated by commas; multiples of 8")
    parser.add_argument("--formats", default="zarr,tiff")
    parser.add_argument("--tile", type=int, default=512, help="side in pixels; 0: what a run takes by itself")
    parser.add_argument("--model", default="tiny-x2-gray")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    options = {name: getattr(args, name) for name in ("model", "device", "engine", "precision")}
    options["tile"] = args.tile or None
    print("| side, px | | tiles | before, s | tiles, s | network at work | after, s | kpx/s | memory, MiB |")
    print("|---" * 9 + "|")
    for side, kind in product(map(int, args.sides.split(",")), args.formats.split(",")):
        suffix, result = FORMATS[kind]
        with tempfile.TemporaryDirectory() as kept, ProcessPoolExecutor(1, get_context("spawn")) as alone:
            folder = Path(kept)
            source = write(folder, side, suffix)
            if args.model in RANDOM:
                options["model"] = random_model(folder, args.model)
            line = alone.submit(measured, source, folder / result, side**2, options).result()
        print(f"| {side} {line}", flush=True)


if __name__ == "__main__":
    main()
