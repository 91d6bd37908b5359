"""The engine in C computes entire networks: all heads and stage ends, any tiles, any number of threads."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers, sampled_from

from swin2sr_ops.engine.native import tile as tile_module
from swin2sr_ops.engine.native.engine import NativeEngine
from swin2sr_ops.engine.native.planes import Plane
from swin2sr_ops.engine.row_cache import RowCache
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.geometry.plan import TilePlan, tile_bytes
from swin2sr_ops.hooks.models import list_models
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.placement import Placement
from swin2sr_ops.spec import ModelSpec
from tests.conftest import NATIVE, random_net, small_spec
from tests.engine.test_tile_engine import HEADS, run

pytestmark = NATIVE


def native(net: SwinNet) -> NativeEngine:
    return NativeEngine(net.spec, {name: value.numpy() for name, value in net.state_dict().items()})


def restored(
    engine: NativeEngine, image: np.ndarray, tile: tuple[int, int], streamed: bool = False, threads: int = 1
) -> np.ndarray:
    channels, height, width = image.shape
    s, row_cache = engine.spec.scale, RowCache() if streamed else None
    out = np.full((channels, height * s, width * s), np.nan, np.float32)
    for t in TilePlan(engine.spec, height, width, tile):
        region = image[:, slice(*t.y.source), slice(*t.x.source)][:, t.y.padding][:, :, t.x.padding]
        out[:, slice(*t.y.write), slice(*t.x.write)] = engine.run(region, t, row_cache, threads)
    return out


def engines(cache: dict = {}, **changes: object) -> tuple[NativeEngine, TileEngine]:  # noqa: B006
    key = repr(changes)
    if key not in cache:
        net = random_net(small_spec(depths=(2,), heads=(2,), **changes))
        cache[key] = native(net), TileEngine(copy.deepcopy(net).double())
    return cache[key]


@settings(max_examples=60)
@given(
    head=sampled_from(HEADS),
    architecture=sampled_from(["swin2sr", "swinir"]),
    window=sampled_from([7, 8]),
    channels=sampled_from([1, 3]),
    resi=sampled_from(["1conv", "3conv"]),
    height=integers(1, 90),
    width=integers(1, 90),
    rows=integers(9, 64),
    columns=integers(9, 64),
    streamed=booleans(),
    threads=sampled_from([1, 3]),
)
def test_tiled_equals_whole_and_torch_in_float64(
    head: tuple[str, int], architecture: str, window: int, channels: int, resi: str, height: int, width: int,
    rows: int, columns: int, streamed: bool, threads: int,
) -> None:  # fmt: skip
    upsampler, scale = head
    if upsampler in ("pixelshuffle_aux", "pixelshuffle_hf"):
        architecture, channels = "swin2sr", 3
    ours, theirs = engines(
        upsampler=upsampler, scale=scale, architecture=architecture, window=window, channels=channels,
        resi_connection=resi, value_range=255.0 if window == 7 else 1.0,
    )  # fmt: skip
    image = np.random.default_rng(height).random((channels, height, width), np.float32)
    whole = restored(ours, image, (height, width))
    np.testing.assert_array_equal(restored(ours, image, (rows, columns), streamed, threads), whole)
    expected = run(theirs, torch.from_numpy(image).double(), (height, width))
    np.testing.assert_allclose(whole, expected.numpy(), rtol=0, atol=1e-5)


def kinds() -> list[ModelSpec]:
    """One model of each kind of network that is shipped or released."""
    found: dict[tuple[object, ...], ModelSpec] = {}
    for spec in list_models():
        key = (
            spec.architecture,
            spec.scale,
            spec.channels,
            spec.dim,
            spec.window,
            spec.upsampler,
            spec.resi_connection,
        )
        found.setdefault(key, spec)
    return list(found.values())


@pytest.mark.parametrize("spec", kinds(), ids=lambda spec: spec.name)
def test_released_networks(spec: ModelSpec) -> None:
    """With their sizes and fewer blocks, the error against float64 is at most a few times torch's float32 error."""
    spec = replace(spec, depths=(2,), heads=spec.heads[:1])
    net = random_net(spec)
    image = torch.rand(spec.channels, 19, 21, generator=torch.Generator().manual_seed(1))
    exact = run(TileEngine(copy.deepcopy(net).double()), image.double(), (19, 21)).numpy()
    torchs = run(TileEngine(net), image, (19, 21)).numpy()
    ours = restored(native(net), image.numpy(), (19, 21))
    assert np.abs(ours - exact).max() <= 3 * np.abs(torchs - exact).max() + 1e-6
    np.testing.assert_array_equal(restored(native(net), image.numpy(), (16, 9)), ours)


def test_without_embedding_norm_and_biases() -> None:
    for architecture in ("swin2sr", "swinir"):
        ours, theirs = engines(architecture=architecture, patch_norm=False, qkv_bias=False)
        image = np.random.default_rng(3).random((1, 33, 30), np.float32)
        expected = run(theirs, torch.from_numpy(image).double(), (33, 30))
        np.testing.assert_allclose(restored(ours, image, (20, 17)), expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("halo", [8, 16])
def test_approximate_halos(halo: int) -> None:
    ours, theirs = engines(upsampler="nearest+conv", scale=4)
    image = torch.rand(1, 70, 50)
    for t in TilePlan(ours.spec, 70, 50, (24, 24), Placement(halo=halo)):
        region = image[:, slice(*t.y.source), slice(*t.x.source)][:, t.y.padding][:, :, t.x.padding]
        expected = theirs.run(region.double(), t)["image"].numpy()
        np.testing.assert_allclose(ours.run(region.numpy(), t), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("upsampler", ["", "pixelshuffledirect", "nearest+conv"])
def test_only_a_head_that_adds_the_plane_copies_it(upsampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def recorded(data: np.ndarray, top: int, left: int) -> Plane:
        made.append(data.shape[-1])
        return Plane(data, top, left)

    monkeypatch.setattr(tile_module, "Plane", recorded)
    spec = small_spec(planes=3, upsampler=upsampler, scale=2 if upsampler else 1)
    tile = next(iter(TilePlan(spec, 24, 24, (24, 24))))
    image = np.random.default_rng(2).random((3, 24, 24), np.float32)[:, tile.y.padding][:, :, tile.x.padding]
    native(random_net(spec)).run(image, tile)
    assert 3 in made
    assert made.count(1) == (upsampler == "")
    spare = {n: tile_bytes(replace(spec, planes=n), 64, 64, 4, native=True) for n in (1, 3)}
    pixels = (64 + 2 * 8) ** 2
    assert (spare[3] - spare[1]) // (4 * pixels) == 2 + (upsampler == "")
