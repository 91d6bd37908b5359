"""Weights, inverse and margin of the blur that binds a result to its input."""

from __future__ import annotations

import math

import pytest

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.back_projection import STEPS, blur_of, gain_of, margin_of
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.geometry.span import Span
from swin2sr_ops.placement import Placement
from tests.conftest import small_spec


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 0.6])
def test_weights_are_a_blurred_pixel(scale: int, sigma: float) -> None:
    """Their sum is 1, they are symmetric, and each is the light of a new pixel on the area of the input pixel."""
    blur = blur_of(f"psf={sigma}", scale)
    assert blur is not None
    assert math.fsum(blur.weights) == pytest.approx(1, abs=1e-9)
    assert blur.weights == blur.weights[::-1]
    places = [(i + 0.5) * scale / 400 for i in range(400)]
    first = -(len(blur.weights) - scale) // 2

    def below(x: float) -> float:
        return math.fsum(math.erf((x - place) / (sigma * scale) / math.sqrt(2)) for place in places) / 800

    expected = [below(first + j + 1) - below(first + j) for j in range(len(blur.weights))]
    assert blur.weights == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_narrow_blur_is_nearly_the_mean(scale: int) -> None:
    blur = blur_of("psf=0.001", scale)
    assert blur is not None
    middle = blur.weights[(len(blur.weights) - scale) // 2 :][:scale]
    assert middle == pytest.approx([1 / scale] * scale, abs=1e-3)


def test_the_inverse_undoes_the_blur_of_its_transpose() -> None:
    blur = blur_of("psf=0.5", 2)
    assert blur is not None
    w, n = blur.weights, len(blur.inverse) - 1
    gram = [sum(w[i] * w[i + 2 * k] for i in range(len(w) - 2 * k)) for k in range(len(w) // 2)]
    for step in range(50):
        turn = math.pi * step / 50
        both = [f[0] + 2 * sum(v * math.cos(turn * k) for k, v in enumerate(f) if k) for f in (gram, blur.inverse)]
        assert both[0] * both[1] == pytest.approx(1, abs=0.0101)
    assert blur.margin == STEPS * (2 * blur.reach + n)


def test_the_plan_counts_the_margin() -> None:
    spec = small_spec()
    plain, bound = (TilePlan(spec, 400, 400, (100, 100), Placement(consistent=how)) for how in (None, "psf=0.5"))
    assert bound.margin == margin_of("psf=0.5", 2) > 20
    assert bound.over_read > plain.over_read
    assert bound.over_compute > plain.over_compute
    assert bound.peak_bytes > plain.peak_bytes
    assert f"{bound.margin} px more" in str(bound)
    assert bound.to_dict()["margin"] == bound.margin
    assert plain.margin == TilePlan(spec, 400, 400, (100, 100), Placement(consistent="mean")).margin == 0


def test_a_span_with_a_margin_owns_its_pixels_and_computes_more() -> None:
    spec = small_spec()
    span = Span.of(100, 200, 400, spec, "exact", margin=30)
    wide = Span.of(70, 230, 400, spec, "exact")
    assert (span.start, span.stop, span.write) == (100, 200, (200, 400))
    assert span.network == wide
    assert span.fetched == wide.fetched
    edge = Span.of(0, 50, 60, spec, "exact", mirror=True, margin=30).network
    assert (edge.start, edge.stop) == (0, 60)
    assert edge.mirrored is not None


def test_blurs_that_cannot_be_undone_are_refused() -> None:
    with pytest.raises(RequestError, match=r"blurs too much.* Give a narrower blur"):
        blur_of("psf=0.9", 2)
    with pytest.raises(RequestError, match="the kernel has 3 weights, and a pixel becomes 2 new ones"):
        blur_of("kernel=1/2/1", 2)
    assert blur_of("kernel=1/2/1", 3) is not None
    assert blur_of("mean", 2) is None


@pytest.mark.parametrize("how", ["psf=0.2", "psf=0.5", "kernel=1/1"])
def test_gain_bounds_what_a_difference_becomes(how: str) -> None:
    """A difference of one at each new pixel, of either sign, grows by no more than the gain; and it can grow."""
    import numpy as np

    from swin2sr_ops.pixels.back_projection import blur_consistent
    from tests.pixels.test_back_projection import tile_of

    blur = blur_of(how, 2)
    assert blur is not None
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (1, 80, 80))
    tile = tile_of((40, 40), (0, 40), (0, 40), blur.margin, 2)
    grown = np.abs(blur_consistent(signs, np.zeros((1, 40, 40)), blur, tile)).max()
    assert 1 < grown <= gain_of(how, 2)
    assert gain_of(None, 2) == 1
    assert gain_of("mean", 2) == 2
