"""Law 1: a tile equals its part of the whole image's result, which is the oracle."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers, sampled_from
from torch import Tensor

from swin2sr_ops.engine.float32 import full_float32, short_float32
from swin2sr_ops.engine.row_cache import RowCache
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.geometry.plan import Tile, TilePlan
from swin2sr_ops.placement import Placement
from swin2sr_ops.spec import UPSAMPLERS, ModelSpec
from tests.conftest import random_net, small_spec

HEADS = [(u, s) for u, scales in UPSAMPLERS.items() for s in scales]


def run(
    engine: TileEngine, image: Tensor, tile: tuple[int, int], halo: object = "exact", *, streamed: bool = False
) -> Tensor:
    channels, height, width = image.shape
    row_cache = RowCache() if streamed else None
    s = engine.spec.scale
    out = torch.full((channels, height * s, width * s), float("nan"), dtype=image.dtype)
    for t in TilePlan(engine.spec, height, width, tile, Placement(halo=halo)):  # type: ignore[arg-type]
        out[:, slice(*t.y.write), slice(*t.x.write)] = engine.run(region(image, t), t, row_cache)["image"]
    return out


def region(image: Tensor, tile: Tile) -> Tensor:
    """Return the region that a tile reads."""
    return image[:, slice(*tile.y.source), slice(*tile.x.source)][:, tile.y.padding][:, :, tile.x.padding]


def engine_of(spec: ModelSpec, dtype: torch.dtype = torch.float32, cache: dict = {}) -> TileEngine:  # noqa: B006
    key = (str(spec.to_dict()), dtype)
    if key not in cache:
        cache[key] = TileEngine(random_net(spec).to(dtype))
    return cache[key]


@settings(max_examples=80)
@given(
    head=sampled_from(HEADS),
    architecture=sampled_from(["swin2sr", "swinir"]),
    window=sampled_from([7, 8]),
    channels=sampled_from([1, 3]),
    resi=sampled_from(["1conv", "3conv"]),
    dtype=sampled_from([torch.float32, torch.float64]),
    height=integers(1, 90),
    width=integers(1, 90),
    rows=integers(9, 64),
    columns=integers(9, 64),
    streamed=booleans(),
)
def test_tiled_equals_whole(
    head: tuple[str, int], architecture: str, window: int, channels: int, resi: str, dtype: torch.dtype,
    height: int, width: int, rows: int, columns: int, streamed: bool,
) -> None:  # fmt: skip
    upsampler, scale = head
    if upsampler in ("pixelshuffle_aux", "pixelshuffle_hf"):
        architecture = "swin2sr"
    if upsampler == "pixelshuffle_aux":
        channels = 3
    spec = small_spec(
        upsampler=upsampler, scale=scale, architecture=architecture, window=window, channels=channels,
        resi_connection=resi, depths=(2,), heads=(2,), value_range=255.0 if window == 7 else 1.0,
    )  # fmt: skip
    engine = engine_of(spec, dtype)
    image = torch.rand(channels, height, width, dtype=dtype, generator=torch.Generator().manual_seed(height))
    whole = run(engine, image, (height, width))
    assert torch.equal(run(engine, image, (rows, columns), streamed=streamed), whole)


@settings(max_examples=20)
@given(
    head=sampled_from(HEADS),
    window=sampled_from([7, 8]),
    dtype=sampled_from([torch.float32, torch.float64]),
    group=sampled_from([2, 3, 8]),
    height=integers(1, 120),
    width=integers(1, 120),
    rows=integers(9, 90),
    columns=integers(9, 90),
    streamed=booleans(),
)
def test_groups_of_cells(
    head: tuple[str, int], window: int, dtype: torch.dtype, group: int, height: int, width: int, rows: int,
    columns: int, streamed: bool,
) -> None:  # fmt: skip
    """Groups of cells, as on accelerators: tiles equal the whole image bit for bit, and single cells nearly."""
    channels = 3 if head[0] == "pixelshuffle_aux" else 1
    spec = small_spec(upsampler=head[0], scale=head[1], window=window, channels=channels, depths=(2,), heads=(2,))
    single = engine_of(spec, dtype)
    engine = TileEngine(single.net, group=group)
    image = torch.rand(channels, height, width, dtype=dtype, generator=torch.Generator().manual_seed(height))
    whole = run(engine, image, (height, width))
    assert torch.equal(run(engine, image, (rows, columns), streamed=streamed), whole)
    near = {torch.float32: 2e-5, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(whole, run(single, image, (height, width)), rtol=0, atol=near)


@pytest.mark.parametrize("architecture", ["swin2sr", "swinir"])
@pytest.mark.parametrize(("upsampler", "scale"), [("pixelshuffle_hf", 2), ("pixelshuffledirect", 2), ("", 1)])
def test_bfloat16(architecture: str, upsampler: str, scale: int) -> None:
    """Stages in bfloat16: near float32, tiles as exact as ever, results and what bypasses the stages in float32."""
    if architecture == "swinir" and upsampler == "pixelshuffle_hf":
        pytest.skip("SwinIR has no such head")
    spec = small_spec(upsampler=upsampler, scale=scale, architecture=architecture)
    image = torch.rand(1, 70, 90)
    engine = TileEngine(random_net(spec), half=True)
    assert engine.net.layers[0].conv.weight.dtype == torch.bfloat16
    assert engine.net.conv_first.weight.dtype == torch.float32
    whole = run(engine, image, (70, 90))
    assert whole.dtype == torch.float32
    assert torch.equal(run(engine, image, (33, 40)), whole)
    expected = run(TileEngine(random_net(spec)), image, (70, 90))
    for found in (whole, run(TileEngine(random_net(spec), half=True, group=4), image, (70, 90))):
        error = float(((found - expected) ** 2).mean().sqrt() / expected.std())
        assert 0 < error < 0.01


@pytest.mark.parametrize(("upsampler", "scale"), HEADS)
@pytest.mark.parametrize("architecture", ["swin2sr", "swinir"])
def test_engine_equals_plain_forward(architecture: str, upsampler: str, scale: int) -> None:
    """Compare all outputs of the engine with the plain module, which shares no tiling code with it."""
    if architecture == "swinir" and upsampler in ("pixelshuffle_aux", "pixelshuffle_hf"):
        pytest.skip("SwinIR has no such head")
    spec = small_spec(upsampler=upsampler, scale=scale, architecture=architecture, channels=3)
    net = random_net(spec).double()
    image = torch.rand(3, 37, 50, dtype=torch.float64)
    plan = TilePlan(spec, 37, 50, (37, 50))
    tile = next(iter(plan))
    padded = image[:, tile.y.padding][:, :, tile.x.padding]
    found = TileEngine(net).run(padded, tile)
    with torch.inference_mode():
        expected = net.outputs(image[None])
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value[0], rtol=0, atol=1e-12)


def test_threads_do_not_matter() -> None:
    spec = small_spec(channels=3, upsampler="pixelshuffle", scale=4)
    image = torch.rand(3, 90, 70)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(engine_of(spec), image, (40, 33)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], r) for r in results[1:])


@pytest.mark.parametrize("window", [7, 8])
def test_approximate_halo_is_near_and_not_equal(window: int) -> None:
    """The exactness tests can fail: a small halo gives a difference, which shrinks with the halo."""
    spec = small_spec(window=window, depths=(4, 4), heads=(2, 2))
    image = torch.rand(1, 120, 120)
    engine = engine_of(spec)
    whole = run(engine, image, (120, 120))
    errors = [(run(engine, image, (40, 40), n * window) - whole).abs().max().item() for n in (1, 2, 4)]
    assert errors[0] > errors[1] > errors[2] >= 0
    assert errors[0] > 1e-6


def test_opposite_borders_do_not_see_each_other() -> None:
    """Shifted windows wrap around; a mask of -100 leaks at a high temperature, ours must not."""
    spec = small_spec(depths=(2,), heads=(2,))
    net = random_net(spec)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "logit_scale" in name:
                value.fill_(4.6)  # exp(4.6) = 99.5, at the clamp
    image = torch.rand(1, 1, 48, 48)
    changed = image.clone()
    changed[..., -1, :] = 1 - changed[..., -1, :]
    with torch.inference_mode():
        difference = (net(image) - net(changed)).abs().amax((0, 1, 3))
    assert difference[:32].max() == 0
    assert difference[-8:].max() > 0


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9 says it in another way")
@pytest.mark.parametrize(("half", "told"), [(False, "ieee"), (True, "tf32")])
def test_the_state_of_float32(half: bool, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a tile is computed in groups, as on accelerators, float32 is exact, or TF32 around bfloat16.

    The setting is restored after it. A tile with the other setting waits."""
    conv: Any = torch.backends.cudnn.conv
    matmul: Any = torch.backends.cuda.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    seen: list[tuple[str, str]] = []
    engine = TileEngine(random_net(small_spec(depths=(2,), heads=(2,))), half=half, group=2)
    block = engine.blocks.block

    def watched(*given: Any) -> torch.Tensor:
        seen.append((conv.fp32_precision, matmul.fp32_precision))
        return block(*given)

    monkeypatch.setattr(engine.blocks, "block", watched)
    alike, other = (short_float32, full_float32) if half else (full_float32, short_float32)
    with alike():
        run(engine, torch.rand(1, 20, 20), (20, 20))
        assert (conv.fp32_precision, matmul.fp32_precision) == (told, told)
    blocks = len(seen)
    with ThreadPoolExecutor(1) as pool:
        with other():
            waiting = pool.submit(run, engine, torch.rand(1, 20, 20), (20, 20))
            time.sleep(0.3)
            assert len(seen) == blocks
        waiting.result(60)
    assert len(seen) == 2 * blocks
    assert set(seen) == {(told, told)}
    assert (conv.fp32_precision, matmul.fp32_precision) == before
    assert torch.backends.cudnn.allow_tf32 in (True, False)  # torch raises an error if its two settings disagree
