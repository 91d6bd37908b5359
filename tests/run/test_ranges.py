"""The intensity map of a stored image: out of core, on several workers, of a sample with its error."""

from __future__ import annotations

import pickle
import random
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.io.base import ImageInfo, Region
from swin2sr_ops.pixels.intensity import IntensityMap, RangeRequest
from swin2sr_ops.pixels.sampling import Band, BandGrid, Bands, deal, stratified
from swin2sr_ops.pixels.statistics import Statistics
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run import ranges as intensity
from swin2sr_ops.run.input_watch import InputWatch
from swin2sr_ops.run.ranges import Look, each_in_threads, intensity_maps
from swin2sr_ops.spec import ModelSpec


@dataclass
class Pixels:
    """An image in memory that records which regions are read."""

    pixels: np.ndarray
    axes: str
    chunks: tuple[int, ...]
    uri: str = "memory"
    regions: list[Region] = field(default_factory=list)

    @property
    def info(self) -> ImageInfo:
        return ImageInfo(shape=self.pixels.shape, axes=self.axes, dtype=self.pixels.dtype, chunks=self.chunks)

    def read(self, region: Region) -> np.ndarray:
        self.regions.append(region)
        return self.pixels[region]


def job_of(source: Pixels, request: str, nodata: float | None = None, parts: Sequence[Any] = ()) -> Any:
    """Return a stand-in for a `Job` with all that `intensity_maps` uses."""
    known = [group for part in parts for group in part.groups]
    return SimpleNamespace(
        source=source,
        order=AxisOrder.of(source.info.shape, source.axes, last_c_is_colour=False),
        range=RangeRequest.parse(request),
        nodata=nodata,
        parts=parts,
        map_of=lambda c: next((i for i, group in enumerate(known) if c in group), c),
    )


def maps_of(source: Pixels, request: str, **options: Any) -> tuple[IntensityMap, ...]:
    each, mask = options.pop("each", None), options.pop("mask", None)
    return intensity_maps(job_of(source, request, **options), lambda _: None, each, mask=mask)


def backwards(function: Callable, items: Sequence, done: Callable) -> None:
    """Pickle the work, and return the answers in another order."""
    function = pickle.loads(pickle.dumps(function))
    order = list(range(len(items)))
    random.Random(1).shuffle(order)
    for i in order:
        item = pickle.loads(pickle.dumps(items[i]))
        done(items[i], function(item))


@pytest.fixture
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensity, "BAND_BYTES", 5000)


# --- regions ----------------------------------------------------------------------------------------


@given(sampled_from(["YX", "CYX", "YXS", "TCZYX", "YCX"]), integers(1, 400), integers(0, 999))
def test_regions_are_the_image_once(axes: str, values: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 9, len(axes)))
    shape = tuple(3 if a == "S" else n for a, n in zip(axes, shape, strict=True))
    chunks = tuple(int(n) for n in rng.integers(1, 5, len(axes)))
    order = AxisOrder.of(shape, axes, last_c_is_colour=False)
    channels = (0, 1) if order.channel is None else (shape[order.channel] // 2, shape[order.channel])
    grid = BandGrid.of(order, chunks, values, channels, 2)
    seen = np.zeros(shape, int)
    for band in Bands(grid, range(grid.count)):
        assert band.channel == (0 if order.channel is None else band.region[order.channel].start)
        seen[band.region] += 1
    expected = np.ones(shape, int)
    if order.channel is not None:
        np.moveaxis(expected, order.channel, 0)[: channels[0]] = 0
    np.testing.assert_array_equal(seen, expected)
    for axis, (step, chunk, n) in enumerate(zip(grid.step, chunks, shape, strict=True)):
        assert axis == order.channel or step % chunk == 0 or step == n


def test_regions_go_through_the_thickness_of_a_chunk() -> None:
    order = AxisOrder.of((1, 64, 2000, 2000), "CZYX")
    grid = BandGrid.of(order, (1, 16, 100, 100), 1_000_000, (0, 1), 16)
    assert grid.step == (1, 16, 100, 600)


@given(integers(1, 300), integers(0, 3000))
def test_a_spread_is_everywhere(count: int, more: int) -> None:
    found = stratified(count, count + more)
    assert len(set(found)) == count
    assert list(found) == sorted(found)
    assert found[0] >= 0
    assert found[-1] < count + more
    assert max(np.diff([0, *found, count + more])) <= 2 * -(-(count + more) // count)


def test_a_sample_sees_all_planes_and_columns() -> None:
    """Also if the sample consists of entire rows or planes of regions; each group has one of 16 consecutive ones."""
    for shape in ((8, 16, 16), (64, 8, 4), (1, 64, 64), (16, 16, 16)):
        grid = BandGrid((0, 0, 0), shape, (1, 1, 1), None)
        bands = Bands(grid, stratified(128, grid.count), 16, deal(128, 16))
        places = np.array([[part.start for part in band.region] for band in bands])
        assert np.sort(np.reshape([band.group for band in bands], (8, 16))).tolist() == [list(range(16))] * 8
        for axis, n in enumerate(shape):
            thirds = np.histogram(places[:, axis], bins=min(n, 3), range=(0, n))[0]
            assert thirds.min() > 0.5 * 128 / min(n, 3)


# --- exact ------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    sampled_from(["YX", "CYX", "YXS", "TCZYX", "CZYXS"]),
    sampled_from(["u1", "u2", "i2", "f2", "f4", "f8"]),
    sampled_from(["auto", "p2,p97"]),
    integers(0, 99),
)
def test_any_regions_any_order_any_worker(axes: str, dtype: str, request_: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(
        3 if a == "S" else int(n) for a, n in zip(axes, rng.integers(2, 24 // len(axes) + 3, len(axes)), strict=True)
    )
    pixels = (rng.random(shape) * 250).astype(dtype)
    pixels[rng.random(shape) < 0.1] = 7
    chunks = tuple(int(n) for n in rng.integers(1, 9, len(axes)))
    source = Pixels(pixels, axes, chunks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intensity, "BAND_BYTES", 500)
        patch.setattr(intensity, "CHANNELS", int(rng.integers(1, 5)))
        found = maps_of(source, request_, nodata=7)
        assert maps_of(source, request_, nodata=7, each=backwards) == found
    if dtype == "u1" and request_ == "auto":
        assert found == (IntensityMap(0, 255),)
        return
    apart = np.moveaxis(pixels, axes.index("C"), 0) if "C" in axes else pixels[None]
    for channel, ends in zip(apart, found, strict=True):
        values = channel[channel != 7].astype("f4" if dtype == "f8" and request_ != "auto" else dtype)
        expected = np.percentile(values, (0, 100) if request_ == "auto" else (2, 97), method="lower")
        assert [ends.lo, ends.hi] == expected.astype(float).tolist()
        assert ends.error is None


def test_bands_that_go_together_share_a_map(small_bands: None, rng: np.random.Generator) -> None:
    """Red, green and blue of a raster have one map, its other bands their own, opacity none."""
    pixels = np.stack([rng.integers(10 * i, 10 * i + 9, (60, 50)) for i in range(6)]).astype("u2")
    pixels[3] = 65535
    pixels[3, 0, 0] = 0
    net = object()
    parts = [
        SimpleNamespace(groups=((5, 2, 1),), restorer=net),
        SimpleNamespace(groups=((0,), (4,)), restorer=net),
        SimpleNamespace(groups=((3,),), restorer=None),
    ]
    for chunks in ((1, 20, 50), (6, 20, 20), (2, 60, 50)):
        for channels in (1, 3, 16):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(intensity, "CHANNELS", channels)
                found = maps_of(Pixels(pixels, "CYX", chunks), "auto", parts=parts)
                ranked = maps_of(Pixels(pixels.astype("f4"), "CYX", chunks), "p1,p99", parts=parts)
        assert found == (IntensityMap(10, 58), IntensityMap(0, 8), IntensityMap(40, 48), IntensityMap(0, 1))
        colours = np.percentile(pixels[[1, 2, 5]], (1, 99), method="lower")
        assert (ranked[0].lo, ranked[0].hi) == tuple(colours)
        assert ranked[3] == IntensityMap(0, 1)


def test_masked_pixels_do_not_count(small_bands: None, rng: np.random.Generator) -> None:
    pixels = rng.integers(100, 200, (2, 40, 60)).astype("u2")
    pixels[:, :20, :] = 9000
    mask = np.ones((20, 30), "u1")
    mask[:10] = 0
    source = Pixels(pixels, "CYX", (1, 16, 16))
    given_ = maps_of(source, "auto", mask=Pixels(mask, "YX", (20, 30)))
    assert given_ == tuple(IntensityMap(float(p.min()), float(p.max())) for p in pixels[:, 20:])
    source.valid_mask = lambda window: (mask != 0).repeat(2, 0).repeat(2, 1)[window]  # type: ignore[attr-defined]
    assert maps_of(source, "auto") == given_
    with pytest.raises(RequestError, match="no valid pixel"):
        maps_of(source, "auto", mask=Pixels(1 - mask, "YX", (20, 30)))


def test_progress_is_reported(small_bands: None, rng: np.random.Generator) -> None:
    source = Pixels(rng.random((3, 40, 60)).astype("f4"), "CYX", (1, 16, 60))
    events: list[Any] = []
    intensity_maps(job_of(source, "p1,p99"), events.append)
    assert [e.done for e in events] == list(range(1, len(events) + 1))
    assert {e.total for e in events} == {len(events)} == {2 * 3 * 3}
    assert {e.kind for e in events} == {"range"}
    assert intensity_maps(job_of(source, "0,1"), events.append) == (IntensityMap(0, 1),)
    assert len(source.regions) == len(events)


def test_memory_does_not_grow_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensity, "BAND_BYTES", 1 << 14)

    def peak(planes: int) -> int:
        pixels = np.broadcast_to(np.arange(64 * 64, dtype="u2").reshape(64, 64), (planes, 64, 64))
        source = Pixels(pixels, "ZYX", (1, 64, 64))
        source.regions = []
        look = job_of(source, "p1,p99")
        tracemalloc.start()
        intensity_maps(look, lambda _: None)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(300) < 2 * peak(30)  # threads differ a little; every region's histogram would be 25 times


def test_threads_stop_at_the_first_error() -> None:
    begun: list[int] = []

    def function(i: int) -> int:
        begun.append(i)
        if i == 3:
            raise OSError("the disk")
        return i

    done: list[int] = []
    with pytest.raises(OSError, match="the disk"):
        each_in_threads(function, range(1000), lambda i, _: done.append(i))
    assert done == [0, 1, 2]
    assert len(begun) < 20


# --- a sample ---------------------------------------------------------------------------------------


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of 64 chunks of 16 x 16 pixels."""
    monkeypatch.setattr(intensity, "SAMPLE_BLOCK", 256)
    monkeypatch.setattr(intensity, "SAMPLE_PIXELS", 64 * 256)


def picture(seed: int, shape: tuple[int, int] = (512, 512)) -> np.ndarray:
    """Uneven light, blobs larger than a chunk, noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / 512
    coarse = rng.random((shape[0] // 32, shape[1] // 32)).repeat(32, 0).repeat(32, 1)
    return 500 + 300 * y + 100 * x**2 + 2000 * coarse**4 + rng.normal(0, 20, shape)


def test_the_error_is_that_of_the_sample(small_sample: None) -> None:
    """The error against percentiles of whole images agrees with the stated standard error."""
    scores = []
    for seed in range(40):
        pixels = picture(seed).astype("u2")
        (found,) = maps_of(Pixels(pixels, "YX", (16, 16)), "p5,p95:sample")
        assert found.error is not None
        true = np.percentile(pixels, (5, 95), method="lower")
        scores += [(found.lo - true[0]) / found.error[0], (found.hi - true[1]) / found.error[1]]
    assert 0.4 < np.sqrt(np.mean(np.square(scores))) < 1.4
    assert np.mean(np.abs(scores) < 1) > 0.55
    assert np.max(np.abs(scores)) < 6
    assert np.abs(np.mean(scores)) < 0.5


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_the_formula(small_sample: None, dtype: str) -> None:
    """Percentiles and error are those of NumPy on the chunks that were read, group by group."""
    pixels = picture(0).astype(dtype)
    pixels[:100, :100] = 0  # groups of different sizes
    source = Pixels(pixels, "YX", (16, 16))
    (found,) = maps_of(source, "p5,p95:sample", nodata=0)
    request = RangeRequest.parse("p5,p95:sample")
    (bands,) = Look(source, AxisOrder.of(pixels.shape, "YX"), 0, request).parts((0,))
    assert len(bands) == 64
    assert {tuple(map(str, r)) for r in source.regions} == {tuple(map(str, b.region)) for b in bands}
    groups = [np.concatenate([pixels[b.region].ravel() for b in bands if b.group == g]) for g in range(16)]
    groups = [g[g != 0] for g in groups]
    q = np.percentile(np.concatenate(groups), (5, 95), method="lower")
    assert (found.lo, found.hi) == tuple(q)
    weights = np.array([g.size for g in groups]) / sum(g.size for g in groups)
    apart = np.array([np.percentile(g, (5, 95), method="lower") for g in groups], float) - q
    expected = np.sqrt((1 - 64 / 1024) * 16 / 15 * (weights[:, None] ** 2 * apart**2).sum(0))
    assert found.error == pytest.approx(tuple(expected))
    assert found.to_dict() == {"lo": found.lo, "hi": found.hi, "error": list(found.error)}


def test_a_sample_is_the_same_every_time_and_everywhere(small_sample: None) -> None:
    pixels = np.stack([picture(0), picture(1), picture(2)]).astype("f4")
    for chunks in ((1, 16, 16), (3, 16, 16), (2, 8, 32)):
        source = Pixels(pixels, "CYX", chunks)
        found = maps_of(source, "p1,p99:sample")
        assert len(found) == 3
        assert all(m.error is not None and min(m.error) > 0 for m in found)
        read = sum(np.prod([s.stop - s.start for s in r]) for r in source.regions)
        assert read <= 2 * 3 * 64 * 256  # two looks
        assert maps_of(source, "p1,p99:sample", each=backwards) == found
        for i, m in enumerate(found):
            true = np.percentile(pixels[i], (1, 99), method="lower")
            assert abs(m.lo - true[0]) < 5 * m.error[0]  # type: ignore[index]


def test_a_sample_of_bands_that_share_a_map(small_sample: None) -> None:
    pixels = np.stack([picture(0), picture(1) + 900, picture(2), picture(3)]).astype("f4")
    parts = [
        SimpleNamespace(groups=((1, 0),), restorer=object()),
        SimpleNamespace(groups=((2,),), restorer=object()),
        SimpleNamespace(groups=((3,),), restorer=None),
    ]
    for chunks in ((1, 16, 16), (4, 16, 16)):
        both, alone, none = maps_of(Pixels(pixels, "CYX", chunks), "p5,p95:sample", parts=parts)
        true = np.percentile(pixels[:2], (5, 95))
        assert none == IntensityMap(0, 1)
        assert both.error is not None
        assert alone.error is not None
        assert abs(both.lo - true[0]) < 4 * both.error[0]
        assert abs(both.hi - true[1]) < 4 * both.error[1]


def test_small_images_are_read_entirely(small_sample: None) -> None:
    pixels = picture(0, (96, 96)).astype("u2")
    assert maps_of(Pixels(pixels, "YX", (16, 16)), "p1,p99:sample") == maps_of(Pixels(pixels, "YX", (16, 16)), "p1,p99")


def test_a_sample_without_valid_pixels_falls_back_to_all_pixels(small_sample: None) -> None:
    pixels = np.full((512, 512), np.nan, "f4")
    pixels[100:110, 100:110] = np.arange(100).reshape(10, 10)
    events: list[Any] = []
    (found,) = intensity_maps(job_of(Pixels(pixels, "YX", (16, 16)), "p1,p99:sample"), events.append)
    assert found == IntensityMap(0, 98)
    assert events[-1].done == events[-1].total
    with pytest.raises(RequestError, match="no valid pixel"):
        maps_of(Pixels(pixels[200:, 200:], "YX", (16, 16)), "p1,p99:sample")


def test_a_second_look_travels_light(small_sample: None) -> None:
    """Bins, not histograms, go to the workers."""
    band = Band((slice(0, 1), slice(0, 9)), 0, 0, ((1, 2, 3, 4),))
    assert len(pickle.dumps(band)) < 400


def test_values_beyond_float32_get_a_sentence() -> None:
    pixels = np.linspace(-1e300, 1e300, 1000).reshape(20, 50)
    with pytest.raises(RequestError, match="beyond what float32 holds"):
        maps_of(Pixels(pixels, "YX", (16, 16)), "p1,p99")


def test_statistics_of_a_valid_part() -> None:
    block = np.arange(24, dtype="u2").reshape(2, 3, 4)
    valid = np.zeros_like(block, bool)
    valid[0, 1, 1:3] = valid[1, 2, 0] = True
    found = Statistics.of(block, 0, valid=valid)
    assert found.low.tolist() == [5, 20]
    assert found.high.tolist() == [6, 20]
    assert Statistics.of(np.moveaxis(block, 0, 2), 2, valid=np.moveaxis(valid, 0, 2)).low.tolist() == [5, 20]
    assert Statistics.of(block, None, nodata=5, valid=valid).low.tolist() == [6]


def test_only_sampled_maps_state_an_error() -> None:
    assert IntensityMap(1, 2).to_dict() == {"lo": 1, "hi": 2}
    assert replace(IntensityMap(1, 2), error=(0.5, 0.25)).to_dict() == {"lo": 1, "hi": 2, "error": [0.5, 0.25]}


def test_lazy_arrays_are_not_sampled() -> None:
    import swin2sr_ops

    with pytest.raises(RequestError, match="Omit ':sample', give two values, or use swin2sr_ops"):
        swin2sr_ops.restore(np.zeros((40, 40), "u2"), range="p1,p99:sample")


def test_stored_images_are_sampled(small_sample: None, tmp_path: Path) -> None:
    """Real sources, read by several threads at once: as `prepare` opens them."""
    import tifffile
    import zarr

    from swin2sr_ops.run.job import prepare

    pixels = np.stack([picture(0), picture(1)]).astype("u2")
    expected = maps_of(Pixels(pixels, "CYX", (1, 16, 16)), "p1,p99:sample")
    options = {"tile": (16, 16), "compression": "zlib", "metadata": {"axes": "CYX"}}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, **options)
    zarr.create_array(tmp_path / "a.zarr", data=pixels, chunks=(1, 16, 16))
    for name in ("a.ome.tif", "a.zarr"):
        job = prepare(tmp_path / name, RestoreRequest(axes="CYX", range="p1,p99:sample"))
        assert intensity_maps(job, lambda _: None) == expected
        whole = intensity_maps(replace(job, range=RangeRequest.parse("p1,p99")), lambda _: None)
        assert [(m.lo, m.hi) for m in whole] == [tuple(np.percentile(p, (1, 99), method="lower")) for p in pixels]


@pytest.mark.parametrize("request_", ["auto", "p0,p100"])
def test_a_channel_without_contrast_is_named(request_: str) -> None:
    pixels = np.zeros((2, 20, 20), "u2")
    pixels[1, 0, 0] = 9
    with pytest.warns(UserWarning, match="channel 0 have the value 0"):
        maps_of(Pixels(pixels, "CYX", (1, 20, 20)), request_)


@pytest.mark.parametrize("asked", ["0,4095", "dtype", "0,4095;0,900", "like"])
def test_a_range_that_needs_no_pixels_needs_no_second_look(
    asked: str, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the input, which may be many, are not compared again: neither in a run, nor where it is served."""
    image = np.random.default_rng(0).integers(100, 900, (2, 40, 50)).astype("u2")
    tifffile.imwrite(tmp_path / "a.ome.tif", image, metadata={"axes": "CYX"}, photometric="minisblack")
    first = swin2sr_ops.restore_image(tmp_path / "a.ome.tif", tmp_path / "first.ome.zarr", model=gray_model)

    def second_look(self: InputWatch, look: object) -> None:
        raise AssertionError(f"a second look at the files: {look}")

    monkeypatch.setattr(InputWatch, "steady", second_look)
    request: dict[str, Any] = {"model": gray_model}
    request["range"] = f"like:{tmp_path / 'first.ome.zarr'}" if asked == "like" else asked
    report = swin2sr_ops.restore_image(tmp_path / "a.ome.tif", tmp_path / "x.ome.zarr", **request)
    with swin2sr_ops.restored_store(tmp_path / "a.ome.tif", name="x.ome.zarr", **request) as store:
        assert [one.to_dict() for one in store.image.maps] == report.settings["intensity"]
    if asked == "like":
        assert report.settings["intensity"] == first.settings["intensity"]
    with pytest.raises(AssertionError, match="a second look"):
        swin2sr_ops.restore_image(tmp_path / "a.ome.tif", tmp_path / "y.ome.zarr", model=gray_model)
