"""Compare measurements with images of known noise, compression and blur, and check the advice."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin2sr_ops.advise import Measured, Noise, advise
from swin2sr_ops.advise.measure import block_strength, measure
from swin2sr_ops.advise.recommend import recommend
from swin2sr_ops.cli import main


def smooth(side: int = 512, top: float = 2000) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return 200 + top * (0.5 + 0.4 * np.sin(y / 40) * np.cos(x / 33))


def boxes(image: np.ndarray, side: int = 256) -> list[np.ndarray]:
    return [image[y : y + side, x : x + side] for y in range(0, len(image), side) for x in range(0, len(image), side)]


def measured(image: np.ndarray) -> Measured:
    found = measure(boxes(image))
    assert found is not None
    return found


@pytest.mark.parametrize(("gain", "sigma"), [(0.0, 3.0), (0.0, 20.0), (2.0, 0.0), (10.0, 5.0)])
def test_noise_of_a_camera(gain: float, sigma: float, rng: np.random.Generator) -> None:
    """Gain and standard deviation of simulated sensors, with an offset of 100."""
    clean = smooth()
    noisy = rng.normal(clean, np.sqrt(gain * (clean - 100) + sigma**2))
    noise = measured(np.rint(noisy).astype("u2")).noise
    assert noise.gain == pytest.approx(gain, rel=0.1, abs=0.05)
    for value in (600.0, 1200.0, 1800.0):
        assert noise.sigma(value) == pytest.approx(np.sqrt(gain * (value - 100) + sigma**2), rel=0.06)


def test_clean_images_have_no_noise() -> None:
    assert measured(np.rint(smooth()).astype("u2")).sigma255 < 0.05
    assert measured(smooth().astype("f4")).sigma255 < 0.05


def test_noise_that_is_cut_off_at_black_and_white(rng: np.random.Generator) -> None:
    noisy = np.clip(np.rint(smooth(top=200) - 200 + rng.normal(0, 50, (512, 512))), 0, 255).astype("u1")
    assert 40 < measured(noisy).sigma255 < 55


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).astype("f8")


def test_jpeg_blocks(rng: np.random.Generator) -> None:
    """Blocks are found for any origin of their grid, but not in a plain image or in edges with another period."""
    grain = np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, (512, 512))) / (1 + 40 * np.abs(np.fft.fftfreq(512)) ** 2)).real
    texture = np.clip(smooth(top=200) - 200 + 6 * grain, 0, 255).astype("u1")
    strong, weak = (block_strength(boxes(jpeg(texture, quality))) for quality in (10, 40))
    assert strong > weak > 0.1
    assert block_strength(boxes(jpeg(texture, 10)[3:, 5:][:504, :504])) > 0.1
    assert block_strength(boxes(texture.astype("f8"))) == 0
    stripes = np.where(np.arange(512) // 10 % 2, 200.0, 50.0) + np.zeros((512, 1))
    assert block_strength(boxes(stripes)) == 0


def test_saturation_and_holes(rng: np.random.Generator) -> None:
    image = np.rint(smooth() + rng.normal(0, 5, (512, 512))).astype("f4")
    image[:40, :40] = 4095
    found = measured(image)
    assert found.saturated == pytest.approx(1600 / 512**2, rel=0.01)
    image[300:, 300:] = np.nan
    assert measured(image).high == 4095
    assert measure([np.full((64, 64), 3, "u1")]) is None
    assert measure([np.full((64, 64), np.nan)]) is None


def like(**changes: float) -> Measured:
    values: dict[str, float] = {
        "low": 0, "high": 1000, "inner_low": 5, "inner_high": 990, "sigma255": 1, "photons": float("inf"),
        "blocks": 0, "cutoff": 0.4, "saturated": 0, "black": 0,
    }  # fmt: skip
    return Measured(noise=Noise(changes.pop("gain", 0.0), 1.0), **(values | changes))


@pytest.mark.parametrize(
    ("changes", "model", "reason"),
    [
        ({}, "small-x2-gray", "little noise"),
        ({"sigma255": 25.0, "cutoff": 0.1}, "small-x1-gray", "noise is 25 of 255"),
        ({"sigma255": 20.0, "gain": 1.0, "photons": 90.0}, "small-x1-gray", "mostly photon noise"),
        ({"blocks": 0.6}, "small-x1-gray", "JPEG blocks"),
        ({"cutoff": 0.1}, None, "super-resolution shows nothing new"),
        ({"sigma255": 90.0, "cutoff": 0.0}, None, "exceeds the training of these models"),
        ({"sigma255": 30.0, "gain": 9.0, "photons": 3.0}, None, "exceeds the training of these models"),
        ({"sigma255": 7.0, "cutoff": 0.45}, "small-x2-gray", "may be fine texture"),
    ],
)
def test_advice(changes: dict[str, float], model: str | None, reason: str) -> None:
    found = recommend(like(**changes), colour=False)
    assert found.model == model
    assert reason in " ".join(found.reasons)
    assert (model is None) == (found.trained == "")


def test_every_model_that_is_named_exists() -> None:
    from swin2sr_ops import list_models

    known = {spec.name for spec in list_models()}
    for colour in (False, True):
        for changes in ({}, {"sigma255": 25.0, "cutoff": 0.1}, {"blocks": 0.5}):
            found = recommend(like(**changes), colour=colour)
            assert {found.model, *found.others} <= known
            assert found.model is not None
            assert found.model.endswith("rgb" if colour else "gray")
    assert "swinir-denoise-gray-25" in recommend(like(sigma255=24.0, cutoff=0.1), colour=False).others


def test_a_few_bright_pixels_do_not_decide_the_range() -> None:
    found = recommend(like(inner_high=200.0), colour=False)
    assert found.options == {"--range": "p0.1,p99.9"}
    assert "take up" in found.notes[0]


def test_files(tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    """Channels have names and the worst one decides; nodata and constant images; exit status and JSON."""
    stack = np.stack([smooth(300), smooth(300) + rng.normal(0, 150, (300, 300))]).clip(0).astype("u2")
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, stack, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}})
    found = advise(path)
    assert list(found.channels) == ["DAPI", "GFP"]
    assert found.advice.model == "small-x1-gray"
    assert main(["advise", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["advice"]["model"] == "small-x1-gray"
    assert told["channels"]["GFP"]["sigma255"] > 10
    tifffile.imwrite(tmp_path / "flat.tif", np.full((64, 64), 9, "u1"))
    assert main(["advise", str(tmp_path / "flat.tif")]) == 1
    assert "there is nothing to restore" in capsys.readouterr().out
    assert main(["advise", "sample:cells"]) == 0
    assert "model: small-x2-gray" in capsys.readouterr().out
    assert main(["advise", str(tmp_path / "none.tif")]) == 2


def test_opacity_and_nodata_of_a_raster(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("rasterio", reason="GeoTIFF needs rasterio")
    from tests.run.test_geo import write

    pixels = rng.normal(smooth(300), 10, (4, 300, 300)).astype("u2")
    pixels[:, :150] = 0
    path = write(tmp_path / "in.tif", pixels, "red green blue alpha", nodata=0)
    found = advise(path)
    assert len(found.channels) == 3
    assert all(one.low > 0 for one in found.channels.values())
    assert found.advice.model == "small-x2-rgb"


def test_detail_that_channels_share_is_not_noise(tmp_path: Path, rng: np.random.Generator) -> None:
    """Bands of a subsampled scene share their grain, while noise differs between bands."""
    scene = rng.normal(0, 400, (256, 256))
    bands = np.stack([10_000 + k * scene + rng.normal(0, 40, scene.shape) for k in (1.0, 0.8, 1.2)])
    tifffile.imwrite(tmp_path / "bands.ome.tif", np.rint(bands).astype("u2"), metadata={"axes": "CYX"})
    noisy = np.rint(10_000 + rng.normal(0, 400, bands.shape)).astype("u2")
    tifffile.imwrite(tmp_path / "noisy.ome.tif", noisy, metadata={"axes": "CYX"})
    shared, own = (advise(tmp_path / f"{name}.ome.tif") for name in ("bands", "noisy"))
    assert all(one.shared > 0.9 and one.cutoff == 0.5 for one in shared.channels.values())
    assert all(one.shared == 0 for one in own.channels.values())
    sigma = [max(one.sigma255 for one in found.channels.values()) for found in (shared, own)]
    assert sigma[0] < 0.3 * sigma[1]
    assert shared.advice.model == "small-x2-gray"
    assert own.advice.model != "small-x2-gray"
    assert "is another channel's, too, and is not noise" in str(shared)
    copies = np.stack([noisy[0]] * 2)
    tifffile.imwrite(tmp_path / "copies.ome.tif", copies, metadata={"axes": "CYX"})
    assert all(one.shared == 0 for one in advise(tmp_path / "copies.ome.tif").channels.values())


@pytest.mark.parametrize("shape", [(15, 40), (40, 15), (2, 5)])
@pytest.mark.parametrize("axes", ["CYX", "YXS"])
def test_channels_smaller_than_a_square_have_advice(
    shape: tuple[int, int], axes: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """No square of 16 px fits: nothing is known of noise that channels share, and the model is that of their values."""
    image = rng.integers(0, 4000, (3, *shape)).astype("u2")
    image = np.moveaxis(image, 0, -1) if axes == "YXS" else image
    kind = "rgb" if axes == "YXS" else "minisblack"
    tifffile.imwrite(tmp_path / "small.ome.tif", image, metadata={"axes": axes}, photometric=kind)
    found = advise(tmp_path / "small.ome.tif")
    assert all(one.shared == 0 for one in found.channels.values())
    assert found.advice.reasons


def test_models_have_their_words_of_quality() -> None:
    """``--model good`` and ``--model fast`` name the same models."""
    text = str(advise("sample:cells"))
    assert "model: small-x2-gray (good)" in text
    assert "or nano-x2-gray (fast): a fifth of the time" in text
    assert "or tiny-x2-gray: half the time" in text
