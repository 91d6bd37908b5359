"""Kernels of a wheel: reproducible, chosen by the processor, and used only if they are intact."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.engine.native import build, prebuilt, recipe
from swin2sr_ops.errors import RequestError
from tests.conftest import NATIVE
from tests.engine.native.bits import Calls
from tests.engine.native.test_bits import RECORDED, ZIG

TARGET = recipe.TARGETS.get(recipe.this_system())

pytestmark = pytest.mark.skipif(TARGET is None or not ZIG, reason="no wheels for this system, or no ziglang")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel has."""
    folder = tmp_path_factory.mktemp("prebuilt")
    assert TARGET is not None
    recipe.build_for_wheel(TARGET, folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, kernels_anew: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace this package's folder by that of a wheel."""
    found = tmp_path / "installed"
    shutil.copytree(made, found)
    monkeypatch.setattr(prebuilt, "FOLDER", found)
    return found


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda _: None)


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler(folder: Path, tmp_path: Path) -> None:
    image = np.arange(600, dtype="u1").reshape(20, 30)
    job = swin2sr_ops.restore(image, model="tiny-x2-gray", engine="native", device="cpu")
    assert job.compute().shape == (40, 60)
    assert build.origin().startswith("tiles")
    assert not (tmp_path / "cache" / "native").exists()


def test_the_bits_of_this_revision(made: Path) -> None:
    libraries = [ctypes.CDLL(str(path)) for path in made.glob("t*") if path.name != recipe.SUMS]
    checked = 0
    for library in libraries:
        if library.swin_runs() and hasattr(library, "swin_block"):
            assert Calls(library).digest(training=False) == RECORDED["tiles"]
            checked += 1
    assert checked


def test_the_same_bytes_in_another_folder(made: Path, tmp_path: Path) -> None:
    assert TARGET is not None
    again = recipe.build_for_wheel(TARGET, tmp_path)
    assert len(again) == len(list(made.iterdir()))
    for path in again:
        assert path.read_bytes() == (made / path.name).read_bytes()


@NATIVE
@pytest.mark.parametrize("how", ["truncated", "other", "missing", "no sums"])
def test_a_damaged_library_is_not_loaded(folder: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The compiler's build replaces it, with a note."""
    for path in folder.iterdir():
        if how == "missing" or (how == "no sums" and path.name == recipe.SUMS):
            path.unlink()
        elif how in ("truncated", "other") and path.name != recipe.SUMS:
            content = path.read_bytes()
            path.write_bytes(content[:3000] if how == "truncated" else content[:-1] + b"?")
    assert prebuilt.find_prebuilt("tiles") is None
    assert "which came with this package, cannot be used" in caplog.text
    assert "reinstall swin2sr-ops" in caplog.text
    assert "lanes" in build.origin()


@pytest.mark.usefixtures("no_compiler")
def test_a_processor_without_a_matching_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def __init__(self, path: str) -> None: ...

        def swin_runs(self) -> int:
            return 0

    monkeypatch.setattr(prebuilt.ctypes, "CDLL", Old)
    with pytest.raises(RequestError, match="needs a C compiler"):
        build.origin()


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not all(map(shutil.which, ("gcc", "qemu-x86_64"))), reason="no gcc or qemu-x86_64"
)
@pytest.mark.parametrize(
    ("processor", "level", "runs"), [("Nehalem", 3, 0), ("IvyBridge", 3, 0), ("max", 3, 1), ("max", 4, 0)]
)
def test_levels(processor: str, level: int, runs: int, tmp_path: Path) -> None:
    """Older processors are asked in an emulator, which has AVX2 but not AVX-512."""
    (tmp_path / "main.c").write_text("int swin_runs(void); int main(void) { return swin_runs(); }")
    source = Path(recipe.__file__).with_name("runs.c")
    words = ["gcc", "-static", f"-DLEVEL={level}", "-O2", str(source)]
    subprocess.run([*words, str(tmp_path / "main.c"), "-o", str(tmp_path / "main")], check=True)
    assert subprocess.run(["qemu-x86_64", "-cpu", processor, str(tmp_path / "main")], check=False).returncode == runs
