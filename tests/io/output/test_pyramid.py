"""Levels are means of 2 x 2 pixels, rounded in the dtype, without invalid pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal

from swin2sr_ops.io.output.pyramid import fill_region, halve, level_shapes, regions

INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32]


@st.composite
def integer_images(draw):
    dtype = draw(st.sampled_from(INTEGERS))
    return draw(arrays(dtype, array_shapes(min_dims=2, max_dims=2, max_side=9)))


@given(image=integer_images())
def test_integers_round_half_to_even(image):
    padded = np.pad(image, [(0, n % 2) for n in image.shape], mode="edge").astype(np.float64)
    height, width = padded.shape
    mean = padded.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    assert_array_equal(halve(image, "YX"), np.rint(mean).astype(image.dtype))


@pytest.mark.parametrize("dtype", [np.uint64, np.int64])
def test_large_integers_do_not_overflow(dtype):
    top = np.full((2, 2), np.iinfo(dtype).max, dtype)
    assert halve(top, "YX").item() == np.iinfo(dtype).max
    assert halve(np.array([[np.iinfo(dtype).min] * 2] * 2, dtype), "YX").item() == np.iinfo(dtype).min


def test_half_precision_does_not_overflow():
    assert halve(np.full((2, 2), 60000, np.float16), "YX").item() == 60000


def test_nan_is_ignored():
    image = np.array([[1, np.nan, np.nan, np.nan], [3, np.nan, np.nan, np.nan]], np.float32)
    assert_array_equal(halve(image, "YX"), np.array([[2, np.nan]], np.float32))


@pytest.mark.parametrize(("dtype", "nodata"), [(np.int16, -999), (np.float32, -3.4e38), (np.uint8, 0)])
def test_nodata_is_ignored(dtype, nodata):
    image = np.array([[10, nodata, nodata, nodata], [13, 10, nodata, nodata]]).astype(dtype)
    assert_array_equal(halve(image, "YX", nodata=nodata), np.array([[11, nodata]]).astype(dtype))


def test_nodata_outside_the_dtype_is_ignored():
    image = np.array([[25, 25], [25, 29]], np.uint8)  # -231 would be 25 in uint8
    assert halve(image, "YX", nodata=-231).item() == 26


def test_booleans_vote():
    assert_array_equal(halve(np.array([[1, 1, 0, 1], [1, 0, 0, 0]], bool), "YX"), [[True, False]])


def test_other_axes_stay():
    image = np.random.default_rng(0).random((3, 4, 6, 2))
    small = halve(image, "CXYS")
    assert small.shape == (3, 2, 3, 2)
    np.testing.assert_allclose(small, image.reshape(3, 2, 2, 3, 2, 2).mean(axis=(2, 4)))


def test_levels_end_at_512():
    assert level_shapes((2, 1025, 600), "CYX") == [(2, 1025, 600), (2, 513, 300), (2, 257, 150)]
    assert level_shapes((512, 512), "YX") == [(512, 512)]


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
    unit=st.tuples(st.integers(1, 3), st.integers(1, 16), st.integers(1, 16)),
)
def test_level_by_parts_equals_whole(shape, unit):
    fine = np.random.default_rng(0).integers(0, 999, shape).astype(np.uint16)
    coarse = np.zeros((shape[0], -(-shape[1] // 2), -(-shape[2] // 2)), np.uint16)
    for region in regions(coarse.shape, unit):
        coarse[region] = fill_region(fine, region, fine_shape=shape, axes="CYX")
    assert_array_equal(coarse, halve(fine, "CYX"))


def test_regions_cover_once():
    seen = np.zeros((5, 7), int)
    for region in regions(seen.shape, (2, 3)):
        seen[region] += 1
    assert (seen == 1).all()
