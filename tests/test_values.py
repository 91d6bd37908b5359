"""Law 3: one map, inverted; nothing spreads from pixels that are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats, integers

from swin2sr_ops.errors import RequestError
from swin2sr_ops.values import (
    FILL_REACH,
    IntensityMap,
    RangeRequest,
    Statistics,
    check_dtype,
    fill_invalid,
    invalid_pixels,
)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("auto", RangeRequest("auto")),
        ("dtype", RangeRequest("dtype")),
        ((0, 4095), RangeRequest("fixed", 0, 4095)),
        ("10,200.5", RangeRequest("fixed", 10, 200.5)),
        ("-5,-1", RangeRequest("fixed", -5, -1)),
        ("p1,p99.8", RangeRequest("percentile", 1, 99.8)),
    ],
)
def test_ranges_are_read(given_: object, expected: RangeRequest) -> None:
    assert RangeRequest.parse(given_) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["", "full", "1", "5,5", "9,1", "p1,99", "p-1,p50", "p1,p101", (1, 2, 3), "nan,1"])
def test_bad_ranges_get_a_sentence(bad: object) -> None:
    with pytest.raises(RequestError, match="is not understood"):
        RangeRequest.parse(bad)  # type: ignore[arg-type]


def test_auto_looks_only_where_it_must() -> None:
    auto = RangeRequest("auto")
    assert auto.immediate("uint8") == IntensityMap(0, 255)
    assert auto.immediate("uint16") is None
    assert auto.immediate("float32") is None
    assert RangeRequest("dtype").immediate("int16") == IntensityMap(-32768, 32767)
    assert RangeRequest("dtype").immediate("float32") == IntensityMap(0, 1)


@given(arrays(np.uint16, (40, 30)), integers(1, 39))
def test_parts_merge_to_the_whole(image: np.ndarray, cut: int) -> None:
    edges = (np.array([0.0]), np.array([65535.0]))
    parts = [Statistics.of(p, None, 7, edges) for p in (image[:cut], image[cut:])]
    merged, whole = Statistics.merge(parts), Statistics.of(image, None, 7, edges)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    np.testing.assert_array_equal(merged.low, whole.low)
    np.testing.assert_array_equal(merged.high, whole.high)


@given(arrays(np.uint16, 500), floats(0, 49), floats(51, 100))
def test_percentiles_of_integers_are_exact(image: np.ndarray, low: float, high: float) -> None:
    edges = (np.array([0.0]), np.array([65535.0]))
    request = RangeRequest("percentile", low, high)
    found = Statistics.of(image[None], None, None, edges).maps(request)[0]
    expected = np.percentile(image, [low, high], method="lower")
    assert [found.lo, found.hi] == expected.tolist()


def test_percentiles_of_floats_are_within_a_bin(rng: np.random.Generator) -> None:
    image = rng.normal(10, 3, (200, 200)).astype("f4")
    edges = (np.array([float(image.min())]), np.array([float(image.max())]))
    found = Statistics.of(image, None, None, edges).maps(RangeRequest("percentile", 1, 99))[0]
    step = (edges[1][0] - edges[0][0]) / 65535
    assert abs(found.lo - np.percentile(image, 1, method="lower")) < 2 * step
    assert abs(found.hi - np.percentile(image, 99, method="lower")) < 2 * step


def test_channels_have_their_own_range() -> None:
    image = np.stack([np.arange(10.0), np.arange(10.0) * 5 + 3]).astype("f4")[:, :, None]
    image[0, 3] = np.nan
    image[1, 0] = np.inf
    maps = Statistics.of(image, 0).maps(RangeRequest("auto"))
    assert maps == (IntensityMap(0, 9), IntensityMap(8, 48))


def test_no_valid_pixel_gets_a_sentence() -> None:
    with pytest.raises(RequestError, match="no valid pixel"):
        Statistics.of(np.full((4, 4), np.nan), None).maps(RangeRequest("auto"))


@pytest.mark.parametrize("dtype", ["bool", "complex64", "int32", "uint32", "int64", "uint64", "S3"])
def test_lossy_types_are_refused(dtype: str) -> None:
    with pytest.raises(RequestError, match="cannot be restored"):
        check_dtype(dtype)


def test_invalid_pixels() -> None:
    image = np.array([[1, np.nan], [np.inf, 5]], "f4")
    np.testing.assert_array_equal(invalid_pixels(image, None), [[False, True], [True, False]])
    np.testing.assert_array_equal(invalid_pixels(image, 5), [[False, True], [True, True]])
    assert invalid_pixels(np.ones((2, 2), "u2"), 0) is None
    assert invalid_pixels(np.ones((2, 2), "u2"), float("nan")) is None


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
