"""Measure the cost of ``consistent="mean"``: CPU time and memory with and without it, in turns.

python benchmarks/consistency.py --models nano-x2-gray,tiny-x2-gray --side 1024 --repeats 3
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

import swin2sr_ops


def main() -> None:
    """Measure runs with and without the option in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="nano-x2-gray,tiny-x2-gray")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.tif"
        y, x = np.mgrid[: args.side, : args.side]
        light = 2000 + 1500 * np.sin(y / 9) * np.cos(x / 7)
        tifffile.imwrite(source, np.random.default_rng(0).poisson(light).astype("u2"), tile=(256, 256))
        print("| model | plain, CPU s | mean, CPU s | times | peak, MiB | with mean |")
        print("|---|---|---|---|---|---|")
        for model in args.models.split(","):
            seconds: dict[str | None, list[float]] = {None: [], "mean": []}
            peaks: dict[str | None, int] = {}
            for i in range(args.repeats):
                for how, found in seconds.items():
                    began = time.process_time()
                    report = swin2sr_ops.restore_image(
                        source, Path(folder) / f"{model}-{how}-{i}.ome.zarr", model=model, consistent=how
                    )
                    found.append(time.process_time() - began)
                    peaks[how] = max(peaks.get(how, 0), report.peak_bytes)
            plain, bound = (statistics.median(seconds[how]) for how in (None, "mean"))
            told = " | ".join(f"{peaks[how] / 2**20:.0f}" for how in (None, "mean"))
            print(f"| {model} | {plain:.2f} | {bound:.2f} | {bound / plain:.2f} | {told} |", flush=True)


if __name__ == "__main__":
    main()
