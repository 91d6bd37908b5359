"""SQUIRREL finds the applied blur and brightness, and an artefact stands out in the map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin2sr_ops.cli import main
from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate import squirrel


def fine(side: int = 96, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 100 + 900 * (rng.random((side, side)) > 0.97) * rng.random((side, side))


def seen(image: np.ndarray, sigma: float, scale: int) -> np.ndarray:
    """Blur the image by ``sigma`` fine pixels and sample it on ``scale`` times larger pixels."""
    frequency = np.hypot(np.fft.fftfreq(len(image))[:, None], np.fft.fftfreq(len(image))[None])
    blurred = np.fft.ifft2(np.fft.fft2(image) * np.exp(-2 * (np.pi * sigma * frequency) ** 2)).real
    small = len(image) // scale
    return blurred.reshape(small, scale, small, scale).mean((1, 3))


@pytest.mark.parametrize(("sigma", "scale"), [(2.0, 2), (4.0, 2), (4.5, 3)])
def test_blur_and_brightness_are_found(sigma: float, scale: int) -> None:
    image = np.pad(fine(), 24, constant_values=100)
    found = squirrel(image, 3 * seen(image, sigma, scale) + 50, scale)
    assert found.sigma == pytest.approx(sigma / scale, rel=0.05)
    assert (found.gain, found.offset) == (pytest.approx(3, rel=0.02), pytest.approx(50, abs=5))
    assert found.rsp > 0.999
    assert found.rse < 1


def test_an_artefact_stands_out() -> None:
    image = np.pad(fine(), 24, constant_values=100)
    given = seen(image, 3.0, 2)
    clean, invented = squirrel(image, given, 2), image.copy()
    invented[60:66, 70:76] += 800
    found = squirrel(invented, given, 2)
    assert found.rse > 3 * clean.rse
    assert found.rsp < clean.rsp
    assert found.error[30:33, 35:38].mean() > 5 * np.median(found.error)


def test_figures_of_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(tmp_path / "cells.tif", fine(96).astype("u2"))
    given = ["evaluate", "--model", "nano-x2-gray", "--data", str(tmp_path), "--scale", "2", "--quiet", "--json"]
    assert main([*given, "--metrics", "rse,rsp,decorrelation"]) == 0
    found = json.loads(capsys.readouterr().out)["mean"]
    assert found["rse"] > 0
    assert 0.9 < found["rsp"] <= 1
    assert 0 <= found["decorrelation"] <= 0.5


def test_images_that_are_refused() -> None:
    with pytest.raises(RequestError, match="does not belong to an input"):
        squirrel(np.zeros((8, 8)), np.zeros((3, 4)), 2)
    with pytest.raises(RequestError, match="one value only"):
        squirrel(fine(8), np.zeros((4, 4)), 2)
