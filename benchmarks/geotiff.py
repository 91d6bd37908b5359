"""Enlarge a GeoTIFF by 2 with this package and opensr-utils: same weights, same file, one run, one thread.

    pip install --no-deps opensr-utils pytorch-lightning lightning-utilities torchmetrics
    python benchmarks/geotiff.py --weights ../shared/weights/swin2sr-lightweight-x2-64 --side 512 --repeats 3

Three bands of reflectances 0 to 10,000 as uint16. opensr-utils cuts windows of 128 px (its default), overlapping by 8
(its default) or 32, runs transformers' network on them and blends. Each run is a process of its own, from file to
file. Printed: median CPU seconds, input pixels per second of them, what memory grew by, and the largest and the root
mean square difference from transformers on the whole image, in stored units (opensr-utils clips at 10,000: from that).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from speed_methods import Way, make_weights, picture, theirs

WHITE = 10_000
METHODS = ("ours", "opensr-utils, overlap 8", "opensr-utils, overlap 32")


def write(path: Path, side: int) -> None:
    """Write a GeoTIFF with three bands."""
    profile = {
        "driver": "GTiff", "photometric": "rgb", "count": 3, "height": side, "width": side, "dtype": "uint16",
        "tiled": True, "blockxsize": 256, "blockysize": 256, "crs": "EPSG:32633",
        "transform": from_origin(500_000, 5_000_000, 10, 10),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write((picture(side) * WHITE).round().astype("u2"))


def whole(folder: str, path: Path) -> np.ndarray:
    """Return the result of transformers for the whole image, in the format of the others."""
    import torch

    with rasterio.open(path) as file:
        image = torch.from_numpy(file.read().astype("f4") / WHITE)[None]
    result = theirs(folder, Way())(image)[0, :, : 2 * image.shape[-2], : 2 * image.shape[-1]].numpy()
    return (result * WHITE).round().clip(0, 65535)


def method(name: str, folder: str) -> Callable[[Path, Path], object]:
    """Return a function that enlarges a GeoTIFF by one of the packages."""
    if name == "ours":
        import swin2sr_ops

        # Mapped as opensr-utils does it, with values above left alone.
        return lambda source, target: swin2sr_ops.restore_image(source, target, model=folder, range=f"0,{WHITE}")
    import opensr_utils
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.run = theirs(folder, Way())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.run(x)  # type: ignore[no-any-return]

    overlap = int(name.rsplit(" ", 1)[1])
    return lambda source, target: opensr_utils.super_resolve(
        str(source), Network(), str(target), factor=2, overlap=overlap, device="cpu", batch_size=1
    )


def child(name: str, folder: str, source: Path, target: Path) -> None:
    """One measured run, printed as JSON; libraries are loaded before, the model within."""
    import torch

    torch.set_num_threads(1)
    run = method(name, folder)
    way = Way()
    before, began = way.peak_mib(), way.clock()
    run(source, target)
    print(json.dumps({"seconds": way.clock() - began, "memory": way.peak_mib() - before}))


def measured(name: str, folder: str, source: Path, target: Path) -> dict[str, float]:
    """`child`, in a process of its own."""
    threads = {k: "1" for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    words = [sys.executable, __file__, "--child", name, "--weights", folder, str(source), str(target)]
    done = subprocess.run(words, env=os.environ | threads, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr.strip()}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure both packages in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="lightweight x2 weights, a Hugging Face folder (default: random)")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.weights, *args.files)
        return
    names = [name for name in METHODS if "opensr" not in name or find_spec("opensr_utils")]
    print("| method | CPU s | kpx/s | memory, MiB | largest difference | root mean square |")
    print("|---" * 6 + "|")
    with tempfile.TemporaryDirectory() as kept:
        folder = args.weights
        if folder is None:
            folder = f"{kept}/weights"
            make_weights(Path(folder), 2)
        source = Path(kept, "in.tif")
        write(source, args.side)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for turn in range(args.repeats):
            for i, name in enumerate(names):
                runs[name].append(measured(name, folder, source, Path(kept, f"{i}-{turn}.tif")))
        expected = whole(folder, source)
        for i, name in enumerate(names):
            with rasterio.open(f"{kept}/{i}-0.tif") as file:
                apart = file.read().astype("f4") - (expected if name == "ours" else expected.clip(max=WHITE))
            seconds = statistics.median(run["seconds"] for run in runs[name])
            memory = statistics.median(run["memory"] for run in runs[name])
            cells = [
                name, f"{seconds:.1f}", f"{args.side**2 / seconds / 1e3:.1f}", f"{memory:.0f}",
                f"{abs(apart).max():.0f}", f"{np.sqrt((apart**2).mean()):.2f}",
            ]  # fmt: skip
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
