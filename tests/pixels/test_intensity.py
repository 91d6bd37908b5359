"""Law 3: one invertible map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import DataObject, data, floats, integers, sampled_from

from swin2sr_ops.errors import RequestError
from swin2sr_ops.pixels.intensity import IntensityMap, RangeRequest, check_dtype, computed_in
from swin2sr_ops.pixels.statistics import Statistics, check_any_valid


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("auto", RangeRequest("auto")),
        ("dtype", RangeRequest("dtype")),
        (np.array([1, 2]), RangeRequest("fixed", 1, 2)),
        ((0, 4095), RangeRequest("fixed", 0, 4095)),
        ("10,200.5", RangeRequest("fixed", 10, 200.5)),
        ("-5,-1", RangeRequest("fixed", -5, -1)),
        ("p1,p99.8", RangeRequest("percentile", 1, 99.8)),
        ("0,9;5,5.5", RangeRequest("channels", channels=((0, 9), (5, 5.5)))),
        ("0,9;5,5", RangeRequest("channels", channels=((0, 9), (5, 5)))),  # a channel that was constant
        ("like:x.ome.zarr", RangeRequest("like", output="x.ome.zarr")),
    ],
)
def test_ranges_are_read(given_: object, expected: RangeRequest) -> None:
    assert RangeRequest.parse(given_) == expected  # type: ignore[arg-type]
    assert RangeRequest.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "bad", ["", "full", "1", "5,5", "9,1", "p1,99", "p-1,p50", "p1,p101", (1, 2, 3), "nan,1", (0, np.inf), None,
            "0,9;", "0,9;9,1", "0,9;x,1", "p1,p2;p1,p2"],
)  # fmt: skip
def test_bad_ranges_get_a_sentence(bad: object) -> None:
    with pytest.raises(RequestError, match="is not understood"):
        RangeRequest.parse(bad)  # type: ignore[arg-type]


def test_auto_reads_pixels_only_if_necessary() -> None:
    auto = RangeRequest("auto")
    assert auto.immediate("uint8") == IntensityMap(0, 255)
    assert auto.immediate("uint16") is None
    assert auto.immediate("float32") is None
    assert RangeRequest("dtype").immediate("int16") == IntensityMap(-32768, 32767)
    assert RangeRequest("dtype").immediate("float32") == IntensityMap(0, 1)


def looked(image: np.ndarray, request: RangeRequest, cut: int, channel: int | None = None, nodata: float | None = None):
    """Return the maps of an image that is read in two parts, as often as necessary."""
    parts = [p for p in (image[..., :cut], image[..., cut:]) if p.size]
    first = None
    if request.looks(image.dtype) == 2:
        first = Statistics.merge(Statistics.of(p, channel, nodata, request) for p in parts)
    last = Statistics.merge(Statistics.of(p, channel, nodata, request, first) for p in parts)
    check_any_valid([last])
    return last.maps(request, image.dtype, first)


NUMBERS = {"u1": integers(0, 255), "i2": integers(-32768, 32767), "u2": integers(0, 65535)}


@given(data(), sampled_from(["u1", "u2", "i2", "f2", "f4"]), integers(1, 199), floats(0, 49), floats(51, 100))
def test_percentiles_are_exact(draw: DataObject, dtype: str, cut: int, low: float, high: float) -> None:
    """Equal to NumPy's over the whole image, in parts, for every type, whatever the outliers."""
    width = 16 if dtype == "f2" else 32
    elements = NUMBERS[dtype] if dtype in NUMBERS else floats(allow_nan=False, allow_infinity=False, width=width)
    image = draw.draw(arrays(dtype, 200, elements=elements))
    expected = np.percentile(image, [low, high], method="lower")
    request = RangeRequest("percentile", low, high)
    if expected[0] == expected[1] and image.min() < image.max():
        with pytest.raises(RequestError, match="wider percentiles"):
            looked(image, request, cut)
        return
    found = looked(image, request, cut)[0]
    assert [found.lo, found.hi] == expected.astype(float).tolist()


def test_a_hot_pixel_has_no_effect(rng: np.random.Generator) -> None:
    image = rng.random((100, 100)).astype("f4")
    image[5, 5] = 1e6
    found = looked(image, RangeRequest("percentile", 1, 99), 50)[0]
    assert 0 < found.lo < 0.02
    assert 0.98 < found.hi < 1


def test_channels_have_their_own_range() -> None:
    image = np.stack([np.arange(10.0), np.arange(10.0) * 5 + 3, np.full(10, np.nan)]).astype("f4")[:, :, None]
    image[0, 3] = np.nan
    image[1, 0] = np.inf
    maps = looked(image, RangeRequest("auto"), 1, channel=0)
    assert maps == (IntensityMap(0, 9), IntensityMap(8, 48), IntensityMap(0, 1))  # the last has no pixel to map


def test_no_valid_pixel_gets_a_sentence() -> None:
    with pytest.raises(RequestError, match="no valid pixel"):
        looked(np.full((4, 4), np.nan), RangeRequest("auto"), 2)


@pytest.mark.parametrize("dtype", ["bool", "complex64", "int32", "uint32", "int64", "uint64", "S3"])
def test_lossy_types_are_refused(dtype: str) -> None:
    with pytest.raises(RequestError, match="cannot be restored"):
        check_dtype(dtype)


def test_samples_are_read() -> None:
    assert RangeRequest.parse("p1,p99.8:sample") == RangeRequest("percentile", 1, 99.8, sample=True)
    assert RangeRequest.parse(" P1, P99:Sample ") == RangeRequest("percentile", 1, 99, sample=True)
    assert RangeRequest.parse("p1,p99.8").sample is False
    assert RangeRequest.parse("p1,p99:sample").looks("f4") == 2


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("auto:sample", "extremes cannot be sampled"),
        ("p0,p99:sample", "extremes cannot be sampled"),
        ("p1,p100:sample", "extremes cannot be sampled"),
        ("0,4095:sample", "does not depend on pixels"),
        ("dtype:sample", "does not depend on pixels"),
        ("p9,p1:sample", "is not understood"),
        (":sample", "is not understood"),
        ("p1,p99:sampled", "is not understood"),
    ],
)
def test_ranges_that_cannot_be_sampled(bad: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        RangeRequest.parse(bad)


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        ("bool", "Enlarge a mask or labels by nearest neighbour"),
        ("complex64", "real and the imaginary part"),
        ("complex128", "Restore the magnitude"),
        ("int32", "Give uint16 if the values fit"),
        ("uint32", "24 bits of an integer"),
        ("int64", "labels are enlarged by nearest neighbour"),
        ("uint64", "or a float type"),
        ("S3", "they are not numbers"),
        ("datetime64[s]", "they are not numbers"),
        ("longdouble", "Give float64 or float32"),
    ],
)
def test_errors_about_types_say_what_to_do(dtype: str, advice: str) -> None:
    with pytest.raises(
        RequestError, match=rf"type {np.dtype(dtype).name.split('[')[0]}.* cannot be restored: .*{advice}"
    ):
        check_dtype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "f2", "f4", "f8", ">u2", "<f8"])
def test_supported_types(dtype: str) -> None:
    assert check_dtype(dtype) == np.dtype(dtype)


def test_a_note_names_the_precision_for_float64() -> None:
    assert "computed in float32" in (computed_in("f8") or "")
    assert "computed in float32" in (computed_in(">f8", "float32") or "")
    assert "computed in bfloat16" in (computed_in("f8", "bfloat16") or "")
    assert computed_in("f8", "float64") is None
    assert all(computed_in(dtype) is None for dtype in ("u1", "u2", "i2", "f2", "f4"))


WIDE = (-1.7e308, 1.7e308)


@pytest.mark.parametrize(
    ("dtype", "ends", "fits"),
    [
        ("f8", WIDE, False),
        ("f8", (1.7e308, 1.7e308), False),  # the sum of a hole's neighbours is infinite
        ("f8", (-1e300, 1e300), True),
        ("f4", (-3e38, 3e38), False),
        ("f4", (0, 3e38), True),
        ("f2", (-6e4, 6e4), True),
    ],
)
@pytest.mark.parametrize("way", ["auto", "fixed", "channels"])
def test_a_range_that_is_too_wide_is_refused_where_it_is_made(
    dtype: str, ends: tuple[float, float], fits: bool, way: str
) -> None:
    def make() -> object:
        if way == "auto":
            return Statistics(np.array([ends[0]]), np.array([ends[1]])).maps(RangeRequest("auto"), dtype)
        request = RangeRequest("fixed", *ends) if way == "fixed" else RangeRequest("channels", channels=(ends,))
        return request.known_maps(dtype, 1)

    if fits:
        assert make() == (IntensityMap(*ends),)
    else:
        with pytest.raises(RequestError, match=r"The intensity range from .* is too wide for float.* arithmetic: mark"):
            make()
