"""Degradations: each has its stated strength, and a patch is a function of its seed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.training.data import PatchSampler
from swin2sr_ops.training.degrade import Degrade
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.training.validate import Validation


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def patch() -> np.ndarray:
    y, x = np.mgrid[:64, :64] / 5
    return np.stack([(np.sin(x + c) * np.cos(y) + 1) / 2 for c in range(3)]).astype("f4")


def apply(table: dict[str, Any], patch: np.ndarray, scale: int = 1, seed: int = 0) -> np.ndarray:
    return Degrade(table, scale).apply(patch, seeded(seed))


ALL = {
    "blur": {"sigma": [0.2, 1.5]},
    "poisson": {"photons": [20, 50], "share": 0.5},
    "noise": {"sigma": [1, 30]},
    "jpeg": {"quality": [20, 60], "share": 0.5},
    "quantise": {"bits": [8, 8]},
}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_function_of_the_seed(patch: np.ndarray, scale: int, shuffle: bool) -> None:
    table = ALL | {"shuffle": shuffle}
    results = [apply(table, patch, scale, seed) for seed in (1, 1, 2)]
    assert results[0].shape == (3, 64 // scale, 64 // scale)
    assert results[0].dtype == np.float32
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    levels = results[0] * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-3)  # `quantise` is the last also when shuffled


def test_noise_has_its_strength(patch: np.ndarray) -> None:
    for sigma in (5, 25, 50):
        found = apply({"noise": {"sigma": [sigma, sigma]}}, patch) - patch
        assert found.std() * 255 == pytest.approx(sigma, rel=0.05)
        assert abs(found.mean()) * 255 < sigma * 0.05
    drawn = [(apply({"noise": {"sigma": [0, 50]}}, patch, seed=s) - patch).std() * 255 for s in range(60)]
    assert min(drawn) < 8
    assert max(drawn) > 42
    assert np.mean(drawn) == pytest.approx(25, abs=5)


def test_shot_noise_has_its_variance() -> None:
    """The variance of n photons is n: a value v at p photons has v / p."""
    for value in (0.1, 0.8):
        flat = np.full((1, 200, 200), value, "f4")
        found = apply({"poisson": {"photons": [40, 40]}}, flat)
        assert found.mean() == pytest.approx(value, rel=0.02)
        assert found.var() == pytest.approx(value / 40, rel=0.05)


def test_blur_is_gaussian(patch: np.ndarray) -> None:
    """SciPy's Gaussian, another implementation, away from the border."""
    found = apply({"blur": {"sigma": [1.5, 1.5]}}, patch)
    expected = gaussian_filter(patch, (0, 1.5, 1.5), mode="mirror", radius=5)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_array_equal(apply({"blur": {"sigma": [0, 0]}}, patch), patch)


def test_jpeg_is_pillows(patch: np.ndarray) -> None:
    """Some patches begin with a whole block: these are Pillow's own; the others are not, and nor are all the same."""
    stored = (patch.transpose(1, 2, 0) * 255).round().astype("u1")
    whole = set()
    for kind in ("4:2:0", "4:4:4"):
        data = io.BytesIO()
        Image.fromarray(stored).save(data, "JPEG", quality=30, subsampling=kind)
        whole.add((np.asarray(Image.open(data)).transpose(2, 0, 1) / np.float32(255)).astype("f4").tobytes())
    found = [apply({"jpeg": {"quality": [30, 30]}}, patch, seed=s).tobytes() for s in range(40)]
    assert whole <= set(found)
    assert 10 < sum(f in whole for f in found) < 30
    assert len(set(found)) > 10


def test_shares(patch: np.ndarray) -> None:
    same = [np.array_equal(apply({"noise": {"sigma": [9, 9], "share": 0.3}}, patch, seed=s), patch) for s in range(200)]
    assert np.mean(same) == pytest.approx(0.7, abs=0.1)


def test_order(patch: np.ndarray) -> None:
    """In the given order, noise before a blur is blurred; shuffled, both orders occur over many patches."""
    noisy_last = {"blur": {"sigma": [2, 2]}, "noise": {"sigma": [30, 30]}}
    noisy_first = dict(reversed(noisy_last.items()))

    def roughness(table: dict[str, Any], seed: int) -> float:
        return float(np.diff(apply(table, patch, seed=seed), axis=-1).std())

    assert roughness(noisy_last, 0) > 3 * roughness(noisy_first, 0)
    found = [roughness(noisy_last | {"shuffle": True}, s) for s in range(30)]
    assert min(found) < 1.2 * roughness(noisy_first, 0)
    assert max(found) > 0.8 * roughness(noisy_last, 0)


def test_reduction_comes_first_or_where_it_stands(patch: np.ndarray) -> None:
    first = apply({"noise": {"sigma": [30, 30]}}, patch, 2)
    after = apply({"noise": {"sigma": [30, 30]}, "bicubic": {}}, patch, 2)
    clean = apply({"bicubic": {}}, patch, 2)
    assert (first - clean).std() > 1.5 * (after - clean).std()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ([], r"degrade=\[\] must be a table"),
        ({"fog": {}}, "has no step 'fog', only blur, bicubic, poisson, noise, jpeg, quantise, coarse and shuffle"),
        ({"noise": {}}, r"\[degrade.noise\] = \{\} must be a table such as \{ sigma = \[0, 255\] \}"),
        ({"noise": {"sigma": 5}}, r"sigma=5 must be two ascending numbers in 0..255"),
        ({"noise": {"sigma": [9, 5]}}, r"sigma=\[9, 5\] must be two ascending numbers"),
        ({"noise": {"sigma": [0, 5], "shares": 1}}, "must be a table such as"),
        ({"jpeg": {"quality": [0, 5]}}, r"quality=\[0, 5\] must be two ascending numbers in 1..100"),
        ({"jpeg": {"quality": [5, 9], "share": 2}}, "share=2 must lie between 0 and 1"),
        ({"bicubic": {"share": 0.5}}, "all inputs of a model must have the same size"),
        ({"shuffle": 1}, "shuffle=1 must be true or false"),
    ],
)
def test_tables_that_are_refused(recipe: Recipe, table: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        replace(recipe, degrade=table)


def test_in_a_recipe(recipe: Recipe, data: Path) -> None:
    """Batches of a run depend on seed and step alone, and targets stay clean."""
    clean = PatchSampler(recipe, data)
    sampler, again = (PatchSampler(replace(recipe, degrade=ALL), data) for _ in range(2))
    batches = [sampler.batch(step) for step in range(3)]
    for step in (2, 0, 1):
        for a, b in zip(again.batch(step), batches[step], strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert batches[0][0].shape == clean.batch(0)[0].shape == (2, 1, 16, 16)
    assert batches[0][1].shape == (2, 1, 32, 32)
    assert batches[0][1].min() >= 0
    assert batches[0][1].max() <= 1


def test_held_out_patches_are_always_degraded(recipe: Recipe, data: Path) -> None:
    """Also where the shares leave most patches as they are: such a patch would have an infinite PSNR."""
    model = recipe.model | {"scale": 1, "task": "denoise", "upsampler": ""}
    rare = replace(recipe, model=model, degrade={"noise": {"sigma": [5, 5], "share": 0.1}})
    held_out = Validation(data, PatchSampler(rare, data))
    assert len(held_out._cases) > 3
    assert held_out.baseline < 60


def test_coarse_bands_lose_their_detail_only() -> None:
    """Some bands get larger pixels; the others stay as they are."""
    patch = np.random.default_rng(0).random((4, 24, 30), np.float32)
    made = Degrade({"coarse": {"bands": [1, 3], "ratio": 2}}, 1).apply(patch, np.random.default_rng(1))
    np.testing.assert_array_equal(made[[0, 2]], patch[[0, 2]])
    means = patch[1].reshape(12, 2, 15, 2).mean((1, 3))
    np.testing.assert_allclose(made[1][::2, ::2].mean(), means.mean(), atol=0.02)
    assert made[1].std() < patch[1].std()
    odd = Degrade({"coarse": {"bands": [0], "ratio": 7}}, 1).apply(patch, np.random.default_rng(1))
    assert odd.shape == patch.shape


@pytest.mark.parametrize("ratio", [2, 3])
def test_coarse_bands_are_enlarged_as_gdal_does(ratio: int, tmp_path: Path) -> None:
    """The training sees what a VRT that joins bands will give, away from the image's border."""
    pytest.importorskip("rasterio")
    from tests.io.geo.test_resampled import joined

    patch = np.random.default_rng(0).random((1, 30 * ratio, 32 * ratio), np.float32)
    small = patch[0].reshape(30, ratio, 32, ratio).mean((1, 3))
    source = swin2sr_ops.open_source(joined(tmp_path, patch[0], small, "cubic"))
    band = source.read((slice(1, 2), slice(0, 30 * ratio), slice(0, 32 * ratio)))[0]
    made = Degrade({"coarse": {"bands": [0], "ratio": ratio}}, 1).apply(patch, np.random.default_rng(1))[0]
    inner = np.s_[4 * ratio : -4 * ratio, 4 * ratio : -4 * ratio]
    np.testing.assert_allclose(made[inner], band[inner], atol=1e-5)


@pytest.mark.parametrize(
    ("coarse", "problem"),
    [
        ({"bands": [1]}, "must be a table such as"),
        ({"bands": [], "ratio": 2}, "must be a list of positions"),
        ({"bands": [-1], "ratio": 2}, "must be a list of positions"),
        ({"bands": [1], "ratio": 1}, "must be a whole number from 2 to 8"),
        ({"bands": [4], "ratio": 2}, "names band 4, and the model has 4 from 0 on"),
    ],
)
def test_coarse_bands_that_do_not_fit(coarse: dict[str, object], problem: str) -> None:
    model = {"name": "m", "channels": 4, "scale": 1, "upsampler": ""}
    with pytest.raises(RequestError, match=problem):
        Recipe(model=model, degrade={"coarse": coarse})
