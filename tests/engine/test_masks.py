"""Masks in the restorer: filled before the network, kept as stored; a tile without a pixel costs nothing."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.geometry.plan import Tile, TilePlan
from swin2sr_ops.geometry.tiles import tile_region
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.pixels.planes import Tally
from swin2sr_ops.placement import Placement
from swin2sr_ops.spec import ModelSpec

UNIT = [IntensityMap(0, 1)]


def whole_tile(order: AxisOrder, spec: ModelSpec) -> Tile:
    size = order.shape[order.y], order.shape[order.x]
    (tile,) = TilePlan(spec, *size, size)
    return tile


def enlarged(image: np.ndarray, axes: tuple[int, int] = (-2, -1)) -> np.ndarray:
    return image.repeat(2, axes[0]).repeat(2, axes[1])


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "f2", "f4", "f8"])
def test_a_mask_is_nodata_without_a_value(gray_model: ModelSpec, rng: np.random.Generator, dtype: str) -> None:
    """Masked values do not affect their surroundings, and come back unchanged, scale x scale times."""
    image = (rng.random((60, 70)) * 100).astype(dtype)
    valid = rng.random(image.shape) > 0.1
    valid[20:40, 30:50] = False
    order = AxisOrder.of(image.shape, "YX")
    tile, restorer = whole_tile(order, gray_model), Restorer(gray_model, device="cpu")
    ends = [IntensityMap(0, 100)]
    out = restorer.restore_tile(image, order, tile, ends, valid=valid)
    holes = enlarged(~valid)
    np.testing.assert_array_equal(out[holes], enlarged(image)[holes])
    other = image.copy()
    other[~valid] = 127
    changed = restorer.restore_tile(other, order, tile, ends, valid=valid)
    np.testing.assert_array_equal(changed[~holes], out[~holes])
    assert (changed[holes] == 127).all()
    as_nodata = restorer.restore_tile(other, order, tile, ends, nodata=127)
    np.testing.assert_array_equal(as_nodata[~holes], out[~holes])
    assert restorer.skipped == 0


def test_nan_nodata_and_mask_together(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    image = rng.random((64, 48)).astype("f4")
    image[3:9, 4:8], image[20:26, 9], image[50, 40] = np.nan, -5, np.inf
    valid = np.ones(image.shape, bool)
    valid[22:30, 8:12] = valid[5, 2:20] = False
    order = AxisOrder.of(image.shape, "YX")
    tile, restorer = whole_tile(order, gray_model), Restorer(gray_model, device="cpu")
    out = restorer.restore_tile(image, order, tile, UNIT, nodata=-5, valid=valid)
    invalid = ~valid | ~np.isfinite(image) | (image == -5)
    alone = np.where(invalid, np.float32(np.nan), image)
    expected = restorer.restore_tile(alone, order, tile, UNIT)
    holes = enlarged(invalid)
    np.testing.assert_array_equal(out[~holes], expected[~holes])
    np.testing.assert_array_equal(out[holes], enlarged(image)[holes])
    assert np.isfinite(out[~holes]).all()


@settings(max_examples=10)
@given(rows=integers(20, 64), columns=integers(20, 64), seed=integers(0, 99), halo=sampled_from(["exact"]))
def test_masks_do_not_depend_on_the_tiling(
    gray_model: ModelSpec, rows: int, columns: int, seed: int, halo: str
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 4000, (80, 90)).astype("u2")
    valid = rng.random(image.shape) > 0.02
    valid[: rows + 3, : columns + 2] = False
    order, ends = AxisOrder.of(image.shape, "YX"), [IntensityMap(0, 4000)]
    restorer = Restorer(gray_model, device="cpu")
    whole = restorer.restore_tile(image, order, whole_tile(order, gray_model), ends, valid=valid)
    before = restorer.skipped
    out = np.zeros_like(whole)
    for tile in TilePlan(gray_model, *image.shape, (rows, columns), Placement(halo=halo)):  # type: ignore[arg-type]
        region = tile_region(order, tile)
        write = tuple(slice(*span.write) for span in (tile.y, tile.x))
        out[write] = restorer.restore_tile(image[region], order, tile, ends, valid=valid[region])
    np.testing.assert_array_equal(out, whole)
    assert restorer.skipped > before  # the first tile owns nothing but masked pixels


def test_planes_channels_and_colours_have_their_own_masks(
    gray_model: ModelSpec, rgb_model: ModelSpec, rng: np.random.Generator
) -> None:
    image = rng.random((2, 3, 40, 44)).astype("f4")
    own = rng.random(image.shape) > 0.1
    stack = AxisOrder.of(image.shape, "TCYX", last_c_is_colour=False)
    tile, restorer = whole_tile(stack, gray_model), Restorer(gray_model, device="cpu")
    maps = [IntensityMap(0, 1 + i) for i in range(3)]
    plane = AxisOrder.of(image.shape[2:], "YX")
    for valid in (own, own[:1], own[:, :1], own[0, 0]):
        out = restorer.restore_tile(image, stack, tile, maps, valid=valid)
        full = np.broadcast_to(valid, image.shape)
        for t, c in np.ndindex(2, 3):
            alone = restorer.restore_tile(image[t, c], plane, tile, [maps[c]], valid=full[t, c])
            np.testing.assert_array_equal(out[t, c], alone)
    # Colours last, of a stack: the same pixels as one plane, planes first.
    colours = Restorer(rgb_model, device="cpu")
    order = AxisOrder.of((2, 40, 44, 3), "TYXS")
    out = colours.restore_tile(image.transpose(0, 2, 3, 1), order, tile, UNIT, valid=own[:, :1].transpose(0, 2, 3, 1))
    single = AxisOrder.of((3, 40, 44), "SYX")
    for t in range(2):
        alone = colours.restore_tile(image[t], single, tile, UNIT, valid=own[t, 0])
        np.testing.assert_array_equal(out[t].transpose(2, 0, 1), alone)


def count_runs(restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> list[Tile]:
    """The tiles that enter the network."""
    runs: list[Tile] = []
    engine = restorer.network.engine()
    run = engine.run

    def noted(x: Any, tile: Tile) -> Any:
        runs.append(tile)
        return run(x, tile)

    monkeypatch.setattr(engine, "run", noted)
    return runs


@pytest.mark.parametrize("how", ["mask", "nodata", "nan"])
def test_an_empty_tile_does_not_run(
    gray_model: ModelSpec, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its result equals that of a run in which it belongs to a larger tile with valid pixels."""
    image = rng.random((64, 96)).astype("f4")
    valid: np.ndarray | None = np.ones(image.shape, bool)
    assert valid is not None
    valid[:, :48] = False
    if how != "mask":
        image[~valid], valid = -1 if how == "nodata" else np.nan, None
    order = AxisOrder.of(image.shape, "YX")
    restorer = Restorer(gray_model, device="cpu")
    runs = count_runs(restorer, monkeypatch)
    whole = restorer.restore_tile(image, order, whole_tile(order, gray_model), UNIT, -1, valid)
    assert (len(runs), restorer.skipped) == (1, 0)
    first, second = TilePlan(gray_model, 64, 96, (64, 48))
    for tile, done in ((first, 1), (second, 2)):
        region = tile_region(order, tile)
        out = restorer.restore_tile(image[region], order, tile, UNIT, -1, None if valid is None else valid[region])
        np.testing.assert_array_equal(out, whole[:, slice(*tile.x.write)])
        assert len(runs) == done  # the empty one's surroundings are not
    assert restorer.skipped == 1
    np.testing.assert_array_equal(whole[:, :96], enlarged(image[:, :48]))


def test_planes_are_skipped_one_by_one(
    gray_model: ModelSpec, rgb_model: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.ones((3, 32, 32), "u2")
    image[1] = 0
    order = AxisOrder.of(image.shape, "ZYX")
    restorer = Restorer(gray_model, device="cpu")
    runs = count_runs(restorer, monkeypatch)
    out = restorer.restore_tile(image, order, whole_tile(order, gray_model), UNIT, nodata=0)
    assert (len(runs), restorer.skipped) == (2, 1)
    np.testing.assert_array_equal(out == 0, enlarged(image == 0))
    # Colours are restored together, also if one of them is empty.
    colours = Restorer(rgb_model, device="cpu")
    runs = count_runs(colours, monkeypatch)
    order = AxisOrder.of((4, 32, 32), "SYX")
    image = np.ones((4, 32, 32), "u2")
    image[1] = 0
    for done, skipped in ((1, 0), (1, 1)):
        out = colours.restore_tile(image, order, whole_tile(order, rgb_model), UNIT, nodata=0)
        assert (len(runs), colours.skipped) == (done, skipped)
        np.testing.assert_array_equal(out == 0, enlarged(image == 0))
        image[:3] = 0  # opacity alone needs no network
    assert (out[3] == 1).all()


def test_the_count_stays_in_its_process(gray_model: ModelSpec) -> None:
    restorer = Restorer(gray_model, device="cpu")
    image = np.zeros((16, 16), "u1")
    order = AxisOrder.of(image.shape, "YX")
    restorer.restore_tile(image, order, whole_tile(order, gray_model), UNIT, nodata=0)
    assert restorer.skipped == 1
    assert pickle.loads(pickle.dumps(restorer)).skipped == 0
    assert copy.deepcopy(restorer).skipped == 0
    assert restorer.bare().skipped == 0
    tally = Tally()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(tally.add, [1] * 5000))
    assert tally.count == 5000


def test_a_mask_that_does_not_fit_is_refused(gray_model: ModelSpec) -> None:
    image = np.zeros((16, 20), "u1")
    order = AxisOrder.of(image.shape, "YX")
    with pytest.raises(RequestError, match=r"valid has the shape \(20, 16\), the block \(16, 20\)"):
        Restorer(gray_model).restore_tile(
            image, order, whole_tile(order, gray_model), UNIT, valid=np.ones((20, 16), bool)
        )
