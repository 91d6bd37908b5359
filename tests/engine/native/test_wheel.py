"""A wheel for this system: the same bytes twice, and installed where there is no compiler it runs its own kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from swin2sr_ops.engine.native import recipe
from tests.engine.native.test_bits import ZIG

ROOT = Path(__file__).parents[3]
TARGET = recipe.TARGETS.get(recipe.this_system())

pytestmark = pytest.mark.skipif(TARGET is None or not ZIG, reason="no wheels for this system, or no ziglang")

_BUILD = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"


def built(folder: Path, **more: str) -> Path:
    environment = os.environ | {"SWIN2SR_OPS_PREBUILT": "1"} | more
    subprocess.run([sys.executable, "-c", _BUILD, str(folder)], cwd=ROOT, env=environment, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for tool in ("hatchling", "hatch_fancy_pypi_readme"):
        pytest.importorskip(tool, reason="the extra `release` builds")
    return built(tmp_path_factory.mktemp("wheel"))


def test_what_is_in_it(wheel: Path) -> None:
    assert TARGET is not None
    assert TARGET.tag in wheel.name
    files = {file.filename: file.compress_size for file in zipfile.ZipFile(wheel).infolist()}
    assert sum(size for name, size in files.items() if "/data/models/" not in name) < 2e6
    folder = "swin2sr_ops/engine/native/prebuilt/"
    held = {name.removeprefix(folder) for name in files if name.startswith(folder)}
    libraries = {TARGET.library(part, level) for part in recipe.SOURCES for level in TARGET.levels}
    assert held == libraries | {recipe.SUMS}
    assert all(Path(name).stem.isidentifier() for name in libraries)  # what `check-wheel-contents` asks of a .so


def test_the_same_bytes_again(wheel: Path, tmp_path: Path) -> None:
    """By a compiler that has cached nothing."""
    (tmp_path / "dist").mkdir()
    again = built(
        tmp_path / "dist", ZIG_GLOBAL_CACHE_DIR=str(tmp_path / "all"), ZIG_LOCAL_CACHE_DIR=str(tmp_path / "here")
    )
    assert again.read_bytes() == wheel.read_bytes()


def test_installed_without_a_compiler(wheel: Path, tmp_path: Path) -> None:
    """A fresh environment, whose libraries are those of this one: the wheel's kernels run, and nothing is built."""
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, *install], check=True)
    (site / "others.pth").write_text("\n".join(p for p in sys.path if "site-packages" in p))
    environment = {name: value for name, value in os.environ.items() if name not in ("CC", "PYTHONPATH")}
    environment |= {"PATH": str(place), "SWIN2SR_OPS_CACHE": str(tmp_path / "cache")}
    restore = ["-m", "swin2sr_ops", "restore", "sample:cells", "cells.ome.zarr", "--model", "nano-x2-gray"]
    done = subprocess.run([str(python), *restore], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "engine native" in done.stdout
    assert not (tmp_path / "cache" / "native").exists()
    where = (
        "import swin2sr_ops; from swin2sr_ops.engine.native.build import origin; print(origin(), swin2sr_ops.__file__)"
    )
    said = subprocess.run([str(python), "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.stdout.startswith("tiles"), said.stderr
    assert str(site) in said.stdout
