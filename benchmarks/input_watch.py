"""What it costs to hold an input against itself: stamps of its files, its identity, a checksum per tile.

    python benchmarks/input_watch.py [--side 4512] [--network nano-x2-gray] [--range 0,999]

The input is a Zarr of 32 px chunks: 20,000 files for the default side. Without ``--network`` the network is a stand-in
that costs nothing (`archives_work.install`): shares are then the largest that they can be. Shares are of CPU seconds,
which a busy machine changes little.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import archives_work
import numpy as np

from swin2sr_ops.api import restore_image
from swin2sr_ops.run import fingerprint, input_watch, pipeline, run

CHUNK = 32


class Clock:
    """CPU seconds of functions, in whichever thread they run."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``function`` so that its CPU seconds are added under ``name``."""

        def called(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                with self._lock:
                    self.seconds[name] += time.thread_time() - began  # type: ignore[assignment]
                    self.calls[name] += 1

        return called


def make_source(path: Path, side: int) -> int:
    """Write an image of small chunks; return the number of its files."""
    import zarr

    rng = np.random.default_rng(0)
    array = zarr.create_array(path, shape=(side, side), chunks=(CHUNK, CHUNK), dtype="u2", dimension_names=["y", "x"])
    for top in range(0, side, 32 * CHUNK):
        rows = slice(top, min(top + 32 * CHUNK, side))
        array[rows] = rng.integers(1, 999, (rows.stop - top, side)).astype("u2")
    return sum(len(names) for _, _, names in os.walk(path))


def measure(source: Path, out: Path, clock: Clock, options: dict[str, Any]) -> tuple[float, int]:
    """Restore; return CPU seconds and tiles."""
    stamp, facts = clock.timed("stamps", fingerprint.input_stamp), clock.timed("identity", fingerprint.identity)
    origin = clock.timed("checksums", pipeline.Origin.of)
    with (
        mock.patch.object(run, "input_stamp", stamp),
        mock.patch.object(input_watch, "input_stamp", stamp),
        mock.patch.object(input_watch, "identity", facts),
        mock.patch.object(fingerprint, "identity", facts),
        mock.patch.object(pipeline.Origin, "of", origin),
    ):
        began = time.process_time()
        report = restore_image(source, out, **options)
        return time.process_time() - began, report.tiles


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4512)
    parser.add_argument("--network", default="", help="a model that computes, such as nano-x2-gray")
    parser.add_argument("--range", default="0,999")
    options = parser.parse_args()
    if not options.network:
        archives_work.install()
    clock = Clock()
    with tempfile.TemporaryDirectory() as place:
        files = make_source(Path(place, "in.zarr"), options.side)
        given = {"model": options.network or "nano-x2-gray", "range": options.range, "tile": 256}
        seconds, tiles = measure(Path(place, "in.zarr"), Path(place, "out.ome.zarr"), clock, given)
    print(f"{date.today()}, {os.cpu_count()} cores; {files} files, {tiles} tiles, {seconds:.1f} CPU seconds.\n")
    print("| | calls | CPU s | share |\n|---|---|---|---|")
    for name, own in clock.seconds.items():
        print(f"| {name} | {clock.calls[name]} | {own:.2f} | {100 * own / seconds:.1f} % |")


if __name__ == "__main__":
    main()
