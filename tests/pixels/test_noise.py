"""Squares of a plane, and differences in them that only noise leaves."""

from __future__ import annotations

import numpy as np
import pytest

from swin2sr_ops.pixels.noise import SQUARE, diagonal_differences, squares_of


def test_squares_are_those_of_the_plane() -> None:
    plane = np.arange(40.0 * 70).reshape(40, 70)
    squares = squares_of(plane)
    assert squares.shape == (2 * 4, SQUARE, SQUARE)
    np.testing.assert_array_equal(squares[5], plane[16:32, 16:32])


@pytest.mark.parametrize("shape", [(15, 200), (200, 15), (1, 1)])
def test_a_narrow_plane_has_no_squares(shape: tuple[int, int]) -> None:
    assert squares_of(np.zeros(shape)).shape == (0, SQUARE, SQUARE)


def test_differences_keep_the_variance_of_noise_and_nothing_of_ramps(rng: np.random.Generator) -> None:
    ramp = np.add.outer(3.0 * np.arange(64), 5.0 * np.arange(64))
    assert (diagonal_differences(squares_of(ramp)) == 0).all()
    noise = diagonal_differences(squares_of(rng.normal(0, 2, (512, 512))))
    assert noise.shape[1:] == (SQUARE // 2, SQUARE // 2)
    assert noise.std() == pytest.approx(2, rel=0.02)
