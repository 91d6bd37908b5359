"""Measure the waiting time for a large served image: first pixels, zoom, pan, and many requests at once.

Makes an OME-Zarr of 100,000 x 100,000 px whose chunks are mostly absent, serves it, and asks for the page's pictures.
With ``--browser`` the page itself is opened in Chromium, with ``--napari`` the address in a window of napari (both
installed, the latter with napari-ome-zarr and a display, such as that of ``xvfb-run``).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import requests
import zarr

SIDE, LEVELS, CHUNK = 100_000, 9, 1024
_WINDOW = """
import sys, time
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer()
began = time.monotonic()
viewer.open(sys.argv[1], plugin="napari-ome-zarr")
while viewer.screenshot(canvas_only=True, flash=False)[..., :3].max() < 60 and time.monotonic() - began < 500:
    QApplication.processEvents()
print("first", time.monotonic() - began, flush=True)
import os
os._exit(0)
"""


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


def row(what: str, took: list[float]) -> None:
    """Print a row of the table: the median, and all values."""
    each = ", ".join(f"{one:.1f}" for one in took)
    print(f"| {what} | {statistics.median(took):.1f} s | {each} |", flush=True)


class Server:
    """A server in a process of its own, and the most memory that it had."""

    def __init__(self, source: Path, model: str) -> None:
        command = [sys.executable, "-m", "swin2sr_ops", "serve", str(source), "--model", model]
        began = time.monotonic()
        self.process = subprocess.Popen([*command, "--port", "0", "--quiet"], stdout=subprocess.PIPE, encoding="utf-8")
        assert self.process.stdout is not None
        self.page, self.store = (self.process.stdout.readline().split()[0] for _ in range(2))
        self.listening = time.monotonic() - began
        self.levels = requests.get(f"{self.page}info.json").json()["levels"]
        self.most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with suppress(psutil.Error):
            while True:
                self.most = max(self.most, psutil.Process(self.process.pid).memory_info().rss)
                time.sleep(0.1)

    def picture(self, level: int, row: int, column: int) -> None:
        """Ask for one of the page's pictures."""
        address = f"{self.page}view/result/{level}/{row}/{column}.png?show=0:0:255:FFFFFF"
        requests.get(address).raise_for_status()

    def far(self, level: int, number: int) -> tuple[int, int, int]:
        """A picture of a level, far from others."""
        place = (number + 2) * (self.levels[level]["width"] // 512) // 9
        return level, place, place

    def first(self) -> float:
        """Wait for the whole image."""
        return seconds(lambda: self.picture(len(self.levels) - 1, 0, 0))

    def neighbours(self, number: int) -> float:
        """Wait for twelve pictures beside each other, at full size."""
        places = [(0, 60 + 20 * number + i // 4, 60 + i % 4) for i in range(12)]
        with ThreadPoolExecutor(12) as pool:
            return seconds(lambda: list(pool.map(lambda at: self.picture(*at), places)))

    def many(self, count: int) -> tuple[int, float]:
        """Ask for ``count`` chunks of full size at once: how many were answered, and when the last one was."""
        keys = [f"{self.store}/0/c/{200 + i // 25}/{200 + i % 25}" for i in range(count)]
        with ThreadPoolExecutor(count) as pool:
            began = time.monotonic()
            sizes = [len(answer.content) for answer in pool.map(requests.get, keys) if answer.ok]
        return sum(size > 0 for size in sizes), time.monotonic() - began


@contextmanager
def serving(source: Path, model: str) -> Iterator[Server]:
    """Serve ``source`` until the end of the block."""
    server = Server(source, model)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait()


def in_browser(server: Server) -> float:
    """Wait for the page's whole first picture, in Chromium."""
    from playwright.sync_api import sync_playwright

    shown = "info && !drawing && wantedTiles().every(name => tiles.get(name)?.state === 'there')"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1200, "height": 760})

        def look() -> None:
            page.goto(server.page)
            page.wait_for_function(shown, timeout=500_000)

        took = seconds(look)
        chromium.close()
    return took


def in_napari(server: Server) -> float:
    """Wait for the first pixels in a window of napari, from the call that opens the address."""
    done = subprocess.run(
        [sys.executable, "-c", _WINDOW, server.store], capture_output=True, encoding="utf-8", check=True
    )
    return float(done.stdout.split("first")[-1].split()[0])


def measure(source: Path, model: str, args: argparse.Namespace) -> None:
    """Print a row for each thing that a person does."""
    listening, first, browser, napari = [], [], [], []
    for _ in range(args.repeat):
        with serving(source, model) as server:
            listening.append(server.listening)
            first.append(server.first())
        if args.browser:
            with serving(source, model) as server:
                browser.append(in_browser(server))
        if args.napari:
            with serving(source, model) as server:
                napari.append(in_napari(server))
    row(f"{model}: until the server listens", listening)
    row("first pixels: the whole image", first)
    for what, took in (("the page in Chromium, painted", browser), ("napari by its address, painted", napari)):
        if took:
            row(what, took)
    with serving(source, model) as server:
        for level in range(4):
            took = [seconds(partial(server.picture, *server.far(level, i))) for i in range(args.repeat)]
            row(f"zoom: one picture of level {level}", took)
        row("pan: 12 new neighbours", [server.neighbours(i) for i in range(args.repeat)])
        print(f"| most memory of the server until here | {server.most >> 20} MiB | |", flush=True)
        if args.many:
            answered, took_all = server.many(args.many)
            print(f"| {args.many} chunks at once, {answered} answered | {took_all:.0f} s | |", flush=True)
            print(f"| most memory of the server | {server.most >> 20} MiB | |", flush=True)


def main() -> None:
    """Make the image, and measure each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["nano-x2-gray", "tiny-x2-gray"])
    parser.add_argument("--many", type=int, default=500, help="chunks to ask for at once, 0 for none")
    parser.add_argument("--repeat", type=int, default=3, help="times that each is measured; the median counts")
    parser.add_argument("--browser", action="store_true", help="also open the page in Chromium")
    parser.add_argument("--napari", action="store_true", help="also open the address in napari")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "large.ome.zarr")
        for model in args.models:
            measure(Path(folder) / "large.ome.zarr", model, args)


if __name__ == "__main__":
    main()
