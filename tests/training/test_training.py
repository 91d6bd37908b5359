"""Training: a batch is a function of seed and step, and a killed run ends like an undisturbed one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch.nn import functional as F

import swin2sr_ops
from swin2sr_ops.errors import FormatError, ModelError, RequestError
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training.data import PatchSampler, detail
from swin2sr_ops.training.degrade import bicubic_reduce
from swin2sr_ops.training.images import load_images
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.recipe import RECIPES, Recipe
from swin2sr_ops.training.start import start_as_interpolation
from tests.training.conftest import MUON, RECIPE


def read_log(out: Path) -> np.ndarray:
    """Step and loss of each row."""
    return np.loadtxt(out / "log.csv", delimiter=",", skiprows=1, usecols=(0, 1), ndmin=2)


def quiet(_: str) -> None:
    """Ignore log lines."""


def train(recipe: Recipe, data: Path, out: Path, **options: Any) -> Trainer:
    trainer = Trainer(recipe, data, out)
    trainer.run(log=quiet, **options)
    return trainer


def assert_same(a: Any, b: Any) -> None:
    """Equal to the last bit, tensors inside dicts and lists too."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


# --- recipes --------------------------------------------------------------------------------------


def test_recipe_is_read(recipe: Recipe, file: Path) -> None:
    assert (recipe.steps, recipe.batch, recipe.patch, recipe.lr) == (6, 2, 16, 5e-3)
    assert recipe.folders == {"blobs": 0.75, "noise": 0.25}
    assert (recipe.spec.name, recipe.spec.depths, recipe.spec.scale) == ("test-x2", (2,), 2)
    assert Recipe.read(file, steps=9, batch=None) == replace(recipe, steps=9)
    assert Recipe(**json.loads(json.dumps(recipe.to_dict()))) == recipe


WITH_MODEL = sorted(path for path in RECIPES.glob("*.toml") if "\n[model]\n" in path.read_text())


@pytest.mark.parametrize("path", WITH_MODEL, ids=lambda p: p.stem)
def test_built_in_recipes(path: Path) -> None:
    """Each is read by its name and describes a model that can be built, under the recipe's own name."""
    recipe = Recipe.read(path.stem)
    assert recipe == Recipe.read(path)
    assert recipe.spec.name == path.stem
    assert recipe.spec.licence
    assert recipe.patch % recipe.spec.window == 0
    with torch.device("meta"):
        SwinNet(recipe.spec)


@pytest.mark.parametrize(
    ("old", "new", "kind", "says"),
    [
        ("steps = 6", "steps = ", RequestError, "not valid TOML"),
        ("batch = 2", "bach = 2", RequestError, "unknown entries bach; possible entries are model, folders, steps"),
        (RECIPE[RECIPE.index("[model]") :], "", RequestError, r"no \[model\] table"),
        ("depths = [2]", "deeps = [2]", ModelError, "deeps"),
        ("heads = [2]", "heads = [3]", ModelError, "multiple of the heads"),
        ("dim = 8", 'dim = "eight"', RequestError, r"The \[model\] of recipe"),
        ('name = "test-x2"', "", RequestError, "a table with a name"),
        ("steps = 6", 'steps = "many"', RequestError, "steps='many' must be a whole number"),
        ("batch = 2", "batch = 0", RequestError, "batch=0 must be a whole number of at least 1"),
        ("seed = 4", "seed = -4", RequestError, "seed=-4"),
        ("lr = 5e-3", "lr = -1.0", RequestError, "lr=-1.0 must lie between 0 and 1"),
        ("contrast = 0.5", "contrast = 5", RequestError, "contrast=5"),
        ("contrast = 0.5", "detail = 0", RequestError, "detail=0 must be a whole number of at least 1"),
        ("contrast = 0.5", "shrink = 0.5", RequestError, "shrink=0.5 must lie between 1 and 16"),
        ("contrast = 0.5", "shrink = 2\npaired = true", RequestError, "pairs cannot be reduced"),
        ("seed = 4", "levels = 1", RequestError, "levels=1"),
        ("blobs = 0.75\nnoise = 0.25", "blobs = 0", RequestError, "not all of them zero"),
        ("blobs = 0.75", 'blobs = "often"', RequestError, "names and finite shares"),
    ],
)
def test_recipe_errors(file: Path, old: str, new: str, kind: type[Exception], says: str) -> None:
    assert old in RECIPE
    file.write_text(RECIPE.replace(old, new))
    with pytest.raises(kind, match=says):
        Recipe.read(file)


def test_unknown_recipe() -> None:
    with pytest.raises(RequestError, match=r"no recipe 'tiny-x9': give a TOML file or one of .*tiny-x2-gray"):
        Recipe.read("tiny-x9")


# --- patches --------------------------------------------------------------------------------------


def test_batches_depend_on_seed_and_step_alone(recipe: Recipe, data: Path) -> None:
    sampler, again = PatchSampler(recipe, data), PatchSampler(recipe, data)
    other = PatchSampler(replace(recipe, seed=5), data)
    torch.manual_seed(9)  # neither torch's nor NumPy's global generators matter
    forward = [sampler.batch(step) for step in range(4)]
    torch.manual_seed(1)
    backward = [again.batch(step) for step in reversed(range(4))][::-1]
    assert_same(forward, backward)
    assert not torch.equal(forward[0][1], forward[1][1])
    assert not torch.equal(forward[0][1], other.batch(0)[1])


@pytest.mark.parametrize(("channels", "scale"), [(1, 2), (3, 2), (1, 3), (1, 1)])
def test_shapes_and_values(recipe: Recipe, data: Path, channels: int, scale: int) -> None:
    upsampler = "" if scale == 1 else "pixelshuffledirect"
    model = recipe.model | {"channels": channels, "scale": scale, "upsampler": upsampler}
    folders = {"noise": 1.0} if channels == 3 or scale == 3 else recipe.folders
    sampler = PatchSampler(replace(recipe, model=model, folders=folders, patch=12), data)
    for step in range(5):
        source, target = sampler.batch(step)
        assert source.shape == (2, channels, 12, 12)
        assert target.shape == (2, channels, 12 * scale, 12 * scale)
        assert source.dtype == target.dtype == torch.float32
        assert 0 <= source.min() < source.max() <= 1
        assert 0 <= target.min() < target.max() <= 1
        levels = source * 255
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [2, 3])
def test_input_is_the_target_reduced_bicubically(recipe: Recipe, data: Path, scale: int) -> None:
    """Pillow's bicubic, another implementation, gives the same numbers away from the border, where it sees less."""
    recipe = replace(recipe, model=recipe.model | {"scale": scale}, folders={"noise": 1.0}, levels=0, patch=12)
    source, target = PatchSampler(recipe, data).batch(3)
    for low, high in zip(source[:, 0].numpy(), target[:, 0].numpy(), strict=True):
        reduced = np.asarray(Image.fromarray(high).resize((12, 12), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(low[2:-2, 2:-2], reduced[2:-2, 2:-2], atol=2e-6)


def test_rounding_is_that_of_stored_images(recipe: Recipe, data: Path) -> None:
    exact, target = PatchSampler(replace(recipe, levels=0), data).batch(0)
    rounded, same_target = PatchSampler(recipe, data).batch(0)
    assert torch.equal(target, same_target)
    assert 0 < (rounded - exact.clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6


def test_reducing_by_one_does_nothing() -> None:
    x = torch.rand(1, 1, 5, 5)
    assert bicubic_reduce(x, 1) is x


def test_every_patch_lies_in_an_image(recipe: Recipe, tmp_path: Path) -> None:
    """An image of exactly the size of a patch with its margin is used, and no pixel from elsewhere."""
    (tmp_path / "one").mkdir()
    ramp = np.arange(48 * 48, dtype="f4").reshape(48, 48)
    tifffile.imwrite(tmp_path / "one" / "ramp.tif", ramp)
    sampler = PatchSampler(replace(recipe, folders={"one": 1}, contrast=0.0), tmp_path)
    inner = (ramp / ramp.max()).astype("f2").astype("f4")[8:-8, 8:-8]
    turned = [np.rot90(side, k).tobytes() for side in (inner, inner[::-1]) for k in range(4)]
    seen = {patch[0].numpy().tobytes() for step in range(30) for patch in sampler.batch(step)[1]}
    assert seen == set(turned)


def test_most_detail(recipe: Recipe, tmp_path: Path) -> None:
    """Flat images are drawn less often than images with detail; patches are a function of seed and step."""
    (tmp_path / "two").mkdir()
    rng = np.random.default_rng(0)
    for name, height in {"flat": 2, "noisy": 200}.items():
        pixels = 20 + rng.integers(0, height, (64, 64))
        Image.fromarray(pixels.astype("u1")).save(tmp_path / "two" / f"{name}.png")
    recipe = replace(recipe, folders={"two": 1}, contrast=0.0, batch=1)
    samplers = {n: PatchSampler(replace(recipe, detail=n), tmp_path) for n in (1, 4)}
    drawn = {n: [sampler.batch(step)[1] for step in range(60)] for n, sampler in samplers.items()}
    flat = {n: sum(float(patch.std()) < 0.01 for patch in patches) for n, patches in drawn.items()}
    assert 15 < flat[1] < 45  # a half of 60
    assert flat[4] < 15  # a sixteenth
    assert torch.equal(samplers[4].batch(7)[1], drawn[4][7])


def test_images_made_smaller(recipe: Recipe, tmp_path: Path) -> None:
    """Half of the patches of a soft image are reduced, and sharper than patches cut from it."""
    (tmp_path / "soft").mkdir()
    y, x = np.mgrid[:400, :500]
    wave = 127.5 + 127 * np.sin(2 * np.pi * (x + 2 * y) / 48)
    Image.fromarray(wave.astype("u1")).save(tmp_path / "soft" / "wave.png")
    recipe = replace(recipe, folders={"soft": 1}, contrast=0.0, batch=1)
    samplers = {n: PatchSampler(replace(recipe, shrink=n), tmp_path) for n in (1, 2, 4)}
    drawn = {n: [sampler.batch(step)[1][0] for step in range(60)] for n, sampler in samplers.items()}
    found = {n: np.array([detail(patch.numpy()) for patch in patches]) for n, patches in drawn.items()}
    soft = found[1].max() * 1.1
    for n in (2, 4):  # detail grows as the square of the frequency
        assert 15 < (found[n] > soft).sum() < 45  # of 60
        assert soft * n**2 / 3 < found[n].max() < soft * n**2
        assert all(patch.shape == drawn[1][0].shape and 0 <= patch.min() < patch.max() <= 1 for patch in drawn[n])
    assert torch.equal(samplers[4].batch(7)[1][0], drawn[4][7])


def test_as_small_as_a_patch_allows(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    Image.fromarray(np.arange(50 * 70, dtype="u1").reshape(50, 70)).save(tmp_path / "one" / "small.png")
    sampler = PatchSampler(replace(recipe, folders={"one": 1}, shrink=16), tmp_path)
    assert all(sampler.batch(step)[1].shape == (2, 1, 32, 32) for step in range(5))


def test_the_measure_of_detail() -> None:
    assert detail(np.full((1, 5, 6), 0.5, "f2")) == 0
    assert detail(np.tile(np.array([[0, 1], [1, 0]], "f2"), (3, 2, 4))) == pytest.approx(0.25)
    steps = np.repeat(np.repeat(np.arange(4), 2)[None, :, None], 8, 2).astype("f2")
    assert detail(steps) == 0  # as coarse as two pixels


def test_images_as_values(tmp_path: Path) -> None:
    """8 bits keep their range; others are stretched, as ``range="auto"`` does; colour gives its luma."""
    gray = np.arange(50, 90, dtype="u1").reshape(5, 8)
    colour = np.stack([gray, gray // 2, 255 - gray], -1)
    for name, pixels in {"gray.png": gray, "colour.png": colour, "palette.png": gray}.items():
        picture = Image.fromarray(pixels)
        (picture.convert("P") if name == "palette.png" else picture).save(tmp_path / name)
    tifffile.imwrite(tmp_path / "deep.tif", gray.astype("u2") * 100)
    tifffile.imwrite(tmp_path / "one_value.tif", np.full((5, 8), 7, "u2"))

    def values(name: str, channels: int) -> np.ndarray:
        (loaded,) = load_images(tmp_path / name, channels)
        assert loaded.dtype == np.float32
        return loaded

    np.testing.assert_allclose(values("gray.png", 1)[0], gray / 255, atol=1e-6)
    np.testing.assert_allclose(values("palette.png", 1)[0], gray / 255, atol=1e-6)
    np.testing.assert_allclose(values("colour.png", 1)[0], colour @ [0.299, 0.587, 0.114] / 255, atol=1e-6)
    np.testing.assert_allclose(values("colour.png", 3), colour.transpose(2, 0, 1) / 255, atol=1e-6)
    np.testing.assert_allclose(values("deep.tif", 1)[0], (gray - 50) / 39, atol=1e-6)
    assert not values("one_value.tif", 1).any()
    assert load_images(tmp_path / "gray.png", 3) == []


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("missing", "contains no image"),
        ("empty", "contains no image"),
        ("small", "at least 48 x 48 px with 3 channel"),
        ("gray", "with 3 channel"),
        ("damaged", "damaged/a.png cannot be read as an image"),
        ("cut", "cut/a.tif cannot be read as an image"),
        ("stack", "with 3 channel"),
    ],
)
def test_folders_that_do_not_fit(recipe: Recipe, tmp_path: Path, folder: str, says: str) -> None:
    for name in ("empty", "small", "gray", "damaged", "cut", "stack"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.zeros((47, 90, 3), "u1")).save(tmp_path / "small" / "a.png")
    Image.fromarray(np.zeros((90, 90), "u1")).save(tmp_path / "gray" / "a.png")
    (tmp_path / "damaged" / "a.png").write_bytes(b"\x89PNG and then nothing")
    (tmp_path / "cut" / "a.tif").write_bytes(b"II*\0")
    tifffile.imwrite(tmp_path / "stack" / "a.tif", np.zeros((5, 60, 60), "u1"))
    recipe = replace(recipe, model=recipe.model | {"channels": 3}, folders={folder: 1.0})
    with pytest.raises((RequestError, FormatError), match=says) as error:
        PatchSampler(recipe, tmp_path)
    assert str(error.value).endswith(".")


# --- the start ------------------------------------------------------------------------------------


@pytest.mark.parametrize("resi", ["1conv", "3conv"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 3])
def test_start_is_bilinear(channels: int, scale: int, resi: str) -> None:
    """Inside the image the carried channels are enlarged bilinearly, exactly, and the body adds nothing.

    The random tenth that the head takes from the other features stays small beside it.
    """
    spec = swin2sr_ops.ModelSpec(
        name="start", dim=8, depths=(2,), heads=(2,), channels=channels, scale=scale,
        upsampler="pixelshuffledirect", resi_connection=resi,
    )  # fmt: skip
    torch.manual_seed(0)
    net = SwinNet(spec).eval()
    start_as_interpolation(net)
    x = torch.rand(2, channels, 24, 32)
    bilinear = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    inside = (..., slice(scale, -scale), slice(scale, -scale))
    with torch.no_grad():
        as_started = net(x)
        net.get_parameter("upsample.0.weight")[:, channels:] = 0
        carried = net(x)
    torch.testing.assert_close(carried[inside], bilinear[inside], rtol=0, atol=2e-6)
    rest = (as_started - bilinear)[inside].abs()
    assert 0 < rest.mean() < 0.05
    assert rest.max() < 0.2


def test_start_leaves_other_heads_alone() -> None:
    spec = swin2sr_ops.ModelSpec(name="other", dim=8, depths=(2,), heads=(2,), num_feat=8)
    torch.manual_seed(0)
    net = SwinNet(spec)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    start_as_interpolation(net)
    assert_same(dict(net.state_dict()), before)


# --- the loop -------------------------------------------------------------------------------------


def test_learning_rate(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    """Up in a line, at the top when warm, then down in half a cosine to its end."""
    recipe = replace(recipe, steps=110, warmup=10, lr=1e-3, lr_min=1e-5)
    trainer = Trainer(recipe, data, tmp_path / "run")
    rates = [trainer.learning_rate(step) for step in range(recipe.steps + 1)]
    np.testing.assert_allclose(rates[:10], 1e-3 * np.arange(1, 11) / 10)
    assert rates[10] == max(rates) == 1e-3
    assert rates[60] == pytest.approx((1e-3 + 1e-5) / 2)
    assert rates[110] == pytest.approx(1e-5)
    assert np.all(np.diff(rates[10:]) < 0)
    assert trainer.learning_rate(999) == pytest.approx(1e-5)
    no_warmup = Trainer(replace(recipe, warmup=0), data, tmp_path / "run")
    assert no_warmup.learning_rate(0) == 1e-3


def test_learning_rate_in_steps(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    """Halved at each milestone, as in the papers, and never below its end."""
    steps = replace(recipe, steps=100, warmup=0, lr=1e-3, lr_min=2e-4, schedule="step", milestones=[0.5, 0.8, 0.9])
    trainer = Trainer(steps, data, tmp_path / "run")
    rates = [trainer.learning_rate(step) for step in (0, 49, 50, 79, 80, 89, 90, 99)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 2e-4, 2e-4])


def test_bfloat16_stays_near(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    """Autocast changes a loss by its rounding, and leaves the weights in float32."""
    plain = train(replace(recipe, lr=1e-4), data, tmp_path / "plain", save_every=1, until=3)
    mixed = train(replace(recipe, lr=1e-4, amp=True), data, tmp_path / "mixed", save_every=1, until=3)
    assert {p.dtype for p in mixed.net.parameters()} == {torch.float32}
    a, b = (read_log(tmp_path / name)[:, 1] for name in ("plain", "mixed"))
    np.testing.assert_allclose(a, b, rtol=0.05)
    assert not torch.equal(plain.net.conv_first.weight, mixed.net.conv_first.weight)


def test_training_lowers_the_loss(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    recipe = replace(recipe, steps=40, batch=4, folders={"blobs": 1.0})
    trainer = train(recipe, data, tmp_path / "run", save_every=10)
    losses = read_log(tmp_path / "run")[:, 1]
    assert losses[-1] < 0.5 * losses[0]
    net = SwinNet(recipe.spec).eval()
    torch.manual_seed(recipe.seed)
    untrained = SwinNet(recipe.spec).eval()
    start_as_interpolation(untrained)
    net.load_state_dict(trainer.averaged_state())
    source, target = trainer.sampler.batch(999)
    with torch.no_grad():
        assert F.l1_loss(net(source), target) < F.l1_loss(untrained(source), target)


@pytest.mark.parametrize("optimiser", ["adam", pytest.param("muon", marks=MUON)])
def test_a_resumed_run_equals_an_undisturbed_one(recipe: Recipe, data: Path, tmp_path: Path, optimiser: str) -> None:
    """Six steps at once, or three, new objects, and three more: the same bits."""
    recipe = replace(recipe, optimiser=optimiser)
    whole = train(recipe, data, tmp_path / "whole", save_every=6)
    train(recipe, data, tmp_path / "parts", save_every=2, until=3)
    torch.manual_seed(123)  # a new process has other random numbers
    parts = train(recipe, data, tmp_path / "parts", save_every=100)
    assert parts.step == whole.step == 6
    assert_same(dict(parts.net.state_dict()), dict(whole.net.state_dict()))
    assert_same(parts.averaged_state(), whole.averaged_state())
    states = [torch.load(tmp_path / n / "state.pt", weights_only=True) for n in ("whole", "parts")]
    assert set(states[0]) == {"step", "net", "average", "optimiser", "watch", "save_every", "losses"}
    assert_same(*states)
    finished = train(recipe, data, tmp_path / "parts")  # nothing is left to do
    assert_same(finished.averaged_state(), whole.averaged_state())


def test_log_has_means(recipe: Recipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is the mean since the row before, wherever a run was stopped and resumed."""
    step, losses = Trainer._train_step, []

    def keep(self: Trainer) -> float:
        losses.append(step(self))
        return losses[-1]

    monkeypatch.setattr(Trainer, "_train_step", keep)
    train(recipe, data, tmp_path / "run", save_every=4, until=3)
    train(recipe, data, tmp_path / "run", save_every=4)
    rows = read_log(tmp_path / "run")
    assert (tmp_path / "run" / "log.csv").read_text().startswith("step,loss,learning_rate,seconds_per_step,")
    assert rows[:, 0].tolist() == [3, 4, 6]
    expected = [np.mean(losses[:3]), losses[3], np.mean(losses[4:])]
    np.testing.assert_allclose(rows[:, 1], expected, atol=1e-6)


@pytest.mark.parametrize("cut", [0, 7], ids=["between log and state", "within a row"])
def test_rows_of_steps_that_were_not_saved_come_once(recipe: Recipe, data: Path, tmp_path: Path, cut: int) -> None:
    """Killed after the row of step 4 was begun and before its state was saved."""
    train(recipe, data, tmp_path, save_every=2, until=2)
    state = (tmp_path / "state.pt").read_bytes()
    train(recipe, data, tmp_path, save_every=2, until=4)
    (tmp_path / "state.pt").write_bytes(state)
    log = tmp_path / "log.csv"
    log.write_text(log.read_text()[: -cut or None])
    train(recipe, data, tmp_path, save_every=2)
    assert read_log(tmp_path)[:, 0].tolist() == [2, 4, 6]


def test_a_log_cut_within_its_heading(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    train(recipe, data, tmp_path, save_every=2, until=2)
    (tmp_path / "log.csv").write_text("step,lo")
    train(recipe, data, tmp_path, save_every=4)
    assert read_log(tmp_path)[:, 0].tolist() == [4, 6]


def test_until_stops_a_run(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    trainer = Trainer(recipe, data, tmp_path / "run")
    trainer.run(until=0, log=lines.append)
    assert trainer.step == 0
    trainer.run(until=2, log=lines.append)
    assert trainer.step == 2
    trainer.run(until=99, log=lines.append)
    assert trainer.step == 6
    assert all(line.startswith(("step ", "trained with ")) for line in lines)
    assert [line.split("  ")[0] for line in lines if line.startswith("step")] == ["step 2/2", "step 6/6"]
    with pytest.raises(RequestError, match="save_every=0"):
        trainer.run(save_every=0)


def test_other_settings_are_refused(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    """Law 5: an unfinished run can be resumed only with its own settings; only its length may change."""
    out = tmp_path / "run"
    train(recipe, data, out, until=1)
    with pytest.raises(RequestError, match=r"was started with lr=0\.005, not 0\.1; seed=4, not 5: give another folder"):
        Trainer(replace(recipe, seed=5, lr=0.1), data, out)
    wider = replace(recipe, model=recipe.model | {"dim": 12})
    with pytest.raises(RequestError, match="damaged or belongs to another model than 'test-x2'"):
        Trainer(wider, data, out)
    assert Trainer(replace(recipe, steps=9), data, out).step == 1


def test_a_run_from_before_settings_were_kept(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    train(recipe, data, tmp_path / "run", until=1)
    (tmp_path / "run" / "recipe.json").unlink()
    trainer = train(recipe, data, tmp_path / "run", until=2)
    assert trainer.step == 2
    with pytest.raises(RequestError, match="seed=4, not 5"):
        Trainer(replace(recipe, seed=5), data, tmp_path / "run")


@pytest.mark.parametrize("damage", [b"", b"something else", None])
def test_a_damaged_state(recipe: Recipe, data: Path, tmp_path: Path, damage: bytes | None) -> None:
    train(recipe, data, tmp_path / "run", until=1)
    file = tmp_path / "run" / "state.pt"
    file.write_bytes(file.read_bytes()[:-500] if damage is None else damage)
    with pytest.raises(RequestError, match=r"state\.pt is damaged"):
        Trainer(recipe, data, tmp_path / "run")


def test_a_save_that_fails_keeps_the_old_one(
    recipe: Recipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = train(recipe, data, tmp_path / "run", until=1)

    def half(state: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="full"):
        trainer.run(until=2, log=quiet)
    assert Trainer(recipe, data, tmp_path / "run").step == 1
