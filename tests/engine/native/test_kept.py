"""A library of kernels is loaded only if it belongs to this user and is unchanged."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest

from swin2sr_ops.engine import selftest
from swin2sr_ops.engine.native import build, kept
from swin2sr_ops.engine.native.compiler_run import TIMED_OUT, run_compiler
from swin2sr_ops.errors import RequestError
from tests.conftest import NATIVE

pytestmark = [NATIVE, pytest.mark.usefixtures("kernels_anew")]
POSIX = pytest.mark.skipif(os.name == "nt", reason="owners and modes of POSIX")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the library's folder; the fallback folder cannot be used."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path / "file"))
    (tmp_path / "one.c").write_text("int one(void) { return 1; }")  # the kernels would take seconds
    monkeypatch.setattr(build, "SOURCES", {"tiles": (str(tmp_path / "one.c"),)})
    return tmp_path / "cache" / "native"


def _again() -> None:
    build.library.cache_clear()
    build.library()


def _library(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("how", ["one bit", "empty", "truncated", "folder", "link", "loop", "pipe"])
def test_a_damaged_library_is_built_anew(folder: Path, tmp_path: Path, how: str) -> None:
    build.library()
    path = _library(folder)
    content = path.read_bytes()
    shutil.copy(path, tmp_path / "elsewhere.so")
    path.unlink()  # it is mapped into this process
    if how == "one bit":
        path.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[5001:])
    elif how == "folder":
        path.mkdir()
    elif how == "link":
        path.symlink_to(tmp_path / "elsewhere.so")
    elif how == "loop":
        path.symlink_to(path)
    elif how == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(content[: len(content) // 2 if how == "truncated" else 0])
    _again()
    assert not _library(folder).is_symlink()
    assert _library(folder).read_bytes() == content


@POSIX
def test_a_library_that_others_may_write_is_built_anew(folder: Path) -> None:
    build.library()
    path = _library(folder)
    path.chmod(0o777)
    before = path.stat().st_ino
    _again()
    assert _library(folder).stat().st_mode & 0o777 == 0o700
    assert _library(folder).stat().st_ino != before


@POSIX
def test_a_umask_that_lets_others_write(folder: Path) -> None:
    folder.parent.mkdir()
    before = os.umask(0)
    try:
        build.library()
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == _library(folder).stat().st_mode & 0o777 == 0o700


@POSIX
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("mode", "other users can write to"),
        ("above", "other users can replace"),
        ("link", "is a link or a file, not a folder"),
        ("dangling", "File exists"),
        ("owner", "belongs to another user"),
    ],
)
def test_a_folder_of_others_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.mkdir()
    if how in ("link", "dangling"):
        folder.symlink_to(tmp_path / "theirs")
        if how == "link":
            (tmp_path / "theirs").mkdir()
    else:
        folder.mkdir()
        if how == "owner":
            monkeypatch.setattr(kept.os, "getuid", lambda: 4242)
        else:
            (folder if how == "mode" else folder.parent).chmod(0o777)
    with pytest.raises(RequestError, match=f"has nowhere to keep its kernels .*{why}"):
        build.library()
    assert "nowhere to keep its kernels" in selftest.native_obstacle()  # so that `auto` takes torch
    assert "falling back to the next engine: engine='native' has nowhere to keep its kernels" in caplog.text


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("#!/bin/sh\nsleep 30\n", "is not a C compiler"),
        ("not a program", "is not a C compiler"),
        ("#!/bin/sh\nprintf 'caf\\351\\n' >&2; exit 1\n", "is not a C compiler"),
        (None, "cannot be parsed"),
    ],
)
def test_a_compiler_that_does_not_work_is_reported(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "cc"
    if script is not None:
        path.write_text(script)
        path.chmod(0o755)
    monkeypatch.setenv("CC", "'" if script is None else str(path))
    monkeypatch.setattr(build, "_SECONDS_TO_ANSWER", 0.5)
    with pytest.raises(RequestError, match=f"and CC=.*{why}.*: install one"):
        build.library()
    assert why in selftest.native_obstacle()
    assert "falling back to the next engine" in caplog.text


def test_a_compiler_that_hangs_while_it_builds(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "cc", shutil.which("cc") or "gcc"
    path.write_text(f'#!/bin/sh\ncase "$*" in *-dM*) exec {real} "$@";; *) exec sleep 30;; esac\n')
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))
    monkeypatch.setattr(build, "_SECONDS_TO_BUILD", 0.5)
    with pytest.raises(RequestError, match=r"could not build the kernels \(it did not end within"):
        build.library()
    assert not list(folder.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_the_children_of_a_compiler_that_hangs(tmp_path: Path) -> None:
    """A wrapper such as ccache starts the real compiler, which keeps the output open."""
    script, child = tmp_path / "cc", tmp_path / "child"
    script.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {child}\nwait\n")
    script.chmod(0o755)
    began = time.monotonic()
    done = run_compiler([str(script)], 2)
    assert (done.returncode, done.stderr) == (TIMED_OUT, "it did not end within 2 seconds")
    assert time.monotonic() - began < 60
    pid = int(child.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
