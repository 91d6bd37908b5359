"""Compare the metrics with independent implementations and with their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate import frc, frc_cutoff, luma, psnr, psnr_b, si_psnr, ssim
from swin2sr_ops.evaluate.metrics import crop

skimage = pytest.importorskip("skimage.metrics", reason="scikit-image has the same figures")


@pytest.fixture
def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A smooth colour image and a poor copy, 8 bits."""
    y, x = np.mgrid[:61, :74]
    truth = np.stack([127 + 100 * np.sin(y / 5 + c) * np.cos(x / 7) for c in range(3)], -1)
    result = truth + rng.normal(0, 6, truth.shape)
    return result.clip(0, 255).round().astype("u1"), truth.clip(0, 255).round().astype("u1")


def test_psnr_and_ssim_are_those_of_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    result, truth = pair
    assert psnr(result, truth) == pytest.approx(
        skimage.peak_signal_noise_ratio(truth, result, data_range=255), rel=1e-12
    )
    a, b = crop(result, 4), crop(truth, 4)
    assert psnr(result, truth, border=4) == psnr(a, b) != psnr(result, truth)
    # scikit-image filters the whole image and leaves out the outer 5 px, as the official scripts do.
    options = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 255,
        "channel_axis": 2,
    }
    assert ssim(result, truth) == pytest.approx(skimage.structural_similarity(truth, result, **options), rel=1e-9)
    wide = options | {"data_range": 65535}
    a, b = (x.astype("u2") * 257 for x in pair)
    assert ssim(a, b, peak=65535) == pytest.approx(skimage.structural_similarity(b, a, **wide), rel=1e-9)


def test_luma_is_that_of_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    from skimage.color import rgb2ycbcr

    np.testing.assert_allclose(luma(pair[0]), rgb2ycbcr(pair[0])[..., 0], atol=1e-9)
    np.testing.assert_allclose(luma(pair[0] * 257.0, 65535) / 257, luma(pair[0]), atol=1e-9)
    np.testing.assert_array_equal(luma(pair[0][..., 0]), pair[0][..., 0])


def test_psnr_of_equals_is_infinite(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert psnr(pair[0], pair[0]) == math.inf
    assert ssim(pair[0], pair[0]) == 1
    with pytest.raises(RequestError, match="must agree"):
        psnr(pair[0], pair[1][:-1])
    with pytest.raises(RequestError, match="no pixel left"):
        psnr(pair[0], pair[1], border=31)


def _psnr_b_as_published(result: np.ndarray, truth: np.ndarray) -> float:
    """Equations 7 to 13 of Yim and Bovik 2011 as loops over neighbours, for sides that are multiples of 8."""
    height, width = result.shape
    x = result.astype(float)
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for i in range(height):
        for j in range(width - 1):
            sums[(j + 1) % 8 == 0] += (x[i, j] - x[i, j + 1]) ** 2
            counts[(j + 1) % 8 == 0] += 1
    for i in range(height - 1):
        for j in range(width):
            sums[(i + 1) % 8 == 0] += (x[i, j] - x[i + 1, j]) ** 2
            counts[(i + 1) % 8 == 0] += 1
    edge, other = (sums[b] / counts[b] for b in (True, False))
    bef = (edge - other) * np.log2(8) / np.log2(min(height, width)) if edge > other else 0.0
    return 10 * np.log10(255**2 / (np.mean((x - truth) ** 2) + bef))


def test_psnr_b_is_the_published_one(rng: np.random.Generator) -> None:
    truth = (127 + 100 * np.sin(np.mgrid[:48, :40][0] / 9)).astype("u1")
    blocks = truth + np.kron(rng.normal(0, 6, (6, 5)), np.ones((8, 8)))
    noise = truth + rng.normal(0, 6, truth.shape)
    for result in (blocks, noise):
        assert psnr_b(result, truth) == pytest.approx(_psnr_b_as_published(result, truth), abs=1e-9)
    assert psnr_b(blocks, truth) < psnr(blocks, truth) - 1  # visible blocks reduce PSNR-B
    two = np.stack([blocks, noise], -1)
    mean = (psnr_b(blocks, truth) + psnr_b(noise, truth)) / 2
    assert psnr_b(two, np.stack([truth] * 2, -1)) == pytest.approx(mean)


def test_psnr_b_counts_as_the_official_scripts_do() -> None:
    """A width of 20 has boundaries at 7 and 15; the scripts count one less: 20 // 8 - 1."""
    x = np.zeros((16, 20))
    x[:, 8:] = 8.0
    edges = (16 * 8.0**2) / (16 * 1 + 20 * 1)
    bef = edges * np.log2(8) / np.log2(16)
    expected = 10 * np.log10(255**2 / (np.mean(x**2) + bef))
    assert psnr_b(x, np.zeros_like(x)) == pytest.approx(expected, rel=1e-12)


def test_gain_and_offset_do_not_count_in_si_psnr(pair: tuple[np.ndarray, np.ndarray]) -> None:
    result, truth = (x[..., 0].astype(float) for x in pair)
    gain, offset = np.polyfit(result.ravel(), truth.ravel(), 1)
    fitted = gain * result + offset
    expected = skimage.peak_signal_noise_ratio(truth, fitted, data_range=np.ptp(truth))
    for same in (result, 3 * result + 1000, 0.01 * result - 5):
        assert si_psnr(same, truth) == pytest.approx(expected, rel=1e-9)
    assert si_psnr(result, truth, peak=1000) == pytest.approx(expected + 20 * np.log10(1000 / np.ptp(truth)), rel=1e-9)
    assert si_psnr(7 * truth + 3, truth) == math.inf
    with pytest.raises(RequestError, match="one value only"):
        si_psnr(result, np.ones_like(result))


@pytest.mark.parametrize("shape", [(64, 64), (61, 80)])
def test_frc_is_the_sum_over_rings(shape: tuple[int, int], rng: np.random.Generator) -> None:
    a = rng.normal(size=shape)
    b = a + 0.7 * rng.normal(size=shape)
    window = np.outer(np.hanning(shape[0] + 2)[1:-1], np.hanning(shape[1] + 2)[1:-1])
    fa, fb = (np.fft.fft2((x - x.mean()) * window) for x in (a, b))  # all frequencies, by the formula
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij"))
    frequency, correlation = frc(a, b)
    steps = min(shape) // 2
    assert len(frequency) == steps
    assert frequency[-1] == 0.5
    for i in (0, 3, steps // 2, steps - 1):
        ring = np.rint(radius * 2 * steps) == i + 1
        cross = (fa[ring] * fb[ring].conj()).sum().real
        norm = np.sqrt((np.abs(fa[ring]) ** 2).sum() * (np.abs(fb[ring]) ** 2).sum())
        assert correlation[i] == pytest.approx(cross / norm, abs=1e-12)


def test_frc_says_up_to_where_images_agree(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 256, 256))
    assert frc(a, a)[1] == pytest.approx(1)
    # Noise of the same power: correlation S / (S + N) = 1/2 of two images of one signal.
    noisy = [a + rng.normal(size=a.shape) for _ in range(2)]
    assert frc(*noisy)[1][40:].mean() == pytest.approx(0.5, abs=0.03)
    assert frc_cutoff(a, a) == 0.5
    # Two images that share only frequencies below 0.2 cycles per pixel.
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    shared = np.fft.ifft2(np.fft.fft2(a) * (radius < 0.2)).real
    other = np.fft.ifft2(np.fft.fft2(b) * (radius >= 0.2)).real
    fine = a - shared
    assert frc_cutoff(shared + fine, shared + other) == pytest.approx(0.2, abs=0.01)
