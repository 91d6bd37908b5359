"""Each tile of a column continues from the tile above: no row is computed twice, and none is another tile's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor

import swin2sr_ops
from swin2sr_ops.engine.row_cache import RowCache
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.geometry.plan import Tile, TilePlan
from swin2sr_ops.placement import Halo, Placement
from swin2sr_ops.spec import ModelSpec
from tests.conftest import NATIVE, random_net, small_spec
from tests.engine.test_tile_engine import HEADS, region, run

SHAPE = HEIGHT, WIDTH = (150, 70)


def windows_of(engine: TileEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many windows each call of a kernel computes."""
    counts: list[int] = []

    class Counting:
        def __init__(self, kernels: Any) -> None:
            self._kernels = kernels

        def __getattr__(self, name: str) -> Any:
            return getattr(self._kernels, name)

        def swin_block(self, block: Any, plane: int, stride: int, down: int, across: int, *more: Any) -> None:
            counts.append(down * across)
            self._kernels.swin_block(block, plane, stride, down, across, *more)

    assert engine._native is not None
    network = engine._native.network
    monkeypatch.setattr(network, "kernels", Counting(network.kernels))
    return counts


@NATIVE
@pytest.mark.parametrize(("upsampler", "scale"), [("pixelshuffledirect", 2), ("pixelshuffle_hf", 2)])
def test_nothing_is_computed_twice(upsampler: str, scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TileEngine(random_net(small_spec(upsampler=upsampler, scale=scale)), kernels="native")
    counts = windows_of(engine, monkeypatch)
    image = torch.rand(1, *SHAPE)
    whole = run(engine, image, SHAPE)
    once = sum(counts)
    for rows in (8, 24, 37, 100):
        counts.clear()
        assert torch.equal(run(engine, image, (rows, WIDTH), streamed=True), whole)
        assert sum(counts) == once
    counts.clear()
    run(engine, image, (24, WIDTH))
    assert sum(counts) > 1.3 * once


@pytest.mark.parametrize(("upsampler", "scale"), HEADS)
def test_all_heads_use_the_row_cache(upsampler: str, scale: int) -> None:
    channels = 3 if upsampler == "pixelshuffle_aux" else 1
    spec = small_spec(upsampler=upsampler, scale=scale, channels=channels, resi_connection="3conv")
    engine, image = TileEngine(random_net(spec)), torch.rand(channels, 90, 50)
    plan = TilePlan(spec, 90, 50, (25, 50))
    row_cache = RowCache()
    for tile in plan:
        assert (row_cache.last is not None and row_cache.last.fits(region(image, tile), tile)) == (tile.y.start > 0)
        expected = engine.run(region(image, tile), tile)
        for name, found in engine.run(region(image, tile), tile, row_cache).items():
            assert torch.equal(found, expected[name]), name
    assert row_cache.last is None, "nothing is below the last tile"


def changed(image: Tensor, row: int) -> Tensor:
    other = image.clone()
    other[0, row, 30] += 1e-3
    return other


def tile_at(spec: ModelSpec, row: int, column: int = 0, height: int = HEIGHT, halo: Halo = "exact") -> Tile:
    plan = TilePlan(spec, height, WIDTH, (40, 35), Placement(halo=halo))
    return next(tile for tile in plan if (tile.y.start, tile.x.start) == (row, column))


@pytest.mark.parametrize("what", ["another image", "another row", "another column", "another halo", "a taller image"])
def test_another_tile_than_the_one_below_starts_without_cache(what: str) -> None:
    """A single different pixel in the shared rows is enough; results are right in any order."""
    spec = small_spec()
    engine, image = TileEngine(random_net(spec)), torch.rand(1, 2 * HEIGHT, WIDTH)
    second = {
        "another image": tile_at(spec, 80),
        "another row": tile_at(spec, 120),
        "another column": tile_at(spec, 80, 35),
        "another halo": tile_at(spec, 80, halo=8),
        "a taller image": tile_at(spec, 80, height=2 * HEIGHT),
    }[what]
    first, given = tile_at(spec, 40), region(image[:, : second.y.size], second)
    if what == "another image":
        given = region(changed(image, second.y.read[0]), second)
    row_cache = RowCache()
    engine.run(region(image[:, :HEIGHT], first), first, row_cache)
    assert row_cache.last is not None
    assert not row_cache.last.fits(given, second)
    assert torch.equal(engine.run(given, second, row_cache)["image"], engine.run(given, second)["image"])


def test_pixels_that_only_the_tile_above_sees_do_not_matter() -> None:
    spec = small_spec()
    engine, image = TileEngine(random_net(spec)), torch.rand(1, *SHAPE)
    first, second = (t for t in TilePlan(spec, *SHAPE, (80, WIDTH)))
    row_cache = RowCache()
    given = changed(image, second.y.read[0] - 1)
    engine.run(region(given, first), first, row_cache)
    assert row_cache.last is not None
    assert row_cache.last.fits(region(image, second), second)
    alone = engine.run(region(image, second), second)["image"]
    assert torch.equal(engine.run(region(image, second), second, row_cache)["image"], alone)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return for each tile, in the order of columns, if it used the cache of another."""
    found: list[bool] = []
    take = RowCache.take

    def noted(self: RowCache, *given: Any) -> Any:
        kept = take(self, *given)
        found.append(kept is not None)
        return kept

    monkeypatch.setattr(RowCache, "take", noted)
    return found


def test_runs_go_down_their_columns(
    gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator, taken: list[bool]
) -> None:
    """Every column of every plane starts once and uses the cache; arrays, ensembles and smaller halos do not."""
    pixels = rng.integers(0, 4000, (2, 100, 90), dtype="u2")
    tifffile.imwrite(tmp_path / "in.tif", pixels, metadata={"axes": "CYX"}, ome=True)
    expected = swin2sr_ops.restore(pixels, model=gray_model, axes="CYX").compute()
    assert not taken
    swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "out.tif", model=gray_model, tile=(25, 50))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), expected)
    assert taken == ([False] + 3 * [True]) * 4
    taken.clear()
    for options in ({"ensemble": 8}, {"halo": 16}):
        swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "o.zarr", model=gray_model, overwrite=True, **options)
    assert not taken


def test_channels_restored_alone_do_not_use_it(
    gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator, taken: list[bool]
) -> None:
    colours = rng.integers(0, 255, (90, 40, 3), dtype="u1")
    tifffile.imwrite(tmp_path / "in.tif", colours, photometric="rgb")
    swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "o.zarr", model=gray_model, tile=30)
    assert not taken


def test_the_plan_says_so(gray_model: ModelSpec) -> None:
    restorer = swin2sr_ops.Restorer(gray_model)
    alone, streamed = restorer.plan(4096, 4096), restorer.plan(4096, 4096, in_order=True)
    assert not alone.streamed
    assert streamed.over_compute < alone.over_compute
    assert streamed.tile[1] > alone.tile[1]
    assert streamed.tile[0] * streamed.tile[1] <= alone.tile[0] * alone.tile[1]
    whole = restorer.plan(4096, 4096, (512, 4096), in_order=True)
    assert whole.over_compute == restorer.plan(4096, 4096, 4096).over_compute
    narrow = restorer.plan(9000, 100, in_order=True)
    assert narrow.tile[1] >= 100
    assert narrow.tile[0] > 1024
