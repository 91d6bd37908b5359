"""A small recipe and images to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from swin2sr_ops.training.recipe import Recipe

MUON = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")

RECIPE = """\
steps = 6
batch = 2
patch = 16
lr = 5e-3
warmup = 2
contrast = 0.5
seed = 4

[folders]
blobs = 0.75
noise = 0.25

[model]
name = "test-x2"
task = "classical_sr"
scale = 2
channels = 1
dim = 8
depths = [2]
heads = [2]
upsampler = "pixelshuffledirect"
licence = "CC0-1.0"
"""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of images, of several types and sizes; some are too small to be used."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(1)
    for name in ("blobs", "noise"):
        (root / name / "deep").mkdir(parents=True)
    y, x = np.mgrid[:90, :80] / 9
    blobs = (np.sin(x) * np.cos(y) + 1) / 2
    tifffile.imwrite(root / "blobs" / "sixteen.tif", (blobs * 3000 + 500).astype("u2"))
    tifffile.imwrite(root / "blobs" / "deep" / "float.TIF", blobs.T.astype("f4"))
    Image.fromarray((blobs * 255).astype("u1")).save(root / "blobs" / "gray.png")
    Image.fromarray(rng.integers(0, 255, (64, 70, 3), dtype="u1")).save(root / "noise" / "colour.png")
    Image.fromarray(rng.integers(0, 255, (12, 99), dtype="u1")).save(root / "noise" / "flat.png")
    (root / "noise" / "readme.txt").write_text("no image")
    return root


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def recipe(file: Path) -> Recipe:
    return Recipe.read(file)
