"""Blocks in OpenVINO or in our kernels: equal to torch except for the last bits, and independent of tiles."""

from __future__ import annotations

import importlib.metadata
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers, sampled_from

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.engine.select import choose_engine
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.errors import RequestError
from swin2sr_ops.spec import UPSAMPLERS, ModelSpec, Reach
from tests.conftest import NATIVE, random_net, small_spec, write_model
from tests.engine.test_tile_engine import run

HEADS = [(u, s) for u, scales in UPSAMPLERS.items() for s in scales]
OPENVINO = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")

each = pytest.mark.parametrize(
    "kernels", [pytest.param("openvino", marks=OPENVINO), pytest.param("native", marks=NATIVE)]
)


def engines(kernels: str, cache: dict = {}, **changes: object) -> tuple[TileEngine, TileEngine]:  # noqa: B006
    """The same network, run by torch and by other kernels."""
    key = kernels + repr(changes)
    if key not in cache:
        net = random_net(small_spec(**({"depths": (2,), "heads": (2,)} | changes)))
        cache[key] = TileEngine(net), TileEngine(net, kernels=kernels)
    return cache[key]


@each
@settings(max_examples=40)
@given(
    head=sampled_from([("pixelshuffledirect", 2), ("", 1)]),
    architecture=sampled_from(["swin2sr", "swinir"]),
    window=sampled_from([7, 8]),
    height=integers(1, 90),
    width=integers(1, 90),
    rows=integers(9, 64),
    columns=integers(9, 64),
    streamed=booleans(),
)
def test_tiled_equals_whole_equals_torch(
    kernels: str,
    head: tuple[str, int],
    architecture: str,
    window: int,
    height: int,
    width: int,
    rows: int,
    columns: int,
    streamed: bool,
) -> None:
    plain, compiled = engines(kernels, architecture=architecture, window=window, upsampler=head[0], scale=head[1])
    image = torch.rand(1, height, width, generator=torch.Generator().manual_seed(height))
    whole = run(compiled, image, (height, width))
    assert torch.equal(run(compiled, image, (rows, columns), streamed=streamed), whole)
    torch.testing.assert_close(whole, run(plain, image, (height, width)), rtol=0, atol=2e-5)


@each
@pytest.mark.parametrize(("upsampler", "scale"), HEADS)
def test_all_heads(kernels: str, upsampler: str, scale: int) -> None:
    plain, compiled = engines(kernels, upsampler=upsampler, scale=scale, channels=3)
    image = torch.rand(3, 45, 38)
    torch.testing.assert_close(run(compiled, image, (45, 38)), run(plain, image, (45, 38)), rtol=0, atol=2e-5)


@each
@pytest.mark.parametrize(
    ("dim", "heads", "ratio", "bias", "resi"),
    [
        (60, 6, 2.0, True, "1conv"),
        (48, 3, 4.0, True, "1conv"),
        (28, 2, 1.5, False, "1conv"),
        (20, 5, 2.0, True, "3conv"),
    ],
)
def test_other_widths(kernels: str, dim: int, heads: int, ratio: float, bias: bool, resi: str) -> None:
    """Channels, heads and hidden features that are not multiples of vectors."""
    for architecture in ("swin2sr", "swinir"):
        plain, compiled = engines(
            kernels, architecture=architecture, dim=dim, heads=(heads, heads), depths=(2, 1), mlp_ratio=ratio,
            qkv_bias=bias, resi_connection=resi,
        )  # fmt: skip
        image = torch.rand(1, 43, 50)
        whole = run(compiled, image, (43, 50))
        torch.testing.assert_close(whole, run(plain, image, (43, 50)), rtol=0, atol=2e-5)
        assert torch.equal(run(compiled, image, (17, 29)), whole)


@each
@pytest.mark.parametrize("window", [4, 5, 12])
def test_other_windows(kernels: str, window: int) -> None:
    plain, compiled = engines(kernels, window=window)
    image = torch.rand(1, 43, 50)
    whole = run(compiled, image, (43, 50))
    torch.testing.assert_close(whole, run(plain, image, (43, 50)), rtol=0, atol=2e-5)
    assert torch.equal(run(compiled, image, (26, 31)), whole)


@each
def test_nan_stays_nan(kernels: str) -> None:
    """Damaged weights are seen in the result; a clamp that swallows NaN would hide them."""
    net = random_net(small_spec(depths=(1,), heads=(2,)))
    with torch.no_grad():
        net.layers[0].residual_group.blocks[0].attn.qkv.weight[0] = float("nan")
    assert run(TileEngine(net, kernels=kernels), torch.rand(1, 16, 16), (16, 16)).isnan().all()


@each
def test_threads_do_not_matter(kernels: str) -> None:
    _, compiled = engines(kernels)
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


@each
def test_files_and_arrays(kernels: str, gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """A file and an array give the same pixels; the report names the engine; torch differs by a rounding at most."""
    pixels = rng.integers(0, 4000, (70, 60), dtype="u2")
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    out = tmp_path / "a_x2.tif"
    report = swin2sr_ops.restore_image(tmp_path / "a.tif", out, model=gray_model, engine=kernels)
    lazy = swin2sr_ops.restore(pixels, model=gray_model, engine=kernels, tile=32)
    np.testing.assert_array_equal(tifffile.imread(out), lazy.compute())
    torchs = swin2sr_ops.restore(pixels, model=gray_model, engine="torch").compute()
    assert np.abs(torchs.astype(int) - lazy.compute().astype(int)).max() <= 1
    assert report.settings["engine"] == choose_engine(kernels, torch.device("cpu"), torch.float32, gray_model)
    assert report.settings["engine"].startswith(f"{kernels} ")
    again = swin2sr_ops.restore_image(tmp_path / "a.tif", tmp_path / "b.tif", model=gray_model, engine="torch")
    assert again.settings["engine"] == "torch"
    assert again.fingerprint != report.fingerprint


@each
def test_the_command_line(
    kernels: str, tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "m.safetensors")
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 4000, (40, 30), dtype="u2"))
    words = ["restore", "a.tif", "b.tif", "--model", "m.safetensors"]
    words = [str(tmp_path / word) if "." in word else word for word in words]
    assert main([*words, "--engine", kernels, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["engine"].startswith(f"{kernels} ")
    assert main([*words, "--engine", "tensorrt"]) == 2
    assert "is not one of auto, torch, native, openvino, triton." in capsys.readouterr().err


@each
def test_requests_that_do_not_fit_are_refused(kernels: str, gray_model: ModelSpec) -> None:
    with pytest.raises(RequestError, match=r"engine='tensorrt' is not one of auto, torch, native, openvino, triton\."):
        Restorer(gray_model, engine="tensorrt")
    with pytest.raises(RequestError, match="computes in float32, not bfloat16"):
        Restorer(gray_model, engine=kernels, precision="bfloat16")
    foreign = ModelSpec(name="theirs", architecture="dncnn", scale=1, reach=Reach(halo=16))
    with pytest.raises(RequestError, match="this model is another network"):
        Restorer(foreign, engine=kernels)
    with pytest.raises(RequestError, match="runs on the CPU, not on cuda:0: give device='cpu'"):
        choose_engine(kernels, torch.device("cuda:0"), torch.float32, gray_model)


def test_without_openvino(gray_model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin2sr_ops.engine.select.version", _not_installed)
    with pytest.raises(RequestError, match=r"not installed: pip install 'swin2sr-ops\[openvino\]'"):
        swin2sr_ops.restore(np.zeros((20, 20)), model=gray_model, engine="openvino")


def _not_installed(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)
