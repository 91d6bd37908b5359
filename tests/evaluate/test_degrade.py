"""Inputs equal those of the official scripts byte for byte: compare with cv2, NumPy and MATLAB's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate import Degradation, imresize
from swin2sr_ops.evaluate.degrade import Levels, gray, jpeg, luma8

EIGHT = Levels(0.0, 255.0)


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    """Return 43 x 58 px: sides that are not multiples of a JPEG block."""
    y, x = np.mgrid[:43, :58]
    smooth = np.stack([127 + 90 * np.sin(y / 4 + c) * np.cos(x / (5 + c)) for c in range(3)], -1)
    return (smooth + rng.normal(0, 12, smooth.shape)).clip(0, 255).astype("u1")


@pytest.mark.parametrize("quality", [1, 10, 40, 75, 90, 100])
def test_jpeg_is_that_of_opencv(picture: np.ndarray, quality: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is what the official scripts use")
    options = [int(cv2.IMWRITE_JPEG_QUALITY), quality]
    bgr = np.ascontiguousarray(picture[..., ::-1])
    expected = cv2.imdecode(cv2.imencode(".jpg", bgr, options)[1], 1)[..., ::-1]
    np.testing.assert_array_equal(jpeg(picture, quality), expected)
    one = np.ascontiguousarray(picture[..., 1])
    expected = cv2.imdecode(cv2.imencode(".jpg", one, options)[1], 0)
    given = Degradation.parse(f"jpeg:{quality}").apply(one[..., None], 1, EIGHT)
    np.testing.assert_array_equal(given.pixels[..., 0], expected)
    assert not given.unit


@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_noise_is_that_of_the_official_script(picture: np.ndarray, sigma: int) -> None:
    for shape in ((43, 58, 3), (43, 58, 1)):
        image = picture[..., : shape[2]]
        bgr = image[..., ::-1].astype(np.float32) / 255.0
        np.random.seed(seed=0)
        noisy = bgr + np.random.normal(0, sigma / 255.0, bgr.shape)
        expected = noisy[..., ::-1].astype(np.float32)
        for _ in range(2):  # each image restarts the generator
            given = Degradation.parse(f"noise:{sigma}").apply(image, 1, EIGHT)
            np.testing.assert_array_equal(given.pixels, expected)
            assert given.unit
            assert given.pixels.dtype == np.float32


def test_gray_is_that_of_opencv_and_luma_that_of_the_script(picture: np.ndarray) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is what the official scripts use")
    bgr = np.ascontiguousarray(picture[..., ::-1])
    # OpenCV's own choice among its whole-number formulas depends on the processor: one level at most.
    expected = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(int)
    assert np.abs(gray(picture)[..., 0] - expected).max() <= 1
    assert (gray(picture)[..., 0] != expected).mean() < 0.01
    y = (np.dot(bgr.astype(np.float32) / 255.0, [24.966, 128.553, 65.481]) + 16.0).round().astype("u1")
    np.testing.assert_array_equal(luma8(picture)[..., 0], y)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_matlabs(shared: Path, scale: int) -> None:
    """No value differs from the usual reduced Set5, which MATLAB made."""
    folder = shared / "data" / "eval" / "academic" / "Set5"
    paths = sorted((folder / "HR").glob("*.png"))
    assert len(paths) == 5
    for path in paths:
        expected = np.asarray(Image.open(folder / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png"))
        truth = np.asarray(Image.open(path))
        truth = truth[: truth.shape[0] // scale * scale, : truth.shape[1] // scale * scale]
        given = Degradation.parse("bicubic").apply(truth, scale, EIGHT)
        np.testing.assert_array_equal(given.pixels, expected)


def test_bicubic_against_torch(picture: np.ndarray) -> None:
    """Compare the same kernel away from the border; torch does not round between passes."""
    import torch

    x = picture[:42].astype(np.float64)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(x).permute(2, 0, 1)[None], size=(21, 29), mode="bicubic", antialias=True, align_corners=False
    )[0].permute(1, 2, 0)
    np.testing.assert_allclose(imresize(x, (21, 29))[4:-4, 4:-4], expected[4:-4, 4:-4], atol=1e-3)
    assert np.abs(imresize(picture[:42], (21, 29)).astype(int) - imresize(x, (21, 29))).max() < 1.5
    assert imresize(np.full((8, 8), 65535, "u2"), (24, 24)).min() == 65535  # enlarged: no overshoot of constant parts


def test_steps_follow_one_another(picture: np.ndarray) -> None:
    truth = picture[:42, :, :]
    given = Degradation.parse("bicubic+jpeg:10").apply(truth, 2, EIGHT)
    np.testing.assert_array_equal(given.pixels, jpeg(imresize(truth, (21, 29)), 10))
    noisy = Degradation.parse("noise:10+jpeg:50").apply(truth, 1, EIGHT)
    rounded = (Degradation.parse("noise:10").apply(truth, 1, EIGHT).pixels.clip(0, 1) * 255).round().astype("u1")
    np.testing.assert_array_equal(noisy.pixels, jpeg(rounded, 50))
    assert not noisy.unit


def test_poisson_noise_has_its_variance() -> None:
    flat = np.full((200, 200, 1), 1000, "u2")
    given = Degradation.parse("poisson:40").apply(flat, 1, Levels(0, 2000))
    assert given.pixels.mean() == pytest.approx(0.5, abs=0.005)
    assert given.pixels.var() == pytest.approx(0.5 / 40, rel=0.05)


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("blur", 1),
        ("jpeg", 1),
        ("jpeg:0", 1),
        ("jpeg:10.5", 1),
        ("noise:x", 1),
        ("bicubic:2", 2),
        ("", 1),
        ("noise:-1", 1),
    ],
)
def test_texts_that_are_not_understood(text: str, scale: int) -> None:
    with pytest.raises(RequestError, match=r"is not valid: give one of bicubic, jpeg:QUALITY"):
        Degradation.parse(text)


def test_degradations_that_do_not_fit_the_scale() -> None:
    with pytest.raises(RequestError, match="must contain bicubic"):
        Degradation.parse("jpeg:10").check(2)
    with pytest.raises(RequestError, match="cannot contain bicubic"):
        Degradation.parse("bicubic+noise:5").check(1)
    with pytest.raises(RequestError, match="JPEG stores 8 bits"):
        Degradation.parse("jpeg:10").apply(np.zeros((8, 8, 1), "u2"), 1, Levels(0, 100))
    assert str(Degradation.parse("gray-Bicubic+noise:2.5")) == "gray-bicubic+noise:2.5"
