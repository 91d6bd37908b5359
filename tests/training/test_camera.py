"""The camera of recipes: mean and variance as in theory, and patches that are functions of their seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import j1

from swin2sr_ops.errors import RequestError
from swin2sr_ops.training.camera import Camera
from swin2sr_ops.training.data import PatchSampler
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.recipe import Recipe

ALL: dict[str, Any] = {
    "psf": [0.5, 2.5],
    "photons": [1, 1000],
    "background": [0, 0.5],
    "read": [0.5, 6],
    "rows": [0, 0.5],
    "hot": [0, 0.001],
    "offset": [0, 30],
    "gain": [0.2, 5],
}


def record(table: dict[str, Any], patch: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return Camera(table).record(patch, np.random.default_rng(seed))


def halves(side: int = 300) -> np.ndarray:
    """Signal 1 on the left, 0.25 on the right."""
    patch = np.full((1, side, side), 0.25, "f4")
    patch[..., : side // 2] = 1
    return patch


@pytest.mark.parametrize("photons", [1, 30, 1000])
@pytest.mark.parametrize("gain", [0.5, 4])
def test_mean_and_variance_are_those_of_theory(photons: float, gain: float) -> None:
    table = {"photons": [photons] * 2, "background": [0.5] * 2, "read": [3, 3], "offset": [50, 50], "gain": [gain] * 2}
    truth, found = record(table, halves())
    for part, signal in ((np.s_[..., :150], 1.0), (np.s_[..., 150:], 0.25)):
        light = photons * (signal + 0.5)
        variance = gain**2 * (light + 9) + 1 / 12
        assert truth[part] == pytest.approx(gain * (light + 50))
        assert found[part].mean() == pytest.approx(gain * (light + 50), abs=5 * np.sqrt(variance / 45000))
        assert found[part].var() == pytest.approx(variance, rel=0.03)
    np.testing.assert_array_equal(found, found.round())


@pytest.mark.parametrize("photons", [2, 50])
def test_an_emccd_doubles_the_shot_noise(photons: float) -> None:
    """With many electrons the gain of the register spreads as much as the photons; dark pixels stay dark."""
    table = {"photons": [photons] * 2, "read": [3, 3], "em": 1.0, "gain": [100, 100]}
    truth, found = record(table, halves())
    for part, light in ((np.s_[..., :150], photons), (np.s_[..., 150:], photons / 4)):
        assert found[part].mean() == pytest.approx(truth[part].mean(), abs=5 * 100 * np.sqrt(2 * light / 45000))
        assert found[part].var() == pytest.approx(1e4 * (2 * light + 0.3**2), rel=0.1)
    _, dark = record(table, np.zeros((1, 200, 200), "f4"))
    assert dark.std() == pytest.approx(30, rel=0.05)


def test_emccds_are_as_frequent_as_the_recipe_says() -> None:
    flat, table = np.ones((1, 64, 64), "f4"), {"photons": [100, 100], "em": 0.25}
    noisy = [record(table, flat, seed)[1].var() > 150 for seed in range(400)]
    assert np.mean(noisy) == pytest.approx(0.25, abs=0.08)


def test_row_noise_is_shared_by_rows_or_columns() -> None:
    """Lines have the variance that ``rows`` states, relative to the read noise of single pixels."""
    flat, seen = np.full((1, 400, 400), 1, "f4"), set()
    for seed in range(8):
        truth, found = record({"photons": [100, 100], "read": [20, 20], "rows": [0.5, 0.5]}, flat, seed)
        rows, columns = ((found - truth)[0].mean(axis).var() for axis in (1, 0))
        lines, others = max(rows, columns), min(rows, columns)
        assert lines == pytest.approx(100 + 500 / 400, rel=0.35)
        assert others == pytest.approx(500 / 400, rel=0.5)
        seen.add(bool(rows > columns))
        assert found.var() == pytest.approx(100 + 400 + 100, rel=0.1)
    assert seen == {False, True}


def test_hot_pixels_are_rare_and_bright() -> None:
    truth, found = record({"photons": [100, 100], "read": [1, 1], "hot": [0.01, 0.01]}, np.ones((1, 500, 500), "f4"))
    bright = (found - truth) > 60
    assert bright.mean() == pytest.approx(0.01 * np.exp(-60 / 110), rel=0.1)
    assert (found - truth)[~bright].std() == pytest.approx(np.sqrt(101), rel=0.05)


def test_a_low_offset_is_clipped() -> None:
    dark = np.zeros((1, 200, 200), "f4")
    _, clipped = record({"photons": [1, 1], "read": [4, 4], "offset": [2, 2], "gain": [1, 1]}, dark)
    _, whole = record({"photons": [1, 1], "read": [4, 4], "gain": [1, 1]}, dark)
    assert clipped.min() == 0
    assert (clipped == 0).mean() == pytest.approx(0.35, abs=0.02)  # Phi((0.5 - 2) / 4)
    assert whole.min() < 0  # without an offset nothing is clipped


def test_optics_are_a_gaussian_or_an_airy_disk() -> None:
    """Both have the same width; SciPy computes them in another way. The truth is blurred, too."""
    point = np.zeros((1, 65, 65), "f4")
    point[0, 32, 32] = 1
    y, x = np.mgrid[-12:13, -12:13]
    v = np.hypot(y, x) * np.sqrt(2) / 2 + 1e-9
    airy = (2 * j1(v) / v) ** 2
    gaussian = gaussian_filter(point[0], 2, radius=12)[20:45, 20:45]
    kinds = []
    for seed in range(8):
        truth, _ = record({"photons": [1, 1], "psf": [2, 2]}, point, seed)
        spot = truth[0, 20:45, 20:45] / truth.sum()
        kinds.append([np.abs(spot - k / k.sum()).max() < 1e-5 for k in (gaussian, airy)])
    assert {tuple(k) for k in kinds} == {(True, False), (False, True)}
    assert truth.sum(axis=(1, 2)) == pytest.approx(truth[0, 32, 32] / spot.max(), rel=1e-5)


def test_values_are_mapped_as_in_restoration() -> None:
    """Recorded values fill 0..1 from the smallest, or from zero, and the target has the same units."""
    lows = []
    for seed in range(40):
        given, target = Camera(ALL).apply(halves(64), np.random.default_rng(seed))
        assert given.dtype == target.dtype == np.float32
        assert given.max() <= 1 + 1e-6
        assert given.min() >= 0
        assert given.max() >= 0.3  # an image is at most three times as bright as this patch
        gain = np.cov(given.ravel(), target.ravel())[0, 1] / target.var()
        assert gain == pytest.approx(1, abs=0.35)
        lows.append(given.min())
    assert 8 < sum(low == 0 for low in lows) < 40


def test_a_quantity_does_not_change_the_draws_of_others() -> None:
    bare = {k: v for k, v in ALL.items() if k not in ("psf", "rows", "hot")}
    for seed in range(4):
        a, b = (record(t, np.ones((1, 32, 32), "f4"), seed)[0] for t in (ALL | {"psf": [0, 0]}, bare))
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ([], r"camera=\[\] must be a table"),
        ({"read": [1, 2]}, r"\[camera\] lacks photons"),
        ({"photons": [1, 9], "fog": [0, 1]}, "has no quantity 'fog', only share, em, psf, photons"),
        ({"photons": [0, 9]}, r"photons=\[0, 9\] must be two ascending numbers in 0.1..1e\+06"),
        ({"photons": [9, 1]}, r"photons=\[9, 1\] must be two ascending"),
        ({"photons": [1, 9], "share": 2}, "share=2 must lie between 0 and 1"),
        ({"photons": [1, 9], "em": [0, 1]}, r"em=\[0, 1\] must lie between 0 and 1"),
    ],
)
def test_problems(recipe: Recipe, table: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        replace(recipe, model=recipe.model | {"scale": 1, "upsampler": ""}, camera=table)


def test_only_for_models_that_keep_the_size(recipe: Recipe) -> None:
    with pytest.raises(RequestError, match=r"\[camera\] is for models that keep the size of an image, and .* is 2"):
        replace(recipe, camera={"photons": [1, 9]})


@pytest.fixture
def x1(recipe: Recipe) -> Recipe:
    model = recipe.model | {"scale": 1, "upsampler": "", "name": "test-x1", "task": "denoise"}
    return replace(recipe, model=model, camera=ALL | {"share": 0.5}, levels=0, degrade={"noise": {"sigma": [9, 9]}})


def test_batches_are_functions_of_seed_and_step(x1: Recipe, data: Path) -> None:
    """Half of the patches go through the camera, the others through `[degrade]`."""
    samplers = [PatchSampler(x1, data) for _ in range(2)]
    for step in (3, 0):
        for a, b in zip(*(s.batch(step) for s in samplers), strict=True):
            assert torch.equal(a, b)
            assert a.shape == (2, 1, 16, 16)
    noises = []
    for step in range(30):
        given, target = samplers[0].batch(step)
        noises += (given - target).flatten(1).std(1).tolist()
    plain = sum(abs(n * 255 - 9) < 1.2 for n in noises)
    assert 15 < plain < 45


def test_a_run_with_a_camera_resumes(x1: Recipe, data: Path, tmp_path: Path) -> None:
    whole = Trainer(x1, data, tmp_path / "a")
    whole.run(log=lambda _: None)
    Trainer(x1, data, tmp_path / "b").run(until=3, log=lambda _: None)
    again = Trainer(x1, data, tmp_path / "b")
    again.run(log=lambda _: None)
    for name, value in whole.averaged_state().items():
        assert torch.equal(value, again.averaged_state()[name]), name
