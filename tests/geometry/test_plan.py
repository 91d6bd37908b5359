"""The plan's integers must agree with the network's receptive field."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers, sampled_from

from swin2sr_ops.errors import PlanError
from swin2sr_ops.geometry.plan import Span, TilePlan, pad_index, receptive_halo, tile_bytes
from swin2sr_ops.placement import Placement
from swin2sr_ops.spec import UPSAMPLERS, ModelSpec
from tests.conftest import random_net, small_spec


@pytest.mark.parametrize(("depths", "halo"), [((6,) * 4, 112), ((6,) * 6, 160), ((6,) * 9, 232)])
def test_receptive_halo_of_the_released_sizes(depths: tuple[int, ...], halo: int) -> None:
    """About 105, 153 and 225 px (measured by perturbing released networks), here as multiples of the window."""
    spec = ModelSpec(name="x", depths=depths, heads=(6,) * len(depths))
    assert receptive_halo(spec) == halo


@pytest.mark.parametrize(("upsampler", "scale"), [(u, s) for u, scales in UPSAMPLERS.items() for s in scales])
@pytest.mark.parametrize("resi", ["1conv", "3conv"])
def test_gradients_stay_inside_the_plan(upsampler: str, scale: int, resi: str) -> None:
    """One output pixel's gradient reaches exactly the pixels that its span reads, no further."""
    spec = small_spec(upsampler=upsampler, scale=scale, channels=3, depths=(2,), heads=(2,), resi_connection=resi)
    net = random_net(spec).double()
    size, at = 80, 41
    image = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    net(image)[0, :, at * scale : (at + 1) * scale, at * scale : (at + 1) * scale].sum().backward()
    assert image.grad is not None
    seen = image.grad[0].abs().amax((0, 2)).nonzero().flatten()
    span = Span.exact(at, at + 1, size, spec)
    assert span.read[0] <= int(seen.min())
    assert int(seen.max()) < span.read[1]
    # The read interval is snapped to the window; more than that would be waste.
    assert int(seen.min()) - span.read[0] <= 2 * spec.window
    assert span.read[1] - 1 - int(seen.max()) <= 2 * spec.window


@given(size=integers(1, 300), tile=integers(1, 120), window=sampled_from([7, 8]), halo=sampled_from(["exact", 1, 2, 4]))
def test_tiles_cover_the_image_once(size: int, tile: int, window: int, halo: object) -> None:
    spec = small_spec(window=window, scale=3, upsampler="pixelshuffle")
    plan = TilePlan(spec, size, size, (tile, tile), Placement(halo=halo if halo == "exact" else int(halo) * window))  # type: ignore[call-overload]
    writes = [span.write for span in plan.rows]
    assert writes[0][0] == 0
    assert writes[-1][1] == size * 3
    assert all(a[1] == b[0] for a, b in itertools.pairwise(writes))
    for span in plan.rows:
        assert span.read[0] % window == 0
        assert span.read[1] % window == 0
        assert 0 <= span.source[0] < span.source[1] <= size
        assert len(span.padding) == span.read[1] - span.read[0]
        assert all(a[0] <= span.start and span.stop <= a[1] for a in span.needed)


def test_padding_reflects_and_then_repeats() -> None:
    assert pad_index(0, 8, 5) == [0, 1, 2, 3, 4, 3, 2, 1]
    assert pad_index(0, 8, 2) == [0, 1, 0, 0, 0, 0, 0, 0]
    assert pad_index(0, 8, 1) == [0] * 8


def test_a_plan_can_be_read() -> None:
    plan = TilePlan(ModelSpec(name="m", depths=(6,) * 4, heads=(6,) * 4, dim=60), 2048, 4096, (1024, 1024))
    text = str(plan)
    assert "8 of 1024 x 1024" in text
    assert "112 px" in text
    assert 1.1 < plan.over_compute < plan.over_read < 1.5
    assert plan.to_dict()["expected_error"] == 0.0
    measured = ModelSpec(name="m", halo_error={"8": 0.015, "16": 0.005})
    assert TilePlan(measured, 100, 100, (50, 50), Placement(halo=24)).expected_error == 0.005
    assert "not measured" in str(TilePlan(ModelSpec(name="m"), 100, 100, (50, 50), Placement(halo=24)))


@pytest.mark.parametrize("halo", [0, 12, -8, "big", 8.0])
def test_a_halo_off_the_window_grid_is_refused(halo: object) -> None:
    with pytest.raises(PlanError, match="multiple of its window"):
        TilePlan(small_spec(), 64, 64, (32, 32), Placement(halo=halo))  # type: ignore[arg-type]


def test_empty_plane_and_tile_are_refused() -> None:
    with pytest.raises(PlanError, match="no pixels"):
        TilePlan(small_spec(), 0, 64, (32, 32))
    with pytest.raises(PlanError, match="at least one"):
        TilePlan(small_spec(), 64, 64, (0, 32))


def test_a_gpu_has_memory_for_the_pixels_of_two_tiles() -> None:
    """While one tile is computed, the next one is uploaded or the last one is downloaded."""
    spec = small_spec(channels=3, scale=2)
    for rows in (64, 512):
        alone, beside = (tile_bytes(spec, rows, 64, 2, cells=cells) for cells in (1, 2))
        cell = tile_bytes(spec, rows, 64, 2, cells=3) - beside
        assert beside - alone == cell + 2 * 3 * (1 + 4) * rows * 64


def test_memory_is_that_of_the_engine_that_will_compute() -> None:
    """The kernels in C hold no cells of a head, which the others do, and each of their threads a few rows."""
    spec = small_spec(upsampler="pixelshuffle", scale=4, num_feat=64)
    places = Placement(), Placement(engine="torch"), Placement(device="cuda")
    native, torch_, gpu = (TilePlan(spec, 96, 96, (96, 96), place).peak_bytes for place in places)
    assert native < torch_ / 4 == gpu / 4
    one, many = (tile_bytes(spec, 300, 600, 4, native=True, threads=n) for n in (1, 64))
    parts = 3 * 3  # of 256 x 128 px: more threads have nothing to do
    assert one < many == tile_bytes(spec, 300, 600, 4, native=True, threads=parts)
