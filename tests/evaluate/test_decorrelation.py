"""Decorrelation analysis finds the bandwidth of known signals."""

from __future__ import annotations

import numpy as np
import pytest

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate import decorrelation_cutoff


def limited(cutoff: float, noise: float, seed: int = 0, side: int = 256) -> np.ndarray:
    """Return random points behind a lens without frequencies beyond ``cutoff``, plus white noise."""
    rng = np.random.default_rng(seed)
    points = (rng.random((side, side)) > 0.99) * rng.random((side, side))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    transfer = np.clip(1 - frequency / cutoff, 0, None)
    image = np.fft.ifft2(np.fft.fft2(points) * transfer).real
    return image / image.std() + rng.normal(0, noise, image.shape)


@pytest.mark.parametrize("cutoff", [0.1, 0.2, 0.3, 0.4])
def test_the_end_of_the_signal_is_found(cutoff: float) -> None:
    assert decorrelation_cutoff(limited(cutoff, 0.02)) == pytest.approx(cutoff, rel=0.2)


def test_noise_hides_detail_but_does_not_count_as_detail() -> None:
    clear, hidden = (decorrelation_cutoff(limited(0.4, noise)) for noise in (0.02, 1.0))
    assert clear > hidden
    assert decorrelation_cutoff(np.random.default_rng(0).normal(0, 1, (128, 128))) < 0.1
    assert decorrelation_cutoff(np.full((64, 64), 7)) == 0


def test_small_and_coloured_images_are_refused() -> None:
    for shape in ((16, 64), (64, 64, 3)):
        with pytest.raises(RequestError, match="at least 32 x 32"):
            decorrelation_cutoff(np.zeros(shape))
