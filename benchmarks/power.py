"""Measure the cost of surviving power cuts: runs with and without syncs, in turns, in one process.

    python benchmarks/power.py [--pairs 9] [--size 1024] [--fields 96] [--network nano-x2-gray] [--folder DIR]

Two archives of a few thousand small files are written: one image of ``--size`` px in small chunks, and a tree of
``--fields`` images of 64 px, which share one record that is synced at once. Without ``--network`` the network is a
stand-in that costs nothing (`archives_work.install`): the share of syncs is then the largest that it can be. "Without"
replaces the functions of `swin2sr_ops.io.storage.durable` where they are used. Before each run the disk is idle
(`os.sync`). Number and seconds of syncs, and CPU seconds, are those of one run. Ratios are those of one pair; which of
the two comes first alternates.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import archives_work
import numpy as np

from swin2sr_ops.io.output import destination
from swin2sr_ops.io.storage import durable, files


@contextmanager
def without_syncs() -> Iterator[None]:
    """Let nothing be synced."""
    with (
        mock.patch.object(destination, "sync_tree", nothing),
        mock.patch.object(destination, "sync_folder", nothing),
        mock.patch.object(files, "sync_folder", nothing),
        mock.patch.object(files, "write_durably", lambda path, data: path.write_bytes(data)),
    ):
        yield


@contextmanager
def counted() -> Iterator[list[float]]:
    """Collect the seconds of every sync of a run: their number does not depend on how busy the disk is."""
    calls: list[float] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args)
            finally:
                calls.append(time.perf_counter() - began)

        return called

    whole = timed(durable._sync_file_system)
    with mock.patch.object(os, "fsync", timed(os.fsync)), mock.patch.object(durable, "_sync_file_system", whole):
        yield calls


def nothing(path: Path) -> None:
    """Do not sync ``path``."""


def image(folder: Path, size: int, model: str, chunks: int) -> tuple[str, Callable[[], object]]:
    """One image that becomes thousands of chunks."""
    import tifffile

    from swin2sr_ops.api import restore_image

    rng, source, out = np.random.default_rng(0), folder / "image.tif", folder / "image.ome.zarr"
    tifffile.imwrite(source, rng.integers(0, 999, (size, size)).astype("u2"), tile=(256, 256))
    return str(out), lambda: restore_image(source, out, model=model, range=(0, 999), chunks=chunks, tile=256)


def tree(folder: Path, count: int, model: str) -> tuple[str, Callable[[], object]]:
    """Many small images, one by one."""
    import zarr

    from swin2sr_ops.request import RestoreRequest
    from swin2sr_ops.run.archive import run_collection

    rng, source, out = np.random.default_rng(0), folder / "tree.zarr", folder / "tree.ome.zarr"
    root = zarr.open_group(source, mode="w")
    for number in range(count):
        root.create_array(str(number), data=rng.integers(0, 999, (64, 64)).astype("u2"), chunks=(32, 32))
    request = RestoreRequest(model=model, range=(0, 999), chunks=32).validated()
    return str(out), lambda: run_collection(source, out, request)


def seconds(out: str, run: Callable[[], Any]) -> float:
    """Return the time of a run into an empty place, after a sync."""
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def compare(out: str, run: Callable[[], Any], pairs: int) -> str:
    """One row: files, seconds, and the ratio of pairs."""
    seconds(out, run)  # what is loaded once
    cpu = time.process_time()
    with counted() as calls:
        seconds(out, run)
    cpu = time.process_time() - cpu
    with_, without = [], []
    for number in range(pairs):
        for safe in (True, False) if number % 2 else (False, True):
            if safe:
                with_.append(seconds(out, run))
            else:
                with without_syncs():
                    without.append(seconds(out, run))
    ratios = sorted(a / b for a, b in zip(with_, without, strict=True))
    count = sum(len(names) for _, _, names in os.walk(out))
    return (
        f"{count} | {len(calls)} | {sum(calls):.2f} | {cpu:.1f}"
        f" | {median(with_):.2f} | {median(without):.2f} | {median(ratios):.3f}"
        f" | {ratios[0]:.2f} to {ratios[-1]:.2f} | {pairs}"
    )


def main() -> None:
    """Measure runs with and without syncs in turns, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--chunks", type=int, default=32, help="of the one image, in px (default: 32)")
    parser.add_argument("--fields", type=int, default=96)
    parser.add_argument("--network", default="", help="a model that computes, such as nano-x2-gray")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's place for temporary files)")
    options = parser.parse_args()
    if not options.network:
        archives_work.install()
    model = options.network or "nano-x2-gray"
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        rows = {
            f"an image of {options.size} px, chunks of {options.chunks} px": image(
                Path(place), options.size, model, options.chunks
            ),
            f"a tree of {options.fields} images of 64 px": tree(Path(place), options.fields, model),
        }
        lines = [f"| {name} | {compare(*case, options.pairs)} |" for name, case in rows.items()]
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, load average {load:.1f}.\n")
    columns = "files | syncs | s in syncs | CPU s | s with syncs | s without | ratio, median | of all pairs | pairs"
    print(f"| output | {columns} |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
