"""Measure the waiting time for a large served image: first pixels, zoom, pan, and many requests at once.

Makes an OME-Zarr of 100,000 x 100,000 px whose chunks are mostly absent, serves it, and asks for the page's pictures.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import requests
import zarr

SIDE, LEVELS, CHUNK = 100_000, 9, 1024


def make(path: Path) -> None:
    """Write the image; only a few chunks hold more than a constant, which costs the network as much."""
    group = zarr.create_group(path, zarr_format=3)
    places = [
        {"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": [2.0**k] * 2}]} for k in range(LEVELS)
    ]
    axes = [{"name": a, "type": "space"} for a in "yx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": places}]}
    for k in range(LEVELS):
        side = -(-SIDE // 2**k)
        chunk = min(CHUNK, side)
        array = group.create_array(str(k), shape=(side, side), chunks=(chunk, chunk), dtype="u1", fill_value=90)
        y, x = np.mgrid[:chunk, :chunk]
        start = side // 2 // chunk * chunk
        part = slice(start, min(start + chunk, side))
        block = (120 + 80 * np.sin(y / 9) * np.cos(x / 13)).astype("u1")
        array[part, part] = block[: part.stop - part.start, : part.stop - part.start]


def seconds(act: Callable[[], object]) -> float:
    """Seconds that ``act`` takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def measure(source: Path, model: str, many: int) -> None:
    """Print a row for each thing that a person does."""
    command = [sys.executable, "-m", "swin2sr_ops", "serve", str(source), "--model", model, "--port", "0", "--quiet"]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        page, store = (process.stdout.readline().split()[0] for _ in range(2))
        print(f"| {model}: listening | {time.monotonic() - began:.1f} s |")
        levels = requests.get(f"{page}info.json").json()["levels"]

        def picture(level: int, row: int, column: int) -> None:
            address = f"{page}view/result/{level}/{row}/{column}.png?low=0&high=255"
            requests.get(address).raise_for_status()

        print(f"| first pixels: the whole image | {seconds(lambda: picture(len(levels) - 1, 0, 0)):.1f} s |")
        for level in range(4):
            side = levels[level]["width"] // 512
            took = [seconds(lambda at=at: picture(level, at, at)) for at in (side // 2, side // 3, side // 5)]  # type: ignore[misc]  # noqa: B023
            print(f"| zoom: one picture of level {level}, median of 3 | {statistics.median(took):.1f} s |")
        with ThreadPoolExecutor(12) as pool:
            places = [(0, 60 + i // 4, 60 + i % 4) for i in range(12)]
            took_all = seconds(lambda: list(pool.map(lambda at: picture(*at), places)))
        print(f"| pan: 12 new neighbours | {took_all:.1f} s |")
        if many:
            keys = [f"{store}/0/c/{100 + i // 25}/{100 + i % 25}" for i in range(many)]
            with ThreadPoolExecutor(many) as pool:
                began = time.monotonic()
                states = [answer.status_code for answer in pool.map(requests.get, keys)]
            print(
                f"| {many} chunks asked for at once, {states.count(200)} answered | {time.monotonic() - began:.0f} s |"
            )
        print(f"| memory of the server | {psutil.Process(process.pid).memory_info().rss >> 20} MiB |")
        process.terminate()


def main() -> None:
    """Make the image, and measure each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["nano-x2-gray", "tiny-x2-gray"])
    parser.add_argument("--many", type=int, default=500, help="chunks to ask for at once, 0 for none")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "large.ome.zarr")
        for model in args.models:
            measure(Path(folder) / "large.ome.zarr", model, args.many)


if __name__ == "__main__":
    main()
