"""Invalid pixels affect no others: found, filled from their rim, and put back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers

from swin2sr_ops.geometry.tiles import FILL_REACH
from swin2sr_ops.pixels.holes import fill_invalid, invalid_pixels, stored_nodata


def test_invalid_pixels() -> None:
    image = np.array([[1, np.nan], [np.inf, 5]], "f4")
    np.testing.assert_array_equal(invalid_pixels(image, None), [[False, True], [True, False]])
    np.testing.assert_array_equal(invalid_pixels(image, 5), [[False, True], [True, True]])
    assert invalid_pixels(np.ones((2, 2), "u2"), 0) is None
    assert invalid_pixels(np.ones((2, 2), "u2"), float("nan")) is None


@pytest.mark.parametrize("nodata", [0.1, np.float64(0.1), np.float32(0.1)])
def test_nodata_is_compared_as_it_is_stored(nodata: float) -> None:
    image = np.array([[0.1, 0.2]], "f4")
    np.testing.assert_array_equal(invalid_pixels(image, nodata), [[True, False]])
    assert stored_nodata(-9999, "u2") is None
    assert stored_nodata(0.5, "u2") is None
    assert invalid_pixels(np.zeros((2, 2), "u2"), 65536) is None


def test_holes_are_filled_from_their_rim() -> None:
    plane = np.tile(np.linspace(0, 10, 40, dtype="f4"), (40, 1))
    bad = np.zeros_like(plane, bool)
    bad[10:15, 10:15] = True
    broken = np.where(bad, np.nan, plane)
    filled = fill_invalid(broken, bad, -1)
    np.testing.assert_array_equal(filled[~bad], plane[~bad])
    assert np.abs(filled - plane)[bad].max() < 1.5  # no ringing edge: near the ramp it interrupts
    assert fill_invalid(np.full((3, 3), np.nan, "f4"), np.ones((3, 3), bool), 4).tolist() == [[4.0] * 3] * 3


@given(integers(0, 999), floats(0.1, 0.999), integers(12, 40), integers(12, 40))
def test_filling_does_not_depend_on_the_cut(seed: int, share: float, top: int, left: int) -> None:
    rng = np.random.default_rng(seed)
    plane, bad = rng.random((60, 60)).astype("f4"), rng.random((60, 60)) < share
    whole = fill_invalid(plane, bad, 0.5)
    r = FILL_REACH
    region = (slice(top - r, top + 8 + r), slice(left - r, left + 8 + r))
    part = fill_invalid(plane[region], bad[region], 0.5)
    np.testing.assert_array_equal(part[r:-r, r:-r], whole[top : top + 8, left : left + 8])


# --- added with archives: samples, masks, types ------------------------------------------------------


def test_a_mask_is_invalid() -> None:
    block = np.arange(6, dtype="u2").reshape(1, 2, 3)
    valid = np.array([[True, True, False], [True, True, True]])
    assert invalid_pixels(block, 3, valid).tolist() == [[[False, False, True], [True, False, False]]]  # type: ignore[union-attr]
    assert invalid_pixels(block, None, np.ones((1, 1, 1), bool)) is None
    assert invalid_pixels(block, None, np.zeros((1, 1, 1), bool)).all()  # type: ignore[union-attr]


@given(integers(0, 999), floats(0, 1), integers(1, 30), integers(1, 30))
def test_only_the_surroundings_of_holes_are_processed(seed: int, share: float, height: int, width: int) -> None:
    """The result equals filling inside a far larger plane of valid pixels."""
    rng = np.random.default_rng(seed)
    plane, bad = rng.random((height + 40, width + 40)).astype("f4"), np.zeros((height + 40, width + 40), bool)
    inner = (slice(20, 20 + height), slice(20, 20 + width))
    bad[inner] = rng.random((height, width)) < share
    filled = fill_invalid(plane, bad, 0.5)
    np.testing.assert_array_equal(filled[~bad], plane[~bad])
    near = (slice(19, 21 + height), slice(19, 21 + width))
    np.testing.assert_array_equal(fill_invalid(plane[near], bad[near], 0.5), filled[near])
    whole = bad.copy()
    whole[0, 0] = whole[-1, -1] = True  # the box is then the whole plane
    np.testing.assert_array_equal(fill_invalid(plane, whole, 0.5)[inner], filled[inner])
