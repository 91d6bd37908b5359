"""The kernels in C built for ARM and run in an emulator: they give the bits that they give on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from swin2sr_ops.engine.native import build
from tests.conftest import NATIVE
from tests.engine.native.recorded import KINDS, SOURCES, Recorder
from tests.engine.native.test_bits import ZIG

GCC, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"

pytestmark = [
    NATIVE,
    pytest.mark.skipif(shutil.which(EMULATOR) is None, reason="no emulator of ARM (Debian: apt install qemu-user)"),
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> bytes:
    return Recorder(monkeypatch).networks()


def assert_same_bits(compiler: Sequence[str], calls: bytes, folder: Path) -> None:
    program = folder / "arm"
    flags = ["-Wall", "-Wextra", "-Werror", "-static"]
    subprocess.run([*compiler, *build.FLAGS, *flags, *map(str, SOURCES), "-lm", "-o", str(program)], check=True)
    done = subprocess.run([EMULATOR, str(program)], input=calls, capture_output=True, check=True)
    blocks, ends, learnt, convolutions, thin, norms, finished, biases, enlarged, differ = map(int, done.stdout.split())
    assert min(finished, biases, enlarged) > 0
    assert min(convolutions, thin, norms) > len(KINDS)
    assert blocks > 20
    assert ends >= 2 * len(KINDS)
    assert learnt == 4 * len(KINDS)
    assert differ == 0


@pytest.mark.skipif(shutil.which(GCC) is None, reason="Debian: apt install gcc-aarch64-linux-gnu")
def test_gcc(calls: bytes, tmp_path: Path) -> None:
    assert_same_bits([GCC], calls, tmp_path)


@pytest.mark.skipif(not ZIG, reason="pip install ziglang")
def test_zig(calls: bytes, tmp_path: Path) -> None:
    assert_same_bits([*ZIG.split(), "-target", "aarch64-linux-musl"], calls, tmp_path)
