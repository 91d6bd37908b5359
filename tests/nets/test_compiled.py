"""Blocks that OpenVINO runs: torch's numbers but for the last bits, and as independent of the tiles."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.errors import RequestError
from swin2sr_ops.nets.engine import TileEngine
from swin2sr_ops.restorer import Restorer
from swin2sr_ops.spec import UPSAMPLERS, ModelSpec, Reach
from tests.conftest import random_net, small_spec, write_model
from tests.nets.test_engine import run

pytest.importorskip("openvino", reason="OpenVINO is not installed")

HEADS = [(u, s) for u, scales in UPSAMPLERS.items() for s in scales]


def engines(cache: dict = {}, **changes: object) -> tuple[TileEngine, TileEngine]:  # noqa: B006
    """The same network, run by torch and by OpenVINO."""
    key = repr(changes)
    if key not in cache:
        net = random_net(small_spec(**({"depths": (2,), "heads": (2,)} | changes)))
        cache[key] = TileEngine(net), TileEngine(net, compiled=True)
    return cache[key]


@settings(max_examples=40)
@given(
    head=sampled_from([("pixelshuffledirect", 2), ("", 1)]),
    architecture=sampled_from(["swin2sr", "swinir"]),
    window=sampled_from([7, 8]),
    height=integers(1, 90),
    width=integers(1, 90),
    rows=integers(9, 64),
    columns=integers(9, 64),
)
def test_tiled_equals_whole_equals_torch(
    head: tuple[str, int], architecture: str, window: int, height: int, width: int, rows: int, columns: int
) -> None:
    plain, compiled = engines(architecture=architecture, window=window, upsampler=head[0], scale=head[1])
    image = torch.rand(1, height, width, generator=torch.Generator().manual_seed(height))
    whole = run(compiled, image, (height, width))
    assert torch.equal(run(compiled, image, (rows, columns)), whole)
    torch.testing.assert_close(whole, run(plain, image, (height, width)), rtol=0, atol=2e-5)


@pytest.mark.parametrize(("upsampler", "scale"), HEADS)
def test_all_heads(upsampler: str, scale: int) -> None:
    plain, compiled = engines(upsampler=upsampler, scale=scale, channels=3)
    image = torch.rand(3, 45, 38)
    torch.testing.assert_close(run(compiled, image, (45, 38)), run(plain, image, (45, 38)), rtol=0, atol=2e-5)


def test_threads_do_not_matter() -> None:
    _, compiled = engines()
    image = torch.rand(1, 90, 70)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(compiled, image, (40, 33)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], r) for r in results[1:])


def test_files_and_arrays(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """Same pixels from a file and from an array; the report says what ran; torch's differ by a rounding at most."""
    pixels = rng.integers(0, 4000, (70, 60), dtype="u2")
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    out = tmp_path / "a_x2.tif"
    report = swin2sr_ops.restore_image(tmp_path / "a.tif", out, model=gray_model, engine="openvino")
    lazy = swin2sr_ops.restore(pixels, model=gray_model, engine="openvino", tile=32)
    np.testing.assert_array_equal(tifffile.imread(out), lazy.compute())
    torchs = swin2sr_ops.restore(pixels, model=gray_model).compute()
    assert np.abs(torchs.astype(int) - lazy.compute().astype(int)).max() <= 1
    assert report.settings["engine"] == f"openvino {importlib.metadata.version('openvino')}"
    again = swin2sr_ops.restore_image(tmp_path / "a.tif", tmp_path / "b.tif", model=gray_model)
    assert again.settings["engine"] == "torch"
    assert again.fingerprint != report.fingerprint


def test_the_command_line(tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "m.safetensors")
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 4000, (40, 30), dtype="u2"))
    words = ["restore", "a.tif", "b.tif", "--model", "m.safetensors"]
    words = [str(tmp_path / word) if "." in word else word for word in words]
    assert main([*words, "--engine", "openvino", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["engine"].startswith("openvino 2")
    assert main([*words, "--engine", "tensorrt"]) == 2
    assert "is not one of auto, torch, openvino." in capsys.readouterr().err


def test_what_does_not_fit_is_refused(gray_model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match=r"engine='tensorrt' is not one of auto, torch, openvino\."):
        Restorer(gray_model, engine="tensorrt")
    with pytest.raises(RequestError, match="computes in float32, not bfloat16"):
        Restorer(gray_model, engine="openvino", precision="bfloat16")
    foreign = ModelSpec(name="theirs", architecture="dncnn", scale=1, reach=Reach(halo=16))
    with pytest.raises(RequestError, match="this model is another network"):
        Restorer(foreign, engine="openvino")
    monkeypatch.setattr("swin2sr_ops.devices.version", _not_installed)
    with pytest.raises(RequestError, match=r"not installed: pip install 'swin2sr-ops\[openvino\]'"):
        swin2sr_ops.restore(np.zeros((20, 20)), model=gray_model, engine="openvino")


def test_it_runs_on_the_cpu_only() -> None:
    from swin2sr_ops.devices import choose_engine

    with pytest.raises(RequestError, match="runs on the CPU, not on cuda:0: give device='cpu'"):
        choose_engine("openvino", torch.device("cuda:0"))


def _not_installed(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)
