"""Closed, full or ASCII streams do not change the result."""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops import cli

SCRIPT = str(Path(sys.executable).with_name("swin2sr-ops"))
pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a shell and /dev/full")


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">/dev/full", "2>/dev/full", "<&- >&- 2>&-"])
def test_a_run_succeeds(tmp_path: Path, streams: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), "u1"))
    command = f"{SCRIPT} restore a.tif b.ome.zarr --model nano-x2-gray {streams}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert (tmp_path / "b.ome.zarr" / "zarr.json").is_file()


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">/dev/full", "2>/dev/full", "<&- >&- 2>&-"])
def test_an_error_keeps_its_status(tmp_path: Path, streams: str) -> None:
    command = f"{SCRIPT} info missing.tif {streams}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["\u00e4\u00b5.tif".encode(), b"caf\xe9.tif"])
def test_a_name_that_the_terminal_cannot_show(tmp_path: Path, name: bytes) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), "u1"))
    os.rename(tmp_path / "a.tif", os.path.join(os.fsencode(tmp_path), name))
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [os.fsencode(SCRIPT), b"info", name], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"\\" in done.stdout


# --- signals at the very end ----------------------------------------------------------------------


def test_a_second_interrupt_while_the_first_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from swin2sr_ops import cli

    class Pressed(io.StringIO):
        def write(self, text: str) -> int:
            signal.raise_signal(signal.SIGINT)
            return len(text)

    def stopped(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("swin2sr_ops.cli.models"), "main", stopped)
    monkeypatch.setattr(sys, "stderr", Pressed())
    assert cli.main(["models"]) == 130


@pytest.mark.skipif(sys.platform == "win32", reason="signals end a process there")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(("words", "status"), [(["models"], 0), (["info", "nothing.tif"], 2)])
def test_a_signal_while_python_ends(name: str, words: list[str], status: int) -> None:
    """The exit status stays, without a traceback."""
    code = (
        "import atexit, os, signal, sys, time; from swin2sr_ops.cli import script\n"
        f"atexit.register(lambda: (os.kill(os.getpid(), signal.{name}), time.sleep(60)))\nsys.exit(script())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)


@pytest.mark.parametrize("command", ["info a.tif", "models --json", "completion bash"])
def test_an_answer_that_is_lost_is_an_error(tmp_path: Path, command: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), "u1"))
    line = ["bash", "-c", f"{SCRIPT} {command} >/dev/full"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Standard output cannot be written: No space left on device" in done.stderr


def test_an_error_of_the_system_gets_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def denied(_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "closed/a.tif")

    monkeypatch.setattr("swin2sr_ops.cli.info.main", denied)
    assert cli.main(["info", "a.tif"]) == 2
    assert "'closed/a.tif' cannot be used: Permission denied. Check its rights" in capsys.readouterr().err


def test_an_error_without_a_file_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> int:
        raise OSError("nothing is known")

    monkeypatch.setattr("swin2sr_ops.cli.info.main", broken)
    with pytest.raises(OSError, match="nothing is known"):
        cli.main(["info", "a.tif"])
