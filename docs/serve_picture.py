"""Make the picture of docs/serve.md: the page of `swin2sr-ops serve` with three channels, in Chromium.

The cells are drawn, not photographed: `python docs/serve_picture.py`.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

OUT = Path(__file__).parent / "images" / "serve_page.png"
SIDES = 600, 760
SHOWN = "info && !drawing && wantedTiles().every(name => tiles.get(name)?.state === 'there')"


def cells(rng: np.random.Generator) -> NDArray[np.uint16]:
    """Draw nuclei, the rims of cells, and spots, with photon noise."""
    y, x = np.mgrid[: SIDES[0], : SIDES[1]].astype(np.float32)
    image = np.zeros((3, *SIDES), np.float32)
    for _ in range(42):
        cy, cx, r, turn = (rng.uniform(a, b) for a, b in ((0, SIDES[0]), (0, SIDES[1]), (14, 26), (0, np.pi)))
        v, u = y - cy, x - cx
        long, wide = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
        far = np.hypot(long * 0.8, wide * 1.1)
        grain = 0.75 + 0.25 * np.sin(long / 2.3 + turn) * np.cos(wide / 2.9)
        image[0] += 2300 / (1 + np.exp(np.clip((far - r) / 1.1, -30, 30))) * grain
        rim = np.exp(-(((far - r * 1.6 - 2 * np.sin(5 * np.arctan2(v, u) + turn)) / 2.2) ** 2))
        image[1] += 1300 * rim + 260 * np.exp(-((far / (1.6 * r)) ** 4))
        for _ in range(5):
            a, d = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.4) * r
            image[2] += 3000 * np.exp(-((v - d * np.sin(a)) ** 2 + (u - d * np.cos(a)) ** 2) / 2.2)
    return (rng.poisson(image / 14 + 5) * 14 + 100).clip(0, 65535).astype(np.uint16)


def main() -> None:
    """Serve the cells, open the page, zoom in, and take the picture."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.ome.tif"
        metadata: dict[str, Any] = {
            "axes": "CYX", "PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.2,
            "PhysicalSizeYUnit": "µm",
            "Channel": {"Name": ["nuclei", "membrane", "spots"], "Color": [0x4C7DFFFF, 0x35D07FFF, -0x66CC01]},
        }  # fmt: skip
        tifffile.imwrite(path, cells(np.random.default_rng(5)), metadata=metadata, photometric="minisblack")
        command = [sys.executable, "-m", "swin2sr_ops", "serve", str(path), "--model", "tiny-x2-gray", "--range"]
        command += ["100,2600", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603  # ourselves
            assert server.stdout is not None
            try:
                address = server.stdout.readline().split()[0]
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(
                        executable_path=shutil.which("chromium"), args=["--no-sandbox"]
                    )
                    page = browser.new_page(viewport={"width": 1200, "height": 760})
                    page.goto(address)
                    page.wait_for_function("info !== null")
                    page.mouse.move(447, 380)
                    page.mouse.wheel(0, -340)
                    page.wait_for_function(SHOWN, timeout=600_000)
                    page.wait_for_timeout(2500)
                    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                    browser.close()
            finally:
                server.terminate()
    picture.save(OUT, optimize=True)


if __name__ == "__main__":
    main()
