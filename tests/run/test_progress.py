"""`progress=True` shows bars; a callable gets events; False and None are silent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.run.progress import ProgressBars, observed
from swin2sr_ops.spec import ModelSpec


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("in.tif", rng.integers(0, 255, (40, 48), dtype="u1"))


def test_bars_of_one_image(gray_model: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    """A notebook shows them, though it is not a terminal."""
    swin2sr_ops.restore_image("in.tif", "out.tif", model=gray_model, tile=16, progress=True)
    told = capsys.readouterr().err
    assert "100%" in told
    assert "tile 9/9" in told


def test_bars_of_a_batch(gray_model: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    assert swin2sr_ops.restore_batch(["in.tif"], "out", model=gray_model, progress=True).ok
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize("progress", [False, None])
def test_silence(progress: bool | None, gray_model: ModelSpec, capfd: pytest.CaptureFixture[str]) -> None:
    swin2sr_ops.restore_image("in.tif", "out.tif", model=gray_model, progress=progress)
    assert capfd.readouterr().err == ""


def test_bars_end_with_a_failure() -> None:
    kept = []

    def fail() -> None:
        with observed(True) as bars:
            assert isinstance(bars, ProgressBars)
            bars.bar = bars._bar(10, "")
            kept.append(bars)
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fail()
    assert kept[0].bar is None
