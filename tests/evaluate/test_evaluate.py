"""Whole evaluations: the protocol of the official scripts, folders of all kinds, tables."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from swin2sr_ops.errors import Swin2SROpsError
from swin2sr_ops.evaluate import Evaluation, Measured, Scores, evaluate, imresize, psnr, ssim
from swin2sr_ops.hooks.models import load_model
from swin2sr_ops.spec import ModelSpec
from tests.conftest import write_model


def picture(seed: int, shape: tuple[int, ...] = (48, 64, 3)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    base = 127 + 90 * np.sin(y / (4 + seed)) * np.cos(x / 6)
    base = base if len(shape) == 2 else base[..., None] + 20 * np.arange(3)
    return (base + rng.normal(0, 5, shape)).clip(0, 255).astype("u1")


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for i in range(2):
        save(tmp_path / "clean" / f"{i}.png", picture(i))
    return tmp_path / "clean"


@pytest.fixture(scope="session")
def jpeg_model(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """x1, one channel, window 7."""
    path = tmp_path_factory.mktemp("models") / "jpeg.safetensors"
    return write_model(path, scale=1, upsampler="", window=7, value_range=255.0)


def official(spec: ModelSpec, unit: np.ndarray) -> np.ndarray:
    """Restore ``(H, W, C)`` in 0..1 like the official script: pad by flipped copies to one window more, 8 bits."""
    net, w, s = load_model(spec), spec.window, spec.scale
    x = torch.from_numpy(unit.transpose(2, 0, 1).copy()).float()[None]
    h, v = x.shape[2:]
    x = torch.cat([x, torch.flip(x, [2])], 2)[:, :, : (h // w + 1) * w, :]
    x = torch.cat([x, torch.flip(x, [3])], 3)[:, :, :, : (v // w + 1) * w]
    with torch.inference_mode():
        y = net(x)[0, :, : h * s, : v * s].clamp(0, 1)
    return (y.permute(1, 2, 0).numpy() * 255.0).round().astype("u1")


def near(a: np.ndarray, b: np.ndarray) -> None:
    """Check that arrays are equal, except for a value on a rounding boundary."""
    assert np.abs(a.astype(int) - b).max() <= 1
    assert (a != b).mean() < 1e-3


@pytest.mark.parametrize("side", [48, 42])  # inputs that are a multiple of the window, and not
def test_super_resolution_is_the_official_protocol(side: int, rgb_model: ModelSpec, tmp_path: Path) -> None:
    truth = picture(3, (side, side + 2, 3))
    save(tmp_path / "set" / "a.png", truth)
    seen: list[Measured] = []
    found = evaluate(rgb_model, tmp_path / "set", scale=2, on_image=seen.append)
    small = imresize(truth, (side // 2, side // 2 + 1))
    np.testing.assert_array_equal(seen[0].given, small)
    expected = official(rgb_model, small / 255.0)
    near(seen[0].outputs["small"], expected)
    row = found.models[0].images["a"]
    assert row["psnr"] == pytest.approx(psnr(expected, truth, border=2), abs=0.02)
    assert row["ssim_y"] == pytest.approx(ssim(*(_y(x) for x in (expected, truth)), border=2), abs=1e-3)
    assert found.protocol["border"] == 2
    # The padding of ordinary runs differs near the border, and nowhere else.
    other: list[Measured] = []
    evaluate(rgb_model, tmp_path / "set", scale=2, padding="model", on_image=other.append)
    assert (other[0].outputs["small"] != seen[0].outputs["small"]).any()


def _y(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([65.481, 128.553, 24.966]) / 255 + 16


def test_jpeg_is_the_official_protocol(jpeg_model: ModelSpec, clean: Path) -> None:
    """Colour is converted to Y and compressed as gray; no border is left out; PSNR-B."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV is what the official scripts use")
    seen: list[Measured] = []
    found = evaluate(jpeg_model, clean, scale=1, degrade="jpeg:10", on_image=seen.append)
    y = _y(picture(0)).round().astype("u1")
    lossy = cv2.imdecode(cv2.imencode(".jpg", y, [int(cv2.IMWRITE_JPEG_QUALITY), 10])[1], 0)
    np.testing.assert_array_equal(seen[0].given[..., 0], lossy)
    np.testing.assert_array_equal(seen[0].truth[..., 0], y)
    expected = official(jpeg_model, lossy[..., None] / np.float32(255))
    near(seen[0].outputs["small"], expected)
    row = found.models[0].images["0"]
    assert row["psnr"] == pytest.approx(psnr(expected, y[..., None]), abs=0.02)
    assert row["psnr_b"] < row["psnr"]
    assert found.shown == ("psnr", "ssim", "psnr_b")
    assert found.protocol["gray"] is True
    assert found.protocol["border"] == 0


def test_noise_is_the_official_protocol(clean: Path, tmp_path: Path) -> None:
    spec = write_model(tmp_path / "dn.safetensors", scale=1, upsampler="", channels=3)
    seen: list[Measured] = []
    evaluate(spec, clean, scale=1, degrade="noise:25", on_image=seen.append)
    bgr = picture(0)[..., ::-1].astype(np.float32) / 255.0
    np.random.seed(seed=0)
    noisy = (bgr + np.random.normal(0, 25 / 255.0, bgr.shape))[..., ::-1]
    near(seen[0].outputs["small"], official(spec, noisy))
    near(seen[0].outputs["input"], (noisy.clip(0, 1) * 255).round())


@pytest.mark.parametrize("layout", ["official", "folders", "names", "inputs"])
def test_pairs_are_found(layout: str, gray_model: ModelSpec, tmp_path: Path) -> None:
    data, options = tmp_path / "set", {}
    for i in range(3):
        truth = picture(i, (48, 52))
        small = imresize(truth, (24, 26)) // 2 + i  # not a degradation of the truth
        names = {
            "official": (f"HR/{i}.png", f"LR_bicubic/X2/{i}x2.png"),
            "folders": (f"clean/{i}.png", f"noisy/{i}.png"),
            "names": (f"{i}_gt.png", f"{i}_noisy.png"),
            "inputs": (f"{i}.png", f"../poor/{i}.png"),
        }[layout]
        for name, pixels in zip(names, (truth, small), strict=True):
            save(data / name, pixels)
    if layout == "inputs":
        options = {"inputs": tmp_path / "poor"}
    seen: list[Measured] = []
    found = evaluate(gray_model, data, scale=2, on_image=seen.append, **options)
    assert list(found.models[0].images) == ["0", "1", "2"]
    assert found.protocol["degrade"] == "inputs as given"
    for i, measured in enumerate(seen):
        np.testing.assert_array_equal(measured.given[..., 0], imresize(picture(i, (48, 52)), (24, 26)) // 2 + i)
        np.testing.assert_array_equal(measured.truth[..., 0], picture(i, (48, 52)))
    if layout == "official":  # with degrade, existing inputs are not used
        evaluate(gray_model, data, scale=2, degrade="bicubic", on_image=seen.append)
        np.testing.assert_array_equal(seen[3].given[..., 0], imresize(picture(0, (48, 52)), (24, 26)))


def test_sixteen_bits_have_a_stated_range(gray_model: ModelSpec, tmp_path: Path) -> None:
    truth = picture(1, (48, 52)).astype("u2") * 13 + 400
    (tmp_path / "set").mkdir()
    tifffile.imwrite(tmp_path / "set" / "cells.tif", np.stack([truth, truth[::-1]]), metadata={"axes": "ZYX"})
    metrics = ("psnr", "si_psnr", "frc", "fidelity")
    seen: list[Measured] = []
    found = evaluate(gray_model, tmp_path / "set", scale=2, metrics=metrics, baseline=True, on_image=seen.append)
    assert list(found.baseline.images) == ["cells z0", "cells z1"]
    out = seen[0].outputs["small"]
    assert out.dtype == np.uint16
    row = found.models[0].images["cells z0"]
    assert row["psnr"] == pytest.approx(psnr(out[..., 0], truth, peak=float(np.ptp(truth)), border=2))
    assert row["si_psnr"] >= row["psnr"]
    assert 0 <= row["frc"] <= 0.5
    stated = evaluate(gray_model, tmp_path / "set", scale=2, data_range=(0, 4095))
    expected = row["psnr"] + 20 * math.log10(4095 / np.ptp(truth))
    assert stated.models[0].images["cells z0"]["psnr"] == pytest.approx(expected, abs=1e-6)
    assert stated.protocol["data_range"] == "0,4095"


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_fitting_the_brightness_can_only_gain(gray_model: ModelSpec, tmp_path: Path, kind: str) -> None:
    """Both figures have one range, that of the whole truth: a bright pixel in the border counts for both."""
    truth = picture(1, (48, 52)).astype(kind) // 2 + 40
    truth[0, 0] = 255 if kind == "u1" else 60000
    (tmp_path / "set").mkdir()
    tifffile.imwrite(tmp_path / "set" / "a.tif", truth)
    found = evaluate(gray_model, tmp_path / "set", scale=2, metrics=("psnr", "si_psnr"), baseline=True)
    for scores in (*found.models, found.baseline):
        row = scores.images["a"]
        assert row["si_psnr"] >= row["psnr"]


def test_inputs_without_a_truth(gray_model: ModelSpec, tmp_path: Path) -> None:
    save(tmp_path / "set" / "a.png", picture(1, (24, 26)))
    found = evaluate(gray_model, tmp_path / "set", scale=2, truth=False, baseline=True)
    assert set(found.models[0].images["a"]) == {"fidelity"}
    assert found.baseline.images["a"]["fidelity"] > 20


def test_one_channel_models_take_colours_apart(gray_model: ModelSpec, clean: Path) -> None:
    apart = evaluate(gray_model, clean, scale=2, limit=1)
    together = evaluate(gray_model, clean, scale=2, limit=1, gray=True)
    assert apart.shown == ("psnr_y", "ssim_y")
    assert together.shown == ("psnr", "ssim")
    row = together.models[0].images["0"]
    assert row["psnr"] == row["psnr_y"] != apart.models[0].images["0"]["psnr_y"]


def test_tables() -> None:
    rows = {"a": {"psnr": 30.0, "ssim": 0.9}, "b": {"psnr": math.inf, "ssim": 1.0, "frc": 0.5}}
    protocol = {
        "data": "Set",
        "scale": 2,
        "degrade": "bicubic",
        "border": 2,
        "padding": "official",
        "data_range": "0,255",
    }
    found = Evaluation(protocol, [Scores("m", rows)], Scores("bicubic", rows), ("psnr", "ssim"))
    assert found.models[0].mean == {"psnr": math.inf, "ssim": pytest.approx(0.95)}
    assert str(found).splitlines()[-3:] == [
        "a      30.00 / 0.9000  30.00 / 0.9000",
        "b      inf / 1.0000    inf / 1.0000",
        "mean   inf / 0.9500    inf / 0.9500",
    ]
    assert found.markdown().splitlines()[2:5] == [
        "| image | bicubic | m |", "| --- | ---: | ---: |", "| a | 30.00 / 0.9000 | 30.00 / 0.9000 |",
    ]  # fmt: skip
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["images"][1] == {"name": "b", "psnr": "inf", "ssim": 1.0, "frc": 0.5}
    assert set(told) >= {"mean", "images", "model", "baseline", "scale"}
    two = Evaluation(protocol, [Scores("m", rows), Scores("n", rows)], None, ("psnr",)).to_dict()
    assert [m["model"] for m in two["models"]] == ["m", "n"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scale": 4}, "has scale=2, but scale=4"),
        ({"scale": 2, "degrade": "jpeg:10"}, "must contain bicubic"),
        ({"scale": 2, "metrics": ["psrn"]}, "no figure called psrn"),
        ({"scale": 2, "padding": "zero"}, "padding='zero' is not valid"),
        ({"scale": 2, "inputs": "nowhere"}, "no folder 'nowhere'"),
        ({"scale": 2, "border": 24}, "0: An image of shape .* no pixel left"),
        ({"scale": 2, "limit": 0}, "limit must be at least 1"),
    ],
)
def test_requests_that_are_refused(options: dict, told: str, rgb_model: ModelSpec, clean: Path) -> None:
    with pytest.raises(Swin2SROpsError, match=told):
        evaluate(rgb_model, clean, **options)


def test_folders_that_are_refused(jpeg_model: ModelSpec, rgb_model: ModelSpec, clean: Path, tmp_path: Path) -> None:
    with pytest.raises(Swin2SROpsError, match="clean images only"):
        evaluate(jpeg_model, clean, scale=1)
    with pytest.raises(Swin2SROpsError, match="no folder"):
        evaluate(rgb_model, tmp_path / "none", scale=2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Swin2SROpsError, match="contains no images"):
        evaluate(rgb_model, tmp_path / "empty", scale=2)
    save(tmp_path / "set" / "HR" / "a.png", picture(0))
    save(tmp_path / "set" / "LR_bicubic" / "X2" / "b.png", picture(0))
    with pytest.raises(Swin2SROpsError, match="no input for 'a'"):
        evaluate(rgb_model, tmp_path / "set", scale=2)
    save(tmp_path / "set" / "LR_bicubic" / "X2" / "a.png", picture(0))
    with pytest.raises(Swin2SROpsError, match=r"a: an input of shape .* does not belong to a truth"):
        evaluate(rgb_model, tmp_path / "set", scale=2)


def test_set5_has_the_published_figures(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """38.17 dB / 0.9613, and each image to the fourth decimal; 15 s of one core."""
    from swin2sr_ops.cli import main

    model, data = (str(shared / "weights" / "swin2sr-lightweight-x2-64"), str(shared / "data/eval/academic/Set5"))
    assert main(["evaluate", "--model", model, "--data", data, "--scale", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert f"{told['mean']['psnr_y']:.2f} / {told['mean']['ssim_y']:.4f}" == "38.17 / 0.9613"
    expected = {"baby": 38.9557, "bird": 43.3231, "butterfly": 35.7618, "head": 36.0934, "woman": 36.6979}
    assert {row["name"]: row["psnr_y"] for row in told["images"]} == pytest.approx(expected, abs=2e-4)


def test_an_empty_name_is_not_the_working_folder() -> None:
    with pytest.raises(Swin2SROpsError, match="data is an empty text"):
        evaluate("nano-x2-gray", "", scale=2)
