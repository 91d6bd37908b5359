"""``consistent="mean"``: the mean of the new pixels is the old pixel, to the digit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from swin2sr_ops.pixels.consistency import mean_consistent


def sums(image: np.ndarray, scale: int) -> np.ndarray:
    """Sum of each block, in whole numbers."""
    rows, columns = (n // scale for n in image.shape[-2:])
    return image.astype(object).reshape(*image.shape[:-2], rows, scale, columns, scale).sum((-1, -3))


@st.composite
def cases(draw: st.DrawFn, kinds: tuple[str, ...] = ("u1", "u2", "i1", "i2")) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw an input of an integer type, restored values near it or anywhere, and a scale."""
    dtype = np.dtype(draw(st.sampled_from(kinds)))
    scale = draw(st.sampled_from([2, 3, 4]))
    limits = np.iinfo(dtype)
    shape = draw(st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 5)))
    old = draw(arrays(dtype, shape, elements=st.integers(limits.min, limits.max)))
    large = (shape[0], shape[1] * scale, shape[2] * scale)
    span = float(limits.max) - float(limits.min)
    far = draw(st.sampled_from([1.0, 30.0, span, 1e9]))
    apart = draw(arrays(np.float32, large, elements=st.floats(-far, far, width=32)))
    values = old.repeat(scale, 1).repeat(scale, 2).astype("f4") + apart
    return old, values, scale


@given(cases())
def test_means_are_exact_in_integers(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    old, values, scale = case
    result = mean_consistent(values, old, scale)
    assert result.dtype == old.dtype
    assert result.shape == values.shape
    assert (sums(result, scale) == old.astype(object) * scale**2).all()


@given(cases(), st.data())
def test_nodata_is_never_made(case: tuple[np.ndarray, np.ndarray, int], data: st.DataObject) -> None:
    """Valid pixels avoid the nodata value, wherever it lies in the type, and the means stay exact."""
    old, values, scale = case
    limits = np.iinfo(old.dtype)
    near = int(old.flat[0])
    hole = data.draw(st.sampled_from([limits.min, limits.max, 0, np.clip(near + 1, limits.min, limits.max)]))
    result = mean_consistent(values, old, scale, nodata=float(hole))
    valid = old != hole
    large = valid.repeat(scale, 1).repeat(scale, 2)
    assert (result[large] != hole).all()
    assert (sums(result, scale) == old.astype(object) * scale**2)[valid].all()


@given(cases(), st.data())
def test_any_cut_gives_the_same_pixels(case: tuple[np.ndarray, np.ndarray, int], data: st.DataObject) -> None:
    old, values, scale = case
    whole = mean_consistent(values, old, scale)
    row = data.draw(st.integers(0, old.shape[1]))
    parts = [
        mean_consistent(values[:, a * scale : b * scale], old[:, a:b], scale)
        for a, b in ((0, row), (row, old.shape[1]))
        if b > a
    ]
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)


@given(cases(), st.floats(0, 40))
def test_noise_is_how_far_a_mean_may_be_off(case: tuple[np.ndarray, np.ndarray, int], noise: float) -> None:
    old, values, scale = case
    result = mean_consistent(values, old, scale, noise=noise)
    apart = abs(sums(result, scale) - old.astype(object) * scale**2)
    assert (apart <= Fraction(noise) * scale**2).all()


def test_a_mean_within_the_noise_stays() -> None:
    values = np.array([[10.0, 12.0], [14.0, 16.0]])
    np.testing.assert_array_equal(mean_consistent(values, np.array([[15]], "u1"), 2, noise=2.0), values)
    moved = mean_consistent(values, np.array([[20]], "u1"), 2, noise=2.0)
    assert moved.sum() == 4 * 18


def test_all_pixels_of_a_block_move_equally() -> None:
    values = np.array([[10.0, 20.0], [30.0, 44.0]])
    np.testing.assert_array_equal(mean_consistent(values, np.array([[30]], "u1"), 2), values + 4)


def test_remainders_and_ties() -> None:
    """The largest remainder gets the remaining level; among equals, the first in raster order."""
    values = np.array([[1.2, 1.7], [1.5, 1.6]])  # shifted by 0.25
    np.testing.assert_array_equal(mean_consistent(values + 0.25, np.array([[2]], "u1"), 2), [[2, 2], [2, 2]])
    same = np.full((2, 2), 3.4)
    same[1, 1] = 9
    np.testing.assert_array_equal(mean_consistent(same, np.array([[5]], "u1"), 2), [[4, 4], [3, 9]])


def test_pixels_at_the_limit_let_the_others_move() -> None:
    values = np.array([[250.0, 255.0], [255.0, 20.0]])
    result = mean_consistent(values, np.array([[250]], "u1"), 2)
    np.testing.assert_array_equal(result, [[255, 255], [255, 235]])


@given(arrays(np.float32, (3, 4), elements=st.floats(-1e3, 1e3, width=32)), st.sampled_from([2, 3]))
def test_floats(old: np.ndarray, scale: int) -> None:
    rng = np.random.default_rng(0)
    values = old.repeat(scale, 0).repeat(scale, 1) + rng.normal(0, 5, (3 * scale, 4 * scale)).astype("f4")
    result = mean_consistent(values, old, scale)
    assert result.dtype == np.float32
    means = result.astype("f8").reshape(3, scale, 4, scale).mean((1, 3))
    np.testing.assert_allclose(means, old, rtol=1e-6, atol=1e-4)


def test_holes_of_floats_pass() -> None:
    old = np.array([[np.nan, 1.0]], "f4")
    result = mean_consistent(np.ones((2, 4), "f4"), old, 2)
    assert np.isnan(result[:, :2]).all()
    assert (result[:, 2:] == 1).all()


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_indices_of_bands_do_not_change(dtype: str) -> None:
    """NDVI of the restored bands, reduced again, is NDVI of the bands."""
    rng = np.random.default_rng(1)
    top = np.iinfo(dtype).max
    red, near = rng.integers(1, top, (2, 30, 40)).astype(dtype)
    fine = [
        mean_consistent(band.repeat(2, 0).repeat(2, 1) + rng.normal(0, 50, (60, 80)), band, 2) for band in (red, near)
    ]
    again = [sums(band, 2) // 4 for band in fine]
    np.testing.assert_array_equal(
        (again[1] - again[0]) / (again[1] + again[0]), (near.astype(object) - red) / (near.astype(object) + red)
    )


def test_noise_is_not_rounded_up() -> None:
    """As a float, a ninth is less than a ninth: not even one of nine pixels may be one level off."""
    result = mean_consistent(np.full((3, 3), 13.0), np.array([[10]], "u1"), 3, noise=1 / 9)
    assert result.sum() == 90
