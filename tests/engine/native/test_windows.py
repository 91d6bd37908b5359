"""The kernels in C built for Windows and run under Wine: they give the bits that they give on this machine."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from swin2sr_ops.engine.native import build
from tests.conftest import NATIVE
from tests.engine.native.recorded import SOURCES, Recorder
from tests.engine.native.test_bits import ZIG

WINE = shutil.which("wine") or shutil.which("wine64") or shutil.which("/usr/lib/wine/wine64") or ""

pytestmark = [
    NATIVE,
    pytest.mark.skipif(not ZIG, reason="pip install ziglang"),
    pytest.mark.skipif(
        not WINE or platform.machine() != "x86_64", reason="no Wine (Debian: apt install wine64) on x86-64"
    ),
]


def test_under_wine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "calls.exe"
    target = ["-target", "x86_64-windows-gnu", "-mcpu=x86_64_v3"]
    subprocess.run([*ZIG.split(), *target, *build.FLAGS, *map(str, SOURCES), "-o", str(program)], check=True)
    calls = Recorder(monkeypatch).networks()
    monkeypatch.setenv("WINEPREFIX", str(tmp_path / "wine"))
    monkeypatch.setenv("WINEDEBUG", "-all")
    done = subprocess.run([WINE, str(program)], input=calls, capture_output=True, check=True)
    *counts, differ = map(int, done.stdout.split())
    assert min(counts[:6]) > 9
    assert min(counts) > 0
    assert differ == 0
