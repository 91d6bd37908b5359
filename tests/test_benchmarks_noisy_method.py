"""The benchmark of `--noisy auto` tells noise from its absence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "noisy_method.py"


def test_noise_is_removed_and_a_flat_image_has_no_measure(tmp_path: Path) -> None:
    y, x = np.mgrid[:160, :150] / 7
    clean = (2 + np.sin(x) + np.cos(y + x / 3)) * 60
    noisy = np.random.default_rng(0).normal(clean, 15).clip(0, 255).astype("u1")
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    Image.fromarray(np.full((160, 150), 7, "u1")).save(tmp_path / "flat.png")
    words = ["--data", str(tmp_path), "--models", "tiny-x1-gray"]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "| image | tiny-x1-gray |"
    assert lines[2] == "| flat.png |  |"
    assert 0.8 < float(lines[3].split("|")[2]) < 1.2
