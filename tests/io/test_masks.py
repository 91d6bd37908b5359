"""Valid pixels: masks of a source, and a mask that the user gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import integers

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.io.base import ImageInfo, Region
from swin2sr_ops.io.masks import check_mask, valid_pixels


@dataclass
class Array:
    """A source in memory, with or without masks of its own."""

    pixels: np.ndarray
    axes: str
    own: Any = None
    uri: str = "memory:a"
    asked: list[Region] = field(default_factory=list)

    @property
    def info(self) -> ImageInfo:
        return ImageInfo(shape=self.pixels.shape, axes=self.axes, dtype=self.pixels.dtype, chunks=self.pixels.shape)

    def read(self, region: Region) -> np.ndarray:
        assert all(0 <= r.start < r.stop <= n for r, n in zip(region, self.pixels.shape, strict=True))
        return self.pixels[region]

    def valid_mask(self, region: Region) -> np.ndarray | None:
        return None if self.own is None else self.own[(..., *region)]


def of(shape: tuple[int, ...], axes: str) -> AxisOrder:
    return AxisOrder.of(shape, axes, last_c_is_colour=False)


@given(integers(1, 40), integers(1, 40), integers(1, 5), integers(1, 5), integers(0, 999))
def test_a_smaller_mask_is_enlarged_by_nearest_neighbour(
    height: int, width: int, down: int, across: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 2, (-(-height // down), -(-width // across))).astype("u1")
    large = small.repeat(down, 0).repeat(across, 1)[:height, :width] != 0
    source = Array(np.zeros((height, width), "u2"), "YX")
    (y, y1), (x, x1) = (sorted(rng.choice(n + 1, 2, replace=False)) for n in (height, width))
    region = slice(int(y), int(y1)), slice(int(x), int(x1))
    if check_mask(Array(small, "YX").info, of((height, width), "YX")) != (down, across):
        return  # a mask of one pixel stands for any factor
    for mask in (Array(small, "YX"), Array(small.T, "XY"), Array(small[None, :, None], "CYZX")):
        found = valid_pixels(source, mask, of((height, width), "YX"), region)
        np.testing.assert_array_equal(True if found is None else found, large[region])


def test_masks_are_combined(rng: np.random.Generator) -> None:
    """A pixel is valid if the source's masks, common or per band, and the given mask agree."""
    shape, order = (3, 20, 2, 30), of((3, 20, 2, 30), "CYTX")
    region = (slice(1, 3), slice(4, 20), slice(0, 1), slice(0, 25))
    given_, plane, bands = rng.random((20, 30)) > 0.5, rng.random((20, 30)) > 0.5, rng.random((3, 20, 30)) > 0.5
    mask = Array(given_.astype("f4"), "YX")
    found = valid_pixels(Array(np.zeros(shape), "CYTX", plane), mask, order, region)
    assert found is not None
    np.testing.assert_array_equal(found, (plane & given_)[None, 4:, None, :25])
    found = valid_pixels(Array(np.zeros(shape), "CYTX", bands), mask, order, region)
    assert found is not None
    np.testing.assert_array_equal(found, (bands & given_)[1:, 4:, None, :25])
    alone = valid_pixels(Array(np.zeros(shape), "CYTX", bands), None, order, region)
    assert alone is not None
    np.testing.assert_array_equal(alone, bands[1:, 4:, None, :25])


def test_colours_may_have_masks(rng: np.random.Generator) -> None:
    bands = rng.random((4, 20, 30)) > 0.5
    order = of((20, 30, 4), "YXS")
    found = valid_pixels(
        Array(np.zeros((20, 30, 4)), "YXS", bands), None, order, (slice(5, 9), slice(0, 30), slice(0, 4))
    )
    assert found is not None
    np.testing.assert_array_equal(found, bands[:, 5:9].transpose(1, 2, 0))


def test_nothing_masked_is_none() -> None:
    order, region = of((20, 30), "YX"), (slice(0, 9), slice(0, 30))
    mask = np.ones((20, 30), "u1")
    mask[15, 3] = 0

    class Bare:
        uri, info = "bare", None

    bare: Any = Bare()
    assert valid_pixels(bare, None, order, region) is None
    assert valid_pixels(bare, Array(mask, "YX"), order, region) is None
    assert valid_pixels(Array(mask, "YX", mask != 0), None, order, region) is None
    found = valid_pixels(bare, Array(mask, "YX"), order, (slice(15, 16), slice(0, 4)))
    assert found is not None
    assert found.tolist() == [[True, True, True, False]]
    nan = Array(np.where(mask == 0, np.nan, 1.0), "YX")
    assert valid_pixels(bare, nan, order, (slice(15, 16), slice(0, 4))).tolist() == found.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("shape", "axes", "told"),
    [
        ((20, 29), "YX", "20 x 29 px, the image 20 x 30 px"),
        ((40, 60), "YX", "40 x 60 px, the image 20 x 30 px"),
        ((20, 12), "YX", "by a whole factor"),
        ((3, 20, 30), "CYX", "one plane of Y and X is expected"),
        ((20, 30, 4), "YXS", "one plane of Y and X is expected"),
    ],
)
def test_masks_that_do_not_fit_are_refused(shape: tuple[int, ...], axes: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        check_mask(Array(np.ones(shape), axes).info, of((2, 20, 30), "CYX"))


def test_a_source_that_gives_another_mask_is_named() -> None:
    source = Array(np.zeros((2, 20, 30)), "CYX", np.ones((3, 20, 30), bool))
    with pytest.raises(FormatError, match=r"mask of 'memory:a' has the shape \(3, 5, 30\)"):
        valid_pixels(source, None, of((2, 20, 30), "CYX"), (slice(0, 2), slice(0, 5), slice(0, 30)))
