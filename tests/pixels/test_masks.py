"""Masks of blocks: fitted to the block's axes, and joined with its own opacity."""

from __future__ import annotations

import numpy as np
import pytest

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.pixels.masks import block_valid, shown_pixels


def of(shape: tuple[int, ...], axes: str) -> AxisOrder:
    return AxisOrder.of(shape, axes, last_c_is_colour=False)


def test_blocks_take_a_plane_or_their_own_axes() -> None:
    order, shape = of((2, 4, 5), "CYX"), (2, 4, 5)
    plane = np.arange(20).reshape(4, 5) > 3
    for valid in (plane, plane[None], np.stack([plane] * 2)):
        np.testing.assert_array_equal(block_valid(valid, shape, order), np.stack([plane] * 2))
    colour = of((4, 5, 3), "YXS")
    assert block_valid(plane, (4, 5, 3), colour).shape == (4, 5, 3)
    assert block_valid(plane.T, (5, 4), of((5, 4), "XY")).shape == (5, 4)  # two axes are the block's own
    with pytest.raises(RequestError, match=r"valid has the shape \(5, 4\), the block \(2, 4, 5\)"):
        block_valid(plane.T, shape, order)
    with pytest.raises(RequestError, match=r"valid has the shape \(4, 5\), the block \(5, 4\)"):
        block_valid(plane, (5, 4), of((5, 4), "XY"))


def test_opacity_hides_pixels() -> None:
    order = AxisOrder.of((2, 2, 4), "YXS")
    block = np.ones((2, 2, 4), "u1")
    assert shown_pixels(block, order) is None
    block[0, 1, 3] = 0
    shown = shown_pixels(block, order)
    assert shown is not None
    np.testing.assert_array_equal(shown[..., 0], [[True, False], [True, True]])
    valid = np.array([[False, True], [True, True]])[..., None]
    both = shown_pixels(block, order, valid)
    assert both is not None
    np.testing.assert_array_equal(both[..., 0], [[False, False], [True, True]])
    assert shown_pixels(block, AxisOrder.of((2, 2, 3), "YXS"), valid) is valid
