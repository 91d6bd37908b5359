"""Training on stacks: patches of neighbouring planes, made planes, pairs, and weights of single-plane models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import zarr

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.training import noisy_images, train
from swin2sr_ops.training.camera import Camera
from swin2sr_ops.training.data import PatchSampler
from swin2sr_ops.training.noisy import NoisySampler, noisy_loss
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.training.start import start_as
from swin2sr_ops.training.volumes import MadeVolume, planes_of, stacks
from swin2sr_ops.weights.loader import resolve_spec
from tests.conftest import random_net, small_spec, write_model

X1 = {"upsampler": "", "scale": 1}
MODEL = {"name": "v", "dim": 12, "depths": [2], "heads": [2], "channels": 1, "planes": 3, "along": "Z", **X1}


def stack(planes: int = 5, height: int = 64, width: int = 72) -> np.ndarray:
    """A pattern that moves from plane to plane, in other levels in each."""
    y, x = np.mgrid[:height, :width] / 6
    return np.stack([((np.sin(x + z) * np.cos(y) + 2) * 60 + z).astype("u1") for z in range(planes)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    tifffile.imwrite(data / "one.ome.tif", stack(), metadata={"axes": "ZYX"})
    zarr.save_array(data / "two.zarr", np.stack([stack(4), stack(4)]))  # CZYX by its number of axes
    return data


def recipe(**changes: object) -> Recipe:
    values: dict[str, object] = {"model": MODEL, "batch": 4, "patch": 16, "levels": 0, "warmup": 0, "steps": 2}
    return Recipe(**(values | {"degrade": {"noise": {"sigma": [20, 20]}}} | changes))  # type: ignore[arg-type]


def test_a_plane_comes_with_its_neighbours() -> None:
    planes = np.arange(5)[:, None, None] * np.ones((1, 2, 2))
    assert planes_of(planes, 2, 5)[:, 0, 0].tolist() == [2, 1, 3, 0, 4]
    assert planes_of(planes, 0, 5)[:, 0, 0].tolist() == [0, 1, 1, 2, 2]


def test_batches_of_stacks(folder: Path) -> None:
    """Each plane has noise of its own; the target is the plane that comes first."""
    sampler = PatchSampler(recipe(batch=64), folder)
    given, target = sampler.batch(0)
    assert given.shape == (64, 3, 16, 16)
    assert target.shape == (64, 1, 16, 16)
    noise = (given[:, :1] - target).flatten()
    assert abs(float(noise.std()) * 255 - 20) < 1
    smooth = PatchSampler(recipe(batch=64, degrade={"noise": {"sigma": [0, 0]}}), folder).batch(0)[0]
    apart = given - smooth
    shared = torch.corrcoef(apart.transpose(0, 1).flatten(1)) - torch.eye(3)
    assert float(shared.abs().max()) < 0.05
    torch.testing.assert_close(smooth[:, :1], target)
    again, _ = PatchSampler(recipe(batch=64), folder).batch(0)
    assert torch.equal(again, given)


def test_trained_on_stacks_and_used(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.safetensors"
    words = ["train", str(tmp_path / "r.toml"), "--data", str(folder), "--out", str(tmp_path / "run"), "--quiet"]
    (tmp_path / "r.toml").write_text(
        'steps = 2\nbatch = 2\npatch = 16\n[degrade]\nnoise = { sigma = [5, 30] }\n[model]\nname = "v"\ndim = 12\n'
        'depths = [2]\nheads = [2]\nscale = 1\nupsampler = ""\nchannels = 1\n'
    )
    assert main([*words, "--planes", "3", "--along", "Z", "--validate", str(folder), "--export", str(out)]) == 0
    spec = resolve_spec(out)
    assert (spec.planes, spec.along, spec.inputs) == (3, "Z", 3)
    image = stack()
    restored = swin2sr_ops.restore(image, model=out, axes="ZYX").compute()
    assert restored.shape == image.shape
    assert (tmp_path / "run" / "validation.png").exists()


def test_images_without_stacks(tmp_path: Path) -> None:
    """A sentence; or planes that are made of single images."""
    tifffile.imwrite(tmp_path / "single.tif", stack()[0])
    with pytest.raises(RequestError, match=r"no image of several planes along Z .* \[volume\] makes planes"):
        PatchSampler(recipe(), tmp_path)
    made = recipe(volume={"shift": [1, 1], "blur": [0, 0.5]}, degrade={"noise": {"sigma": [0, 0]}})
    given, target = PatchSampler(made, tmp_path).batch(0)
    torch.testing.assert_close(given[:, :1], target)
    assert not torch.equal(given[:, 1], given[:, 2])
    alone = PatchSampler(recipe(model={**MODEL, "planes": 1}, volume=made.volume), tmp_path).batch(0)
    torch.testing.assert_close(alone[1], target)  # the same patches without neighbours


def test_made_planes_move_to_either_side() -> None:
    patch = np.zeros((1, 21, 21), np.float32)
    patch[0, 10, 10] = 1
    planes = MadeVolume({"shift": [3, 3]}).apply(patch, 5, np.random.default_rng(1))
    places = [np.argwhere(plane == plane.max())[0] - 10 for plane in planes]
    assert places[0].tolist() == [0, 0]
    np.testing.assert_array_equal(places[1], -places[2])
    np.testing.assert_array_equal(places[3], -places[4])
    assert np.abs(places[3]).max() > np.abs(places[1]).max() > 0


def beside(table: dict[str, float], planes: int = 5) -> np.ndarray:
    """How much of other content each plane has, from below to above, in 400 draws."""
    patch, other = np.zeros((1, 2, 2), np.float32), np.ones((1, 2, 2), np.float32)
    made = [MadeVolume(table).apply(patch, planes, np.random.default_rng(i), other) for i in range(400)]
    order = {1: [0], 5: [3, 1, 0, 2, 4]}[planes]
    return np.stack(made)[:, order, 0, 0]


def test_made_planes_show_other_content_on_either_side() -> None:
    drawn = beside({"other": 0.5})
    changed = drawn[drawn.any(1)]
    assert 160 < len(changed) < 240
    assert not drawn[:, 2].any()
    sides = [tuple(row[[1, 3]] > 0) for row in changed]
    assert all(sides.count(kind) > 40 for kind in ((True, False), (False, True), (True, True)))
    assert 0.4 < np.mean(changed.max(1) == 1) < 0.6  # wholly; else blended in
    assert np.unique(changed).size > 60


def test_made_planes_fade_into_other_content() -> None:
    drawn = beside({"fade": 1.0})
    steps = np.sign(np.diff(drawn, axis=1))
    assert (abs(steps.sum(1)) == abs(steps).sum(1)).all()  # in one direction
    assert steps.any(1).all()
    assert 0.3 < np.mean(steps.sum(1) > 0) < 0.7
    assert np.mean(drawn[:, 2] > 0) > 0.9  # of the plane itself, too
    np.testing.assert_array_equal(beside({"fade": 1.0}, 1), drawn[:, 2:3])
    assert len(beside({"other": 0.4, "fade": 0.3})) - (beside({"other": 0.4, "fade": 0.3}).any(1)).sum() > 80


def test_two_neighbours_that_differ_need_not_agree() -> None:
    other = np.zeros((1, 4, 4), np.float32)
    other[0, 0, 1] = 1
    made = [
        MadeVolume({"other": 1.0}).apply(np.zeros_like(other), 3, np.random.default_rng(i), other) for i in range(60)
    ]
    both = [planes for planes in made if planes[1].any() and planes[2].any()]
    assert 0.2 < np.mean([np.array_equal(planes[1], planes[2]) for planes in both]) < 0.8


def test_other_content_comes_from_another_place(tmp_path: Path) -> None:
    """Of two images of one level each, the neighbours show the other one; none does without a share."""
    for level in (50, 200):
        tifffile.imwrite(tmp_path / f"{level}.tif", np.full((64, 64), level, "u1"))
    one = recipe(batch=64, degrade={}, volume={"shift": [1, 1], "other": 0.9}, shrink=2.0)
    given, target = PatchSampler(one, tmp_path).batch(0)
    apart = ((given - target).abs().amax((2, 3)) * 255).round()
    assert not apart[:, 0].any()
    assert 10 < (apart[:, 1:] == 150).any(1).sum() < 32
    assert (apart[:, 1:] > 0).any(1).sum() > 20
    same, _ = PatchSampler(recipe(batch=64, degrade={}, volume={"shift": [1, 1]}, shrink=2.0), tmp_path).batch(0)
    assert float((same - same[:, :1]).abs().max()) == 0
    ((shown, wanted),) = PatchSampler(one, tmp_path).held_out([(None, np.eye(64, dtype="f4")[None])], 32)
    assert shown.shape == (1, 3, 32, 32)
    torch.testing.assert_close(shown[:, :1], wanted)
    assert MadeVolume(Recipe.read("nano-x1-volume").volume).mixes


def test_pairs_of_stacks(tmp_path: Path) -> None:
    clean = stack(4).astype("u2") * 10
    noisy = clean + np.random.default_rng(0).integers(0, 100, clean.shape).astype("u2")
    for kind, pixels in (("clean", clean), ("noisy", noisy)):
        (tmp_path / kind).mkdir()
        tifffile.imwrite(tmp_path / kind / "a.ome.tif", pixels, metadata={"axes": "ZYX"})
    spec = small_spec(planes=3, along="Z", **X1)
    ((given, target),) = stacks(tmp_path, spec, paired=True, made=False)
    assert given is not None
    assert given.shape == target.shape == (4, 64, 72)
    low, high = float(noisy.min()), float(noisy.max())
    np.testing.assert_allclose(target, (clean - low) / (high - low), atol=1e-6)
    x, y = PatchSampler(recipe(paired=True, degrade={}), tmp_path).batch(0)
    assert x.shape == (4, 3, 16, 16)
    assert y.shape == (4, 1, 16, 16)
    tifffile.imwrite(tmp_path / "noisy" / "a.ome.tif", noisy[:3], metadata={"axes": "ZYX"})
    with pytest.raises(RequestError, match="do not fit a model of scale 1"):
        stacks(tmp_path, spec, paired=True, made=False)


def pair(folder: Path, clean: np.ndarray, noisy: np.ndarray) -> None:
    for kind, pixels in (("clean", clean), ("noisy", noisy)):
        (folder / kind).mkdir(exist_ok=True)
        tifffile.imwrite(folder / kind / "a.ome.tif", pixels, metadata={"axes": "ZYX"})


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("most", [1, 2 * 256**2, 7 * 300 * 520])
def test_large_pairs_of_stacks_are_cut_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: int, most: int
) -> None:
    """The budget of the target decides for both: the same planes, and the same place in them."""
    given = np.random.default_rng(0).integers(0, 255, (7, 150 * 2 // scale, 260 * 2 // scale), dtype="u1")
    pair(tmp_path, given.repeat(scale, 1).repeat(scale, 2), given)
    monkeypatch.setattr(noisy_images, "MOST", most)
    spec = small_spec(planes=3, along="Z") if scale == 2 else small_spec(planes=3, along="Z", **X1)
    ((x, y),) = stacks(tmp_path, spec, paired=True, made=False)
    assert x is not None
    np.testing.assert_array_equal(x.repeat(scale, 1).repeat(scale, 2), y)
    assert (y.size == given.size * scale**2) is (most == 7 * 300 * 520)


def test_pairs_of_stacks_are_finite(tmp_path: Path) -> None:
    for broken in (0, 1):
        both = [np.ones((3, 64, 64), "f4"), np.ones((3, 64, 64), "f4")]
        both[broken][1, 2, 3] = np.nan
        pair(tmp_path, *both)
        with pytest.raises(FormatError, match=r"a\.ome\.tif has pixels that are not finite"):
            stacks(tmp_path, small_spec(planes=3, along="Z", **X1), paired=True, made=False)


def test_made_planes_hold_no_reflected_pixel(tmp_path: Path) -> None:
    """On a ramp, whatever moves: each plane is a ramp as steep as the picture's."""
    ramp = np.arange(120, dtype="u1")[:, None] + np.arange(120, dtype="u1") * np.uint8(0)
    tifffile.imwrite(tmp_path / "ramp.tif", ramp)
    one = recipe(model={**MODEL, "planes": 9}, volume={"shift": [4, 4]}, degrade={}, batch=32)
    given, _ = PatchSampler(one, tmp_path).batch(0)
    steps = torch.stack([(given.diff(dim=2)[..., :-1] * 255).round(), (given.diff(dim=3)[:, :, :-1] * 255).round()])
    assert torch.equal(steps.amin((3, 4)), steps.amax((3, 4)))  # a reflection would turn the slope
    assert (steps[:, :, 0].abs().sum(0) == 1).all()


def test_a_single_plane_model_becomes_one_of_several(folder: Path, tmp_path: Path) -> None:
    """At first its result is that of the single plane, whatever lies beside it."""
    one = random_net(small_spec(**X1))
    net = random_net(small_spec(planes=3, **X1), seed=1)
    assert start_as(net, one) == []
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(net(x), one(x[:, :1]))
    five = random_net(small_spec(planes=5, **X1), seed=2)
    assert start_as(five, random_net(small_spec(planes=3, **X1), seed=1)) == []
    back = random_net(small_spec(**X1), seed=3)
    assert start_as(back, net) == []
    torch.testing.assert_close(back(x[:, :1]), net(x))
    with pytest.raises(RequestError, match="start from a model of single planes"):
        start_as(random_net(small_spec(channels=3, **X1)), net)
    spec = write_model(tmp_path / "one.safetensors", name="one", advice="For planes.", **X1)
    lines: list[str] = []
    trainer = train(
        init=spec, planes=3, data=folder, out=tmp_path / "run", steps=1, batch=1, patch=16, log=lines.append
    )
    assert "weights for 1 plane(s) taken for 3: new neighbours add nothing yet" in lines
    assert (trainer.recipe.spec.planes, trainer.recipe.spec.advice) == (3, "")


def test_planes_of_a_camera_share_hot_pixels() -> None:
    table = {"photons": [100, 100], "hot": [0.05, 0.05]}
    _, recorded = Camera(table, planes=True).record(np.full((3, 40, 40), 0.5, np.float32), np.random.default_rng(0))
    burnt = recorded > 170
    assert 20 < burnt[0].sum() < 100
    assert (burnt[0] & burnt[1]).sum() > 0.7 * burnt[0].sum()


def test_blind_training_hides_the_plane_not_its_neighbours(folder: Path) -> None:
    one = recipe(noisy="blind", degrade={}, batch=32)
    shown, recorded, hidden = NoisySampler(one, folder).batch(0)
    assert shown.shape == recorded.shape == (32, 3, 16, 16)
    assert hidden.shape == (32, 1, 16, 16)
    changed = shown != recorded
    assert changed[:, :1].any()
    assert not (changed[:, :1] & (hidden == 0)).any()
    assert not changed[:, 1:].any()
    # A network that repeats the plane is judged by its hidden pixels, and by nothing beside it.
    assert noisy_loss("blind", lambda x: x[:, :1], (shown, shown, hidden)).item() == 0
    assert noisy_loss("blind", lambda x: recorded[:, :1], (shown, recorded, hidden)).item() == 0


def test_a_plane_that_comes_again_is_hidden_again(tmp_path: Path) -> None:
    """Of five planes at the end of a stack, reflection makes one the plane itself."""
    tifffile.imwrite(tmp_path / "a.ome.tif", stack(2), metadata={"axes": "ZYX"})
    one = recipe(noisy="blind", degrade={}, batch=8, model={**MODEL, "planes": 5})
    shown, recorded, hidden = NoisySampler(one, tmp_path).batch(0)
    again = (recorded == recorded[:, :1]).all(3).all(2)
    assert (again.sum(1) == 3).all()
    seen = shown.transpose(0, 1)[:, hidden[:, 0] > 0]
    kept = recorded.transpose(0, 1)[:, hidden[:, 0] > 0]
    leaks = ((seen == kept) & again.T.repeat_interleave(int(hidden[0].sum()), 1)).any(0)
    assert leaks.float().mean() < 0.3  # a neighbour may have the same value


def test_blind_training_of_a_volume(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    spec = write_model(tmp_path / "one.safetensors", name="one", **X1)
    given = {"noisy": "blind", "planes": 3, "along": "Z", "steps": 2, "batch": 2, "patch": 16, "log": lines.append}
    out = tmp_path / "mine.safetensors"
    trainer = train(init=spec, data=folder, out=tmp_path / "run", export_to=out, **given)  # type: ignore[arg-type]
    assert trainer.recipe.spec.planes == 3
    assert resolve_spec(out).along == "Z"
    assert any("noise" in line for line in lines)
    single = tmp_path / "single.tif"
    tifffile.imwrite(single, stack()[0])
    with pytest.raises(RequestError, match="and several planes along Z"):
        train(init=spec, data=single, out=tmp_path / "other", **given)  # type: ignore[arg-type]
    again = train(recipe(noisy="blind", degrade={}), data=folder, out=tmp_path / "anew", log=lambda line: None)
    assert again.step == 2  # from random weights: a model of single planes shows the noise


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"degrade": {"jpeg": {"quality": [10, 90]}}}, "would take neighbouring planes for colours"),
        ({"noisy": "sure", "degrade": {}}, "noisy='sure' trains models of single planes"),
        ({"volume": {"twist": [0, 1]}}, "has no quantity 'twist', only shift, blur, other, fade"),
        ({"volume": {"other": 1.5}}, "other=1.5 must be a number from 0 to 1"),
        ({"volume": {"fade": [0, 1]}}, r"fade=\[0, 1\] must be a number from 0 to 1"),
        ({"volume": {"other": float("nan")}}, "other=nan must be a number"),
        ({"volume": {"other": True}}, "other=True must be a number"),
        ({"volume": {"other": 0.6, "fade": 0.5}}, "other=0.6 and fade=0.5 must together be at most 1"),
        ({"volume": {"shift": [0, 9]}}, "must be two ascending numbers in 0..4"),
        ({"volume": 3}, "must be a table"),
        ({"volume": {"shift": [0, 1]}, "paired": True, "degrade": {}}, "pairs are stacks already"),
        ({"teacher": {"model": "good"}, "degrade": {}}, "a teacher sees images, not stacks"),
        ({"model": {**MODEL, "planes": "three"}}, "planes='three' must be a whole number"),
    ],
)
def test_recipes_that_do_not_fit(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        recipe(**changes)
