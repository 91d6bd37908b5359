"""Flags mark pixels whose surroundings contained nodata, for any tiling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import integers, sampled_from

from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.geometry.plan import Span, Tile, TilePlan
from swin2sr_ops.geometry.tiles import tile_region
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.pixels.nodata_flags import CLEAN, HOLE, SAW_HOLE, context_flags, plane_flags
from swin2sr_ops.placement import Placement
from swin2sr_ops.spec import ModelSpec
from tests.conftest import small_spec

SPECS = {
    "short": small_spec(depths=(2,), heads=(2,)),
    "plain": small_spec(),
    "x3": small_spec(scale=3, upsampler="pixelshuffle", depths=(3,), heads=(2,)),
    "seven": small_spec(window=7, scale=1, upsampler="", depths=(1,), heads=(2,), resi_connection="3conv"),
}
models, halos = sampled_from(sorted(SPECS)), sampled_from(["exact", 1, 2])


def halo_of(spec: ModelSpec, times: str | int) -> str | int:
    return times if isinstance(times, str) else times * spec.window


def tiles_together(invalid: np.ndarray, spec: ModelSpec, halo: str | int, tile: tuple[int, int]) -> np.ndarray:
    order = AxisOrder.of(invalid.shape, "YX")
    whole = np.full(order.scaled(spec.scale), 9, np.uint8)
    for part in TilePlan(spec, *invalid.shape, tile, Placement(halo=halo)):
        write = tuple(slice(*span.write) for span in (part.y, part.x))
        whole[write] = context_flags(invalid[tile_region(order, part)], part, spec, halo)
    return whole


def holes(seed: int, height: int, width: int, share: float = 0.004) -> np.ndarray:
    rng = np.random.default_rng(seed)
    invalid = rng.random((height, width)) < share
    invalid[rng.integers(height), rng.integers(width)] = True
    return invalid


@given(models, halos, integers(1, 200), integers(1, 200), integers(3, 120), integers(3, 120), integers(0, 99))
def test_flags_do_not_depend_on_the_tiling(
    model: str, times: str | int, height: int, width: int, rows: int, columns: int, seed: int
) -> None:
    spec, invalid = SPECS[model], holes(seed, height, width)
    halo = halo_of(spec, times)
    whole = tiles_together(invalid, spec, halo, (height, width))
    np.testing.assert_array_equal(tiles_together(invalid, spec, halo, (rows, columns)), whole)


@given(models, halos, integers(1, 130), integers(1, 90), integers(0, 99))
def test_a_pixel_is_flagged_for_what_its_own_span_reads(
    model: str, times: str | int, height: int, width: int, seed: int
) -> None:
    """The oracle asks the plan for every single pixel, borders and padding included."""
    spec, invalid = SPECS[model], holes(seed, height, width)
    halo = halo_of(spec, times)
    rows, columns = (
        [slice(*Span.of(i, i + 1, size, spec, halo).source) for i in range(size)] for size in (height, width)
    )
    seen = np.array([[invalid[r, c].any() for c in columns] for r in rows])
    expected = np.where(invalid, HOLE, np.where(seen, SAW_HOLE, CLEAN)).repeat(spec.scale, 0).repeat(spec.scale, 1)
    np.testing.assert_array_equal(tiles_together(invalid, spec, halo, (height, width)), expected)


def test_clean_pixels_do_not_depend_on_holes(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    """Values in holes change no clean pixel, but change some of the flagged ones."""
    image = rng.random((170, 150)).astype("f4")
    invalid = np.zeros(image.shape, bool)
    invalid[40:43, 30] = invalid[120, 149] = True
    order, plan = AxisOrder.of(image.shape, "YX"), TilePlan(gray_model, *image.shape, image.shape)
    (tile,) = plan
    restorer = Restorer(gray_model, device="cpu")
    whole = restorer.restore_tile(image, order, tile, [IntensityMap(0, 1)])
    image[invalid] = 40.0
    other = restorer.restore_tile(image, order, tile, [IntensityMap(0, 1)])
    flags = context_flags(invalid, tile, gray_model, "exact")
    changed = whole != other
    assert not changed[flags == CLEAN].any()
    assert 0.02 < (flags == CLEAN).mean() < 0.9
    near = changed & (flags == SAW_HOLE)
    assert near.any(0)[:130].any()
    assert near.sum() > 0.5 * (flags == SAW_HOLE).sum()


def test_clean_pixels_do_not_depend_on_filling(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    """At clean pixels, a filled hole and its true values give the same result."""
    image = rng.random((96, 200)).astype("f4")
    order, plan = AxisOrder.of(image.shape, "YX"), TilePlan(gray_model, *image.shape, (96, 60))
    valid = np.ones(image.shape, bool)
    valid[50:60, 5:9] = False
    restorer = Restorer(gray_model, device="cpu")
    for tile in plan:
        region = tile_region(order, tile)
        args = image[region], order, tile, [IntensityMap(0, 1)]
        true, filled = restorer.restore_tile(*args), restorer.restore_tile(*args, valid=valid[region])
        flags = context_flags(~valid[region], tile, gray_model, "exact")
        np.testing.assert_array_equal(filled[flags == CLEAN], true[flags == CLEAN])
        assert (flags == CLEAN).any()
        assert (flags == HOLE).any() == (tile.x.start == 0)


def test_blocks_have_flags_per_plane() -> None:
    spec = SPECS["short"]
    image = np.ones((2, 40, 3, 44), "f4")
    image[0, 20, 1, 20] = np.nan
    image[1, 3, 2, 5] = -1
    valid = np.ones((1, 40, 1, 44), bool)
    valid[0, 39, 0, 43] = False
    order = AxisOrder.of(image.shape, "CYSX")
    plan = TilePlan(spec, 40, 44, (40, 44))
    (tile,) = plan
    flags = plane_flags(image, order, tile, plan, nodata=-1, valid=valid)
    assert flags.shape == (2, 80, 3, 88)
    for plane, (y, x) in enumerate([(20, 20), (3, 5)]):
        invalid = ~valid[0, :, 0].copy()
        invalid[y, x] = True
        for colour in range(3):
            np.testing.assert_array_equal(flags[plane, :, colour], context_flags(invalid, tile, spec, "exact"))
    whole = plane_flags(np.ones((40, 44), "u2"), AxisOrder.of((40, 44), "YX"), tile, plan, nodata=0)
    assert whole.shape == (80, 88)
    assert not whole.any()


def test_opacity_does_not_count() -> None:
    plan = TilePlan(SPECS["short"], 40, 44, (40, 44))
    image = np.ones((40, 44, 4), "u2")
    image[..., 3] = 7
    order = AxisOrder.of(image.shape, "YXS")
    flags = plane_flags(image, order, next(iter(plan)), plan, nodata=7)
    assert flags.shape == (80, 88, 4)
    assert not flags.any()


def test_pixels_of_zero_opacity_are_nodata() -> None:
    plan = TilePlan(SPECS["short"], 40, 44, (40, 44))
    image = np.ones((40, 44, 4), "u2")
    image[3, 5, 3] = 0
    flags = plane_flags(image, AxisOrder.of(image.shape, "YXS"), next(iter(plan)), plan)
    assert (flags[6:8, 10:12] == HOLE).all()
    assert (flags == HOLE).sum() == 4 * 4


def test_another_region_is_refused() -> None:
    (tile,) = TilePlan(SPECS["short"], 40, 44, (40, 44))
    with pytest.raises(RequestError, match=r"invalid has the shape \(40, 40\), the region of tile y=0:40 x=0:44"):
        context_flags(np.ones((40, 40), bool), tile, SPECS["short"], "exact")


def test_a_large_tile_is_quick() -> None:
    from time import process_time

    spec = SPECS["plain"]
    invalid = holes(0, 2000, 2000)
    order = AxisOrder.of(invalid.shape, "YX")
    tile = Tile(*(Span.exact(500, 1524, 2000, spec) for _ in "YX"))
    region = invalid[tile_region(order, tile)]
    best = 9.0
    for _ in range(5):
        began = process_time()
        context_flags(region, tile, spec, "exact")
        best = min(best, process_time() - began)
    assert best < 0.05
