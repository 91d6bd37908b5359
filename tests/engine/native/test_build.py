"""Kernels are built once, by any compiler; without a compiler, the error says so."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.engine import selftest as check
from swin2sr_ops.engine.native import build
from swin2sr_ops.errors import RequestError
from tests.conftest import NATIVE

pytestmark = [NATIVE, pytest.mark.usefixtures("kernels_anew")]


def test_built_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "swin2sr_ops")
    build.library()
    assert "built kernels for this processor in" in caplog.text
    (kept,) = (tmp_path / "cache" / "native").iterdir()
    before = kept.stat()
    caplog.clear()
    build.library.cache_clear()
    build.library()
    assert not caplog.text
    assert kept.stat().st_mtime_ns == before.st_mtime_ns


def test_all_lanes() -> None:
    """Vectors of 4, 8 and 16 numbers, for other processors, compile without a warning."""
    compiler = build.find_compiler().command[0]
    for flags in ([], ["-mavx2", "-mfma"], ["-mavx512f"]) if os.uname().machine == "x86_64" else ([],):
        words = [compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", *flags, "-c", "-o", os.devnull]
        for name in itertools.chain(*build.SOURCES.values()):
            done = subprocess.run(
                [*words, str(Path(build.__file__).with_name(name))], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="flags of x86")
def test_a_processor_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fused multiply-adds torch is faster, and `auto` takes it."""
    monkeypatch.setenv("CC", f"{shutil.which('cc') or 'gcc'} -mno-avx")
    with pytest.raises(RequestError, match="needs a processor with AVX2 and FMA"):
        build.library()
    assert "AVX2 and FMA" in check.native_obstacle()
    image = np.zeros((20, 20), "u1")
    assert swin2sr_ops.restore(image, model="tiny-x2-gray").compute().shape == (40, 40)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    with pytest.raises(
        RequestError, match=r"needs a C compiler \(gcc or clang\), and no cc, gcc, clang or ziglang that works"
    ):
        swin2sr_ops.restore(np.zeros((20, 20)), model="tiny-x2-gray", engine="native")


@pytest.mark.skipif(find_spec("ziglang") is None, reason="pip install ziglang")
def test_ziglang_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is found without PATH, and its build gives the same pixels."""
    image = np.arange(600, dtype="u1").reshape(20, 30)
    expected = swin2sr_ops.restore(image, model="tiny-x2-gray", engine="native").compute()
    monkeypatch.delenv("CC", raising=False)
    real = shutil.which
    monkeypatch.setattr(build.shutil, "which", lambda name: real(name) if os.path.isabs(name) else None)
    for found in (build.find_compiler, build.library):
        found.cache_clear()
    assert "ziglang" in build.find_compiler().command[0]
    assert str(build.find_compiler()).startswith("clang ")
    again = swin2sr_ops.restore(image, model="tiny-x2-gray", engine="native").compute()
    np.testing.assert_array_equal(again, expected)


def test_a_mac_without_command_line_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """There ``cc`` is a program that opens a window; it is not called."""
    asked: list[list[str]] = []

    def none(words: list[str], seconds: float = 0) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 2, "", "no developer tools")

    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build.sys, "platform", "darwin")
    monkeypatch.setattr(build, "run_compiler", none)
    monkeypatch.setattr(build, "_zig", list)
    with pytest.raises(RequestError, match="and Apple's command line tools are not installed: install one"):
        build.find_compiler()
    assert asked == [["xcode-select", "-p"]]


def test_a_program_that_is_not_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{sys.executable} -S")
    with pytest.raises(RequestError, match=r"and CC='.*' is not a C compiler: install one"):
        build.find_compiler()


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints its macros, but fails to compile."""
    failing = tmp_path / "cc"
    real = shutil.which("cc") or "gcc"
    failing.write_text(f'#!/bin/sh\ncase "$*" in *-dM*) exec {real} "$@";; *) echo "no space" >&2; exit 1;; esac\n')
    failing.chmod(0o755)
    monkeypatch.setenv("CC", str(failing))
    with pytest.raises(RequestError, match=r"could not build the kernels \(no space\)\. Give another compiler in CC"):
        build.library()
    assert not list((tmp_path / "cache" / "native").iterdir())
    assert "could not build the kernels (no space)" in check.native_obstacle()


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder for temporary files is used instead; if that cannot be written either, the error says so."""
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path / "tmp"))
    build.library()
    assert list((tmp_path / "tmp").rglob("tiles-*.so"))
    build.library.cache_clear()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(RequestError, match="has nowhere to keep its kernels"):
        build.library()
