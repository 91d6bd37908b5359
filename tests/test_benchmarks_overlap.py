"""``benchmarks/overlap.py`` finds images that were rotated, reduced, brightened or cropped, and no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "overlap.py"


def picture(seed: int) -> np.ndarray:
    found = gaussian_filter(np.random.default_rng(seed).standard_normal((120, 140)), 5)
    return ((found - found.min()) / np.ptp(found) * 200 + 20).astype("u1")


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    words = ["--train", str(folder / "train"), "--eval", str(folder / "eval")]
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


def test_copies_are_found(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        (tmp_path / name).mkdir()
    for i in range(6):
        Image.fromarray(picture(i)).save(tmp_path / "train" / f"{i}.png")
        Image.fromarray(picture(i + 6)).save(tmp_path / "eval" / f"{i + 6}.png")
    before = check(tmp_path)
    assert before.returncode == 0, before.stderr
    assert before.stdout.startswith("36 pairs of images")
    copies = {
        "same": picture(3),
        "turned": np.rot90(picture(3)[::-1]),
        "small": np.asarray(Image.fromarray(picture(3)).resize((70, 60))),
        "bright": (picture(3) * 0.7 + 60).astype("u1"),
        "quarter": picture(3)[60:, 70:],
    }
    for name, pixels in copies.items():
        Image.fromarray(pixels).save(tmp_path / "eval" / f"{name}.png")
    after = check(tmp_path)
    assert after.returncode == 1
    assert {name for name in copies if f"{name}.png  3.png" in after.stdout} == set(copies)
