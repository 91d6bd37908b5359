"""Measure what evidence costs: CPU time of bound, flagged and audited runs beside plain ones, in turns.

python benchmarks/consistency.py --models nano-x2-gray --how mean,psf=0.4,interval,audit --side 1024 --repeats 3

``interval`` writes half widths and flags, with a calibration that no data made; ``audit`` recomputes the whole output.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

import swin2sr_ops
from swin2sr_ops.audit import audit
from swin2sr_ops.hosting import resolve_model
from swin2sr_ops.pixels.intervals import Calibration


def options(how: str | None, model: str, folder: Path) -> dict[str, Any]:
    """Return the keywords of a run."""
    if how != "interval":
        return {"consistent": how}
    made = Calibration(
        model, resolve_model(model).sha256, 1, None, (1.0,), 0.01, {"90": 1.0}, patches=100, pixels=400_000
    )
    made.write(folder / "made.json")
    return {"interval": 90, "calibration": folder / "made.json", "limit": 300, "noise": 100}


def main() -> None:
    """Measure runs with and without the option in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="nano-x2-gray,tiny-x2-gray")
    parser.add_argument("--how", default="mean,psf=0.4,interval,audit")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.tif"
        y, x = np.mgrid[: args.side, : args.side]
        light = 2000 + 1500 * np.sin(y / 9) * np.cos(x / 7)
        tifffile.imwrite(source, np.random.default_rng(0).poisson(light).astype("u2"), tile=(256, 256))
        ways: list[str | None] = [None, *args.how.split(",")]
        print("| model | run | CPU s | times |")
        print("|---|---|---|---|")
        for model in args.models.split(","):
            seconds: dict[str | None, list[float]] = {how: [] for how in ways}
            for i in range(args.repeats):
                for how, found in seconds.items():
                    out = Path(folder) / f"{model}-{how}-{i}.ome.zarr"
                    began = time.process_time()
                    if how == "audit":
                        assert audit(Path(folder) / f"{model}-None-{i}.ome.zarr", sample=None).ok
                    else:
                        swin2sr_ops.restore_image(source, out, model=model, **options(how, model, Path(folder)))
                    found.append(time.process_time() - began)
            medians = {how: statistics.median(found) for how, found in seconds.items()}
            for how in ways:
                ratio = medians[how] / medians[None]
                print(f"| {model} | {how or 'plain'} | {medians[how]:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
