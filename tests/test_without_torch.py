"""On a CPU, restoring with a shipped model or any ``.safetensors`` file imports torch in no process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from tests.conftest import NATIVE, write_model

pytestmark = NATIVE

_ROOT = Path(__file__).parents[1]

#: Loaded by every Python process of the folder that holds it, Dask's workers too.
_BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is blocked")

sys.meta_path.insert(0, Blocked())

import importlib.metadata as metadata

found = metadata.Distribution.from_name.__func__

def from_name(cls, name):
    if name == "torch":
        raise metadata.PackageNotFoundError(name)
    return found(cls, name)

metadata.Distribution.from_name = classmethod(from_name)
"""


@pytest.fixture
def blocked(tmp_path: Path) -> dict[str, str]:
    """Return an environment for processes that cannot import torch."""
    folder = tmp_path / "blocked"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_BLOCK)
    paths = [str(folder), str(_ROOT), str(_ROOT / "napari_plugin"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run(environment: dict[str, str], folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_the_block_works(blocked: dict[str, str], tmp_path: Path) -> None:
    code = "try:\n    import torch\nexcept ImportError as exc:\n    print(exc)"
    assert "torch is blocked" in run(blocked, tmp_path, "-c", code)
    code = "from swin2sr_ops.engine.devices import torch_version\nprint([torch_version()])"
    assert "['']" in run(blocked, tmp_path, "-c", code)  # not even its name is there, as in the CPU container


def test_the_main_job(blocked: dict[str, str], tmp_path: Path) -> None:
    command = ["-m", "swin2sr_ops", "restore", "sample:cells"]
    run(blocked, tmp_path, *command, "out.ome.zarr", "--model", "nano-x2-gray")
    run(blocked, tmp_path, *command, "out.tif", "--model", "nano-x2-gray", "--device", "cpu", "--ensemble", "8")
    source = swin2sr_ops.open_source("sample:cells")
    pixels = source.read(tuple(slice(0, n) for n in source.info.shape))
    expected = swin2sr_ops.restore(pixels, axes=source.info.axes, model="nano-x2-gray", engine="native").compute()
    found = swin2sr_ops.open_source(tmp_path / "out.ome.zarr")
    stored = found.read(tuple(slice(0, n) for n in found.info.shape))
    np.testing.assert_array_equal(stored.reshape(expected.shape), expected)


def test_files_of_others(blocked: dict[str, str], tmp_path: Path) -> None:
    """Weights without our description, and in bfloat16, which NumPy does not have."""
    import torch
    from safetensors.torch import load_file, save_file

    write_model(tmp_path / "ours.safetensors", depths=(2,), heads=(2,))
    weights = load_file(tmp_path / "ours.safetensors")
    save_file({name: value.to(torch.bfloat16) for name, value in weights.items()}, tmp_path / "theirs.safetensors")
    tifffile.imwrite(tmp_path / "a.tif", np.arange(900, dtype="u2").reshape(30, 30))
    code = """
import swin2sr_ops
from swin2sr_ops.hooks.dispatch import resolve_model
for name, hints in (("ours", {}), ("theirs", {"value_range": 1.0, "window": 8})):
    spec = resolve_model(f"{name}.safetensors", **hints)
    swin2sr_ops.restore_image("a.tif", f"{name}.tif", model=spec)
"""
    run(blocked, tmp_path, "-c", code)
    ours, theirs = (tifffile.imread(tmp_path / f"{name}.tif").astype(float) for name in ("ours", "theirs"))
    assert 0 < np.abs(ours - theirs).max() < 200


def test_a_lazy_array(blocked: dict[str, str], tmp_path: Path) -> None:
    code = """
import dask.array as da, numpy as np, swin2sr_ops
pixels = np.random.default_rng(0).integers(0, 4000, (90, 70), dtype="u2")
lazy = swin2sr_ops.restore(da.from_array(pixels, chunks=40), model="nano-x2-gray")
whole = swin2sr_ops.restore(pixels, model="nano-x2-gray")
assert (lazy.compute() == whole.compute()).all()
"""
    run(blocked, tmp_path, "-c", code)


def test_a_preview_in_napari(blocked: dict[str, str], tmp_path: Path) -> None:
    """Its threads import torch ahead of time, but only where it is needed."""
    code = """
import numpy as np, sys
from swin2sr_ops.hosting import AxisOrder, IntensityMap
from swin2sr_ops_napari.warm import load_torch
import swin2sr_ops
load_torch()
restorer = swin2sr_ops.Restorer("nano-x2-gray")
pixels = np.random.default_rng(0).integers(0, 255, (60, 50), dtype="u1")
order = AxisOrder.of(pixels.shape, "YX")
part = restorer.restore_region(lambda region: pixels[region], order, (8, 24), (0, 16), [IntensityMap(0.0, 255.0)])
assert part.shape == (32, 32)
assert "torch" not in sys.modules
"""
    run(blocked, tmp_path, "-c", code)


def test_a_batch_on_two_processes(blocked: dict[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", rng.integers(0, 4000, (40, 30), dtype="u2"))
    command = ["-m", "swin2sr_ops", "restore", "a.tif", "b.tif", "restored", "--model", "nano-x2-gray"]
    run(blocked, tmp_path, *command, "--workers", "2")
    for name in ("a", "b"):
        (made,) = (tmp_path / "restored").glob(f"{name}*")
        expected = swin2sr_ops.restore(tifffile.imread(tmp_path / f"{name}.tif"), model="nano-x2-gray", engine="native")
        found = swin2sr_ops.open_source(made)
        stored = found.read(tuple(slice(0, n) for n in found.info.shape))
        np.testing.assert_array_equal(stored.reshape(expected.shape), expected.compute())
