"""Back-projection: blurred and sampled, the result gives the input, whatever the cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from swin2sr_ops.geometry.back_projection import Blur, blur_of
from swin2sr_ops.geometry.plan import Span, Tile
from swin2sr_ops.pixels.back_projection import blur_consistent, blurred
from tests.conftest import small_spec


def blur(how: str, scale: int) -> Blur:
    found = blur_of(how, scale)
    assert found is not None
    return found


def tile_of(shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int], margin: int, scale: int) -> Tile:
    spec = small_spec(scale=scale, upsampler="pixelshuffledirect")
    y, x = (Span.of(*own, n, spec, "exact", margin=margin) for own, n in ((rows, shape[0]), (columns, shape[1])))
    return Tile(y, x)


def bound(values: np.ndarray, given: np.ndarray, how: Blur, tile: Tile | None = None, **options: float) -> np.ndarray:
    """Run the steps for a tile, by default the whole image."""
    shape = given.shape[-2:]
    tile = tile or tile_of(shape, (0, shape[0]), (0, shape[1]), how.margin, how.scale)
    (y0, y1), (x0, x1) = ((s.network.start, s.network.stop) for s in (tile.y, tile.x))
    s = how.scale
    return blur_consistent(
        values[:, y0 * s : y1 * s, x0 * s : x1 * s], given[:, y0:y1, x0:x1], how, tile, **options  # type: ignore[arg-type]
    )  # fmt: skip


def scene(shape: tuple[int, int], scale: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make an input in the middle of the range, and new pixels that do not belong to it."""
    rng = np.random.default_rng(seed)
    old = rng.uniform(29_500, 30_500, (2, *shape))
    values = old.repeat(scale, 1).repeat(scale, 2) + rng.normal(0, 200, (2, shape[0] * scale, shape[1] * scale))
    return np.rint(old).astype("u2"), values.astype("f4")


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from([2, 3, 4]),
    st.sampled_from(["psf=0.2", "psf=0.5", "kernel"]),
    st.sampled_from(["u2", "f4", "f8"]),
    st.data(),
)
def test_any_cut_gives_the_whole_image(
    shape: tuple[int, int], scale: int, how: str, dtype: str, data: st.DataObject
) -> None:
    old, values = scene(shape, scale)
    old = old.astype(dtype)
    one = blur(how if how != "kernel" else "kernel=1/4/4/1" if scale == 2 else f"kernel={'/'.join('3' * scale)}", scale)
    whole = bound(values, old, one)
    cuts = [sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=3))}) for n in shape]
    for y0, y1 in zip(cuts[0], cuts[0][1:], strict=False):
        for x0, x1 in zip(cuts[1], cuts[1][1:], strict=False):
            part = bound(values, old, one, tile_of(shape, (y0, y1), (x0, x1), one.margin, scale))
            np.testing.assert_array_equal(part, whole[:, y0 * scale : y1 * scale, x0 * scale : x1 * scale])


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("how", ["psf=0.2", "psf=0.4", "psf=0.6", "psf=0.02"])
def test_the_blurred_result_gives_the_input(scale: int, how: str) -> None:
    """In floats to 0.04 % of the largest gap, in integers to half a level more."""
    old, values = scene((50, 61), scale)
    one = blur(how, scale)
    gap = np.abs(blurred(values, one) - old).max()
    assert gap > 100
    result = bound(values, old.astype("f8"), one)
    assert np.abs(blurred(result, one) - old).max() < 4e-4 * gap
    result = bound(values, old, one)
    assert result.dtype == np.uint16
    assert np.abs(blurred(result, one) - old).max() < 4e-4 * gap + 0.5


def test_a_result_that_fits_stays() -> None:
    one = blur("psf=0.4", 2)
    values = np.random.default_rng(3).uniform(0, 1, (1, 40, 60))
    given = blurred(values, one)
    np.testing.assert_allclose(bound(values, given, one), values, atol=1e-12)


def test_it_is_the_smallest_change() -> None:
    """By least squares: the change is orthogonal to all that the blur does not see."""
    one = blur("psf=0.3", 2)
    old, values = scene((24, 30), 2)
    change = bound(values, old.astype("f8"), one) - values
    rng = np.random.default_rng(1)
    unseen = rng.normal(size=change.shape)
    unseen = bound(unseen, np.zeros_like(old, "f8"), one)  # blurred it is zero
    assert abs((change * unseen).sum()) < 1e-3 * np.linalg.norm(change) * np.linalg.norm(unseen)


@pytest.mark.parametrize("noise", [3.0, 50.0])
def test_noise_is_how_far_off_a_value_may_be(noise: float) -> None:
    old, values = scene((40, 44), 2)
    one = blur("psf=0.4", 2)
    gap = np.abs(blurred(values, one) - old)
    left = np.abs(blurred(bound(values, old.astype("f8"), one, noise=noise), one) - old)
    assert left.max() < noise + 4e-4 * gap.max()
    assert left.max() > 0.9 * noise


def test_limits_of_the_type_and_nodata() -> None:
    """Values stay within the type, and none becomes nodata; what met a limit may leave a gap."""
    one = blur("psf=0.5", 2)
    rng = np.random.default_rng(5)
    old = rng.choice(np.array([0, 255], "u1"), (1, 30, 30))
    values = old.repeat(2, 1).repeat(2, 2) + rng.normal(0, 9, (1, 60, 60))
    result = bound(values, old, one)
    assert {0, 255} <= set(np.unique(result))
    result = bound(values, old, one, nodata=255.0)
    assert result.max() == 254


def test_a_constant_stays_constant_to_its_borders() -> None:
    one = blur("psf=0.6", 4)
    old = np.full((1, 12, 9), 77, "u1")
    assert (bound(np.full((1, 48, 36), 70.0), old, one) == 77).all()
