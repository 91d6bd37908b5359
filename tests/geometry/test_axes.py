"""Named axes and channel groups."""

from __future__ import annotations

import pytest

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder, channel_groups


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((5, 6), "YX"),
        ((5, 6, 3), "YXC"),
        ((5, 6, 4), "YXC"),
        ((3, 5, 6), "ZYX"),
        ((2, 3, 5, 6), "CZYX"),
        ((2, 5, 6, 3), "ZYXC"),
        ((7, 2, 5, 6, 3), "TZYXC"),
        ((1, 2, 3, 5, 6), "TCZYX"),
    ],
)
def test_names_for_arrays_without(shape: tuple[int, ...], axes: str) -> None:
    assert AxisOrder.of(shape).axes == axes


def test_colour_and_channels() -> None:
    assert AxisOrder.of((5, 6, 3), "YXC").colour == 2
    assert AxisOrder.of((3, 5, 6), "SYX").colour == 0
    assert AxisOrder.of((5, 6, 3), "YXC", last_c_is_colour=False).channel == 2
    assert AxisOrder.of((5, 6, 4), "YXC").alpha == 3
    assert AxisOrder.of((5, 6, 3), "YXC").alpha is None
    assert AxisOrder.of((5, 6, 7), "YXC").colour is None
    assert AxisOrder.of((5, 6, 7), "YXC").channel == 2
    stack = AxisOrder.of((2, 3, 4, 5, 6), "TCZYX")
    assert (stack.colour, stack.channel, stack.planes, stack.scaled(2)) == (None, 1, (0, 1, 2), (2, 3, 4, 10, 12))
    assert AxisOrder.of((5, 6, 3), "yxs").order == (2, 0, 1)


def test_channel_groups() -> None:
    assert channel_groups(3, 3) == ((0, 1, 2),)
    assert channel_groups(4, 3) == ((0, 1, 2),)
    assert channel_groups(2, 1) == ((0,),)
    assert channel_groups(5, 3) == ((0,), (1,), (2,), (3,), (4,))
    assert channel_groups(3, 1) == ((0,), (1,), (2,))
    assert channel_groups(1, 3) == ((0,),)


@pytest.mark.parametrize(
    ("shape", "axes", "says"),
    [
        ((2,) * 7, None, "7 dimensions"),
        ((2,) * 6, "TCZYXS", "6 dimensions"),
        ((5,), None, "2 to 5 dimensions"),
        ((5, 6), "YXC", "does not fit"),
        ((5, 6), "ZX", "does not fit"),
        ((5, 6, 7), "YXX", "does not fit"),
        ((5, 0), "YX", "empty"),
    ],
)
def test_bad_axes_get_a_sentence(shape: tuple[int, ...], axes: str | None, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        AxisOrder.of(shape, axes)
