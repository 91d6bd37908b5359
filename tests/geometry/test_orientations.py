"""Self-ensemble: eight whole-image passes averaged, however the image is cut; and their spread."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

import swin2sr_ops
from swin2sr_ops.engine.ensemble import turn_back
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.orientations import turns
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.hooks.models import load_model
from swin2sr_ops.pixels.nodata_flags import CLEAN, context_flags
from swin2sr_ops.placement import Placement
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.save import save_model
from tests.conftest import random_net, small_spec, write_model


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSpec]:
    folder = tmp_path_factory.mktemp("ensemble")
    return {
        "x2": write_model(folder / "x2.safetensors"),
        "seven": write_model(folder / "seven.safetensors", scale=1, upsampler="", window=7, depths=(1,), heads=(2,)),
        "near": write_model(folder / "near.safetensors", depths=(1,), heads=(2,)),
        "rgb": write_model(folder / "rgb.safetensors", channels=3, depths=(2,), heads=(2,)),
    }


def eight(spec: ModelSpec, image: np.ndarray) -> np.ndarray:
    """Return eight passes over whole images, rotated and flipped by NumPy: ``(8, C, H s, W s)``, float64."""
    net = load_model(spec).double()
    found = []
    for quarter in range(4):
        for flip in (False, True):
            turned = np.rot90(image[:, :, ::-1] if flip else image, quarter, (1, 2))
            with torch.inference_mode():
                result = net(torch.from_numpy(turned.copy())[None])[0].numpy()
            result = np.rot90(result, -quarter, (1, 2))
            found.append(result[:, :, ::-1] if flip else result)
    return np.stack(found)


@settings(max_examples=12)
@given(sampled_from(["x2", "seven", "rgb"]), integers(5, 90), integers(5, 70), integers(9, 60), integers(9, 60))
def test_mean_and_spread_are_those_of_eight_whole_passes(
    models: dict[str, ModelSpec], model: str, height: int, width: int, rows: int, columns: int
) -> None:
    """For any tiles and images, equal within float64's rounding; the passes differ by far more."""
    spec = models[model]
    image = np.random.default_rng(height).random((spec.channels, height, width))
    passes = eight(spec, image)
    lazy = swin2sr_ops.restore(
        image if spec.channels == 3 else image[0], model=spec, axes="SYX" if spec.channels == 3 else "YX",
        range=(0, 1), precision="float64", tile=(rows, columns), ensemble=8, spread=True,
    )  # fmt: skip
    mean, spread = dask.compute(*lazy)
    np.testing.assert_allclose(mean.reshape(passes.shape[1:]), passes.mean(0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(spread.reshape(passes.shape[1:]), passes.std(0), rtol=1e-6, atol=1e-9)
    assert spread.dtype == np.float32
    assert passes.std(0).max() > 1e-3


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_same_bytes_from_any_chunks(dtype: str, models: dict[str, ModelSpec], rng: np.random.Generator) -> None:
    image = (rng.random((2, 50, 71)) * (1 if dtype == "float32" else 200)).astype(dtype)
    options: dict = {"model": models["near"], "axes": "ZYX", "range": (0, 200), "ensemble": 8, "spread": True}
    whole = dask.compute(*swin2sr_ops.restore(image, tile=200, **options))
    cut = da.from_array(image, chunks=(2, (7, 30, 13), (31, 40)))
    for tile in (24, (17, 40)):
        again = dask.compute(*swin2sr_ops.restore(cut, tile=tile, **options))
        for a, b in zip(again, whole, strict=True):
            np.testing.assert_array_equal(a, b)
    one = swin2sr_ops.restore(image, model=models["near"], axes="ZYX", range=(0, 200)).compute()
    assert (one != whole[0]).any()
    alone = swin2sr_ops.restore(image, tile=33, **(options | {"spread": False})).compute()
    np.testing.assert_array_equal(alone, whole[0])


def test_the_network_runs_once_for_both(models: dict[str, ModelSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = Restorer.restore_tile_with_spread
    monkeypatch.setattr(Restorer, "restore_tile_with_spread", lambda *a: calls.append(a[3]) or real(*a))
    lazy = swin2sr_ops.restore(np.ones((40, 40), "u1"), model=models["x2"], tile=20, ensemble=8, spread=True)
    assert not calls
    assert [a.shape for a in lazy] == [(80, 80)] * 2
    assert [a.dtype for a in lazy] == [np.uint8, np.float32]
    dask.compute(*lazy)
    assert len(calls) == 4
    names = {a.name for a in (*lazy, swin2sr_ops.restore(np.ones((40, 40), "u1"), model=models["x2"], tile=20))}
    assert len(names) == 3


def test_holes_and_opacity(models: dict[str, ModelSpec], rng: np.random.Generator) -> None:
    """Nodata has the spread NaN; opacity, which enters no network, has the spread zero."""
    image = rng.random((60, 50)).astype("f4")
    image[3:5, 40:] = np.nan
    image[40:, :30] = np.nan
    options: dict = {"model": models["x2"], "range": (0, 1), "ensemble": 8, "spread": True}
    results = [dask.compute(*swin2sr_ops.restore(image, tile=tile, **options)) for tile in (64, 20)]
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    missing = np.isnan(image).repeat(2, 0).repeat(2, 1)
    for found in results[0]:
        np.testing.assert_array_equal(np.isnan(found), missing)
    picture = rng.integers(1, 255, (24, 26, 4)).astype("u1")  # opacity 0 would be a hole
    out, spread = dask.compute(*swin2sr_ops.restore(picture, **(options | {"model": models["rgb"], "range": "auto"})))
    np.testing.assert_array_equal(out[..., 3], picture[..., 3].repeat(2, 0).repeat(2, 1))
    assert not spread[..., 3].any()
    assert spread[..., :3].min() >= 0
    assert spread[..., :3].max() > 0.1  # in the image's unit


def test_halo_map_overlap_and_other_cuts(models: dict[str, ModelSpec], rng: np.random.Generator) -> None:
    image = rng.random((96, 100)).astype("f4")
    expected = swin2sr_ops.restore(image, model=models["near"], range=(0, 1), ensemble=8).compute()
    restorer = Restorer(models["near"], ensemble=8)
    array = da.from_array(image, chunks=((48, 48), (46, 54)))
    options = restorer.map_overlap_options(array, range=(0, 1))
    np.testing.assert_array_equal(da.map_overlap(restorer, array, **options).compute(), expected)
    near = swin2sr_ops.restore(image, model=models["near"], range=(0, 1), ensemble=8, halo=8, tile=50).compute()
    gap = np.abs(near - expected)
    assert 0 < gap.max() < 0.3
    restorer.network._too_large = 1  # no tile fits the memory: halves of halves
    order = swin2sr_ops.geometry.axes.AxisOrder.of(image.shape, "YX")
    (tile,) = restorer.plan(*image.shape, 200)
    halves = restorer.restore_tile(image, order, tile, [swin2sr_ops.pixels.intensity.IntensityMap(0.0, 1.0)])
    np.testing.assert_array_equal(halves, expected)


def test_flags_cover_the_reach_of_mirrored_images(models: dict[str, ModelSpec]) -> None:
    """A hole changes no pixel that is flagged as clean, and flags do not depend on tiles."""
    spec = models["x2"]
    rng = np.random.default_rng(3)
    image = rng.random((170, 150))
    invalid = np.zeros(image.shape, bool)
    invalid[40:42, 30] = invalid[120, 149] = True
    plan = TilePlan(spec, *image.shape, image.shape, placement=Placement(ensemble=8))
    (tile,) = plan
    flags = context_flags(invalid, tile, spec, "exact")
    results = []
    for value in (0.0, 1.0):
        image[invalid] = value
        results.append(eight(spec, image[None])[:, 0].mean(0))
    changed = results[0] != results[1]
    assert (flags[changed] != CLEAN).all()
    assert (flags == CLEAN).any()
    (lone,) = TilePlan(spec, *image.shape, image.shape)
    assert (context_flags(invalid, lone, spec, "exact") == CLEAN).sum() > (flags == CLEAN).sum()
    together = np.zeros_like(flags)
    for part in TilePlan(spec, *image.shape, (37, 60), placement=Placement(ensemble=8)):
        region = tuple(slice(*span.fetched) for span in (part.y, part.x))
        lo = [max(r.start - 8, 0) for r in region]
        hi = [min(r.stop + 8, n) for r, n in zip(region, image.shape, strict=True)]
        cut = invalid[lo[0] : hi[0], lo[1] : hi[1]]
        together[slice(*part.y.write), slice(*part.x.write)] = context_flags(cut, part, spec, "exact")
    np.testing.assert_array_equal(together, flags)


def test_turns_are_the_eight_of_the_square() -> None:
    image = torch.arange(12.0).reshape(1, 3, 4)
    seen = set()
    for turn in turns(8):
        flipped = image.flip([a for a, f in ((1, turn.rows), (2, turn.columns)) if f])
        turned = flipped.transpose(1, 2) if turn.swap else flipped
        assert torch.equal(turn_back(turned, turn), image)
        seen.add(tuple(turned.flatten().tolist()))
    assert len(seen) == 8
    assert len(turns(1)) == 1


def test_a_network_without_direction_has_no_spread(tmp_path: object) -> None:
    """Symmetric weights give the same result in all orientations: here, the unchanged image."""
    spec = small_spec(scale=1, upsampler="")
    net = random_net(spec)
    with torch.no_grad():
        net.conv_last.weight.zero_()
        net.conv_last.bias.zero_()
    save_model(tmp_path / "same.safetensors", net.state_dict(), spec, dtype=torch.float32)  # type: ignore[operator]
    image = np.arange(30 * 21, dtype="u2").reshape(30, 21)
    model = tmp_path / "same.safetensors"  # type: ignore[operator]
    out, spread = dask.compute(*swin2sr_ops.restore(image, model=model, ensemble=8, spread=True))
    np.testing.assert_array_equal(out, image)
    assert spread.max() < 1e-3


@pytest.mark.parametrize("options", [{"ensemble": 4}, {"ensemble": 0}, {"ensemble": True}, {"spread": True}])
def test_requests_that_are_refused(options: dict, models: dict[str, ModelSpec]) -> None:
    with pytest.raises(RequestError, match=r"ensemble=8|give 8"):
        swin2sr_ops.restore(np.zeros((8, 8), "u1"), model=models["x2"], **options)
