"""The kernels give the same bits for every compiler and every width of vectors."""

from __future__ import annotations

import ctypes
import itertools
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from swin2sr_ops.engine.native import build, kernels as steps, learning
from swin2sr_ops.engine.tile_engine import TileEngine
from tests.conftest import NATIVE, random_net, small_spec
from tests.engine.native.bits import Calls
from tests.engine.native.test_learning import derivatives, random_trained
from tests.engine.test_tile_engine import run

#: `Calls.digest` of tiles alone and with training, of `build.REVISION`: if the digest of tiles changes, raise it.
RECORDED = {"revision": 2, "tiles": "4f66a6002ad7ef50", "training": "40a634360becccb4"}

X86 = platform.machine() in ("x86_64", "AMD64")
ZIG = f"{sys.executable} -m ziglang cc" if find_spec("ziglang") else ""
CLANG = next((name for name in ("clang", *(f"clang-{n}" for n in range(25, 13, -1))) if shutil.which(name)), "")
LANES = {16: ("-mavx512f", "-mavx512dq", "-mavx512vl"), 8: ("-mno-avx512f",), 4: ("-DLANES=4",)}

each = pytest.mark.parametrize("lanes", [16, 8, 4])
compilers = pytest.mark.parametrize("compiler", ["gcc", "clang", "zig"])

pytestmark = NATIVE

#: Result of the first build.
EXPECTED: dict[str, list[torch.Tensor]] = {}


@pytest.fixture(scope="module", autouse=True)
def _folder() -> Iterator[None]:
    yield
    built.cache_clear()


@lru_cache
def built(compiler: str, lanes: int) -> ctypes.CDLL:
    """All kernels in one library."""
    command = {"gcc": shutil.which("gcc") or "", "clang": CLANG, "zig": ZIG}[compiler]
    if not command:
        pytest.skip(f"no {compiler} (pip install ziglang; Debian: apt install clang)")
    if X86 and lanes == 16 and not _has_avx512():
        pytest.skip("this processor has no AVX-512")
    flags = ["-march=native", *LANES[lanes]] if X86 else ["-mcpu=native", f"-DLANES={lanes}"]
    sources = [str(Path(build.__file__).with_name(name)) for names in build.SOURCES.values() for name in names]
    with TemporaryDirectory() as folder:
        made = str(Path(folder) / "kernels.so")
        subprocess.run([*command.split(), *build.FLAGS, *flags, "-shared", *sources, "-o", made], check=True)
        return ctypes.CDLL(made)


def _has_avx512() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and " avx512f " in cpuinfo.read_text()


@compilers
@each
def test_recorded(compiler: str, lanes: int) -> None:
    """Blocks, ends of stages and training give the bits of this revision."""
    assert Calls(built(compiler, lanes)).digest(training=False) == RECORDED["tiles"]
    assert Calls(built(compiler, lanes)).digest() == RECORDED["training"]
    assert RECORDED["revision"] == build.REVISION


@compilers
@each
def test_networks(compiler: str, lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks through the engine, cut into tiles, and their gradients."""
    image = torch.rand(1, 41, 37, generator=torch.Generator().manual_seed(1))
    batch = torch.rand(2, 1, 24, 19, generator=torch.Generator().manual_seed(2))
    library, found = built(compiler, lanes), []
    for module in (steps, learning):
        monkeypatch.setattr(module, "library", lambda part="tiles": library)
    heads = itertools.cycle(("pixelshuffle", "pixelshuffledirect", "nearest+conv", "pixelshuffle_hf", ""))
    for changes, upsampler in zip(
        (
            {"dim": 24},
            {"architecture": "swinir", "window": 7, "dim": 20, "resi_connection": "3conv"},
            {"dim": 12},
            {},
            {},
        ),
        heads,
        strict=False,
    ):
        spec = small_spec(**changes, upsampler=upsampler, scale=2 if upsampler else 1)
        found.append(run(TileEngine(random_net(spec), kernels="native"), image, (30, 21)))
        net = random_trained(**changes)
        learning.learn_natively(net)
        found += derivatives(net, batch).values()
    expected = EXPECTED.setdefault("networks", found)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
