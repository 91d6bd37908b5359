"""Flags of pixels that are not trusted."""

from __future__ import annotations

import numpy as np
import pytest

from swin2sr_ops.errors import RequestError
from swin2sr_ops.pixels.trust import OFF, TRUSTED, WIDE, Trust


def test_wide_intervals_and_means_that_are_off() -> None:
    given = np.array([[[10, 20]]], "u2")
    result = np.array([[[8, 12, 20, 20], [8, 12, 20, 28]]], "u2")  # the means are 10 and 22
    half = np.array([[[1, 3, 1, 1], [1, 1, 1, np.nan]]], "f4")
    flags = Trust(limit=2, noise=1.5).flags(result, given, half, (1, 2), None)
    np.testing.assert_array_equal(flags, [[[TRUSTED, WIDE, OFF, OFF], [TRUSTED, TRUSTED, OFF, OFF]]])
    assert not Trust(noise=2).flags(result, given, half, (1, 2), None).any()  # off by exactly the noise
    assert (Trust(limit=0.5, noise=0).flags(result, given, half, (1, 2), None)[0, 0, 2:] == WIDE | OFF).all()


def test_a_pixel_is_as_trusted_as_its_worst_colour() -> None:
    result, given = np.full((2, 2, 3), 9, "u1"), np.full((1, 1, 3), 9, "u1")
    half = np.zeros((2, 2, 3), "f4")
    half[1, 0, 2] = 5
    flags = Trust(limit=1, noise=1).flags(result, given, half, (0, 1), 2)
    assert (flags[1, 0] == WIDE).all()
    assert flags.sum() == 3


def test_at_scale_one_the_pixels_themselves_are_compared() -> None:
    result, given = np.array([[1.0, 5.0, np.nan]], "f4"), np.array([[1.0, 9.0, 2.0]], "f4")
    np.testing.assert_array_equal(Trust(noise=3).flags(result, given, None, (0, 1), None), [[0, OFF, 0]])


def test_requests_that_are_refused() -> None:
    assert Trust.of(None, None, interval=False) is None
    assert Trust.of(3, None, interval=True) == Trust(3)
    assert Trust.from_dict(Trust(3, 4.5).to_dict()) == Trust(3, 4.5)
    with pytest.raises(RequestError, match=r"limit compares the half widths .*--interval 90"):
        Trust.of(3, None, interval=False)
    for value in (-1, float("nan"), float("inf")):
        with pytest.raises(RequestError, match="give a number of stored units"):
            Trust.of(None, value, interval=False)
    with pytest.raises(RequestError, match="leave out noise"):
        Trust.of(None, 3, interval=False, consistent="psf=0.3")
    assert Trust.of(None, 3, interval=False, consistent="mean") is not None
