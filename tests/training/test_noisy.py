"""Training on noisy images alone: estimates without bias, held-out parts, better pictures, structured noise, a card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import torch
import zarr
from torch.nn import functional as F

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.errors import FormatError, RequestError, Stopped
from swin2sr_ops.training import train
from swin2sr_ops.training.arrays import image_of
from swin2sr_ops.training.images import load_images, load_pairs
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.noisy import NoisySampler, noisy_loss
from swin2sr_ops.training.noisy_images import find_noisy, is_image, load_sequences
from swin2sr_ops.training.recipe import NOISY, Recipe
from swin2sr_ops.training.structure import structure_of
from swin2sr_ops.training.watch import Watch

GAIN, READ = 0.02, 0.05
MODEL = {
    "name": "mine", "task": "denoise", "scale": 1, "channels": 1, "dim": 8, "depths": [2], "heads": [2],
    "upsampler": "", "licence": "CC0-1.0",
}  # fmt: skip


def clean(side: int = 160) -> np.ndarray:
    """Smooth blobs, 0.1 to 0.9."""
    y, x = np.mgrid[:side, :side] / 7
    return (0.5 + 0.2 * (np.sin(x) + np.cos(y + x / 3))).astype("f4")


def recorded(rng: np.random.Generator, count: int = 1, side: int = 160) -> np.ndarray:
    x = clean(side)
    shot = rng.poisson(np.broadcast_to(x / GAIN, (count, side, side))) * GAIN
    return (shot + READ * rng.standard_normal(shot.shape)).astype("f4")


def sixteen(pixels: np.ndarray) -> np.ndarray:
    return (pixels * 10000 + 3000).clip(0, 65535).astype("u2")


def recipe(how: str, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "model": MODEL, "noisy": how, "steps": 60, "batch": 2, "patch": 32, "lr": 5e-3, "warmup": 5, "ema": 0.9,
        "seed": 3,
    }  # fmt: skip
    return Recipe(**(values | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two stacks of four recordings each of one place."""
    rng = np.random.default_rng(1)
    (tmp_path / "data").mkdir()
    for i in range(2):
        stack = sixteen(recorded(rng, 4))
        tifffile.imwrite(tmp_path / "data" / f"{i}.ome.tif", stack, metadata={"axes": "TYX"}, ome=True)
    return tmp_path / "data"


# --- losses ---------------------------------------------------------------------------------------

_BLUR = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None] / 16
_AROUND = torch.tensor([[1.0, 1, 1], [1, 0, 1], [1, 1, 1]])[None, None] / 8


def filtered(kernel: torch.Tensor) -> Any:
    return lambda x: F.conv2d(F.pad(x, (1,) * 4, mode="reflect"), kernel)


def test_sure_is_the_mean_square_error() -> None:
    """Test a linear filter on Poisson and Gaussian noise, and a nonlinear function."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(clean(512))[None, None]
    y = torch.from_numpy(recorded(rng, 1, 512))[None]
    variance = GAIN * y + READ**2
    probe = torch.from_numpy(rng.choice(np.array([-1, 1], "f4"), y.shape))
    for function in (filtered(_BLUR), lambda z: torch.tanh(filtered(_BLUR)(z)), lambda z: z):
        error = ((function(y) - x) ** 2).mean().item()
        assert noisy_loss("sure", function, (y, variance, probe, torch.ones_like(y))).item() == pytest.approx(
            error, rel=0.06
        )


def test_blind_and_repeats_are_the_error_plus_the_noise(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(clean(512))[None, None]
    y, other = (torch.from_numpy(recorded(rng, 1, 512))[None] for _ in range(2))
    noise = ((other - x) ** 2).mean().item()
    blur, around = filtered(_BLUR), filtered(_AROUND)
    for how in ("repeats", "neighbours"):
        found = noisy_loss(how, blur, (y, other)).item() - noise
        assert found == pytest.approx(((blur(y) - x) ** 2).mean().item(), rel=0.1)
    hidden = torch.from_numpy((rng.random(y.shape) < 0.3).astype("f4"))
    found = noisy_loss("blind", around, (y, y, hidden)).item() - noise  # `around` does not see the pixel itself
    assert found == pytest.approx(((around(y) - x) ** 2).mean().item(), rel=0.15)
    # A network that repeats its input learns nothing from seeing it: the hidden pixel is not shown.
    shown, _, hidden = NoisySampler(recipe("blind"), folder).batch(0)
    assert noisy_loss("blind", lambda z: z, (shown, shown, hidden)).item() == 0


def test_hidden_pixels_show_a_neighbour(folder: Path) -> None:
    shown, whole, hidden = NoisySampler(recipe("blind"), folder).batch(5)
    changed = (shown != whole).float()
    assert hidden.sum() == 2 * round(0.015 * 32 * 32)
    assert (changed <= hidden).all()
    assert changed.sum() > 0.8 * hidden.sum()  # a neighbour may have the same value
    near = F.unfold(F.pad(whole, (2,) * 4, value=9.0), 5).view(2, 25, 32, 32)
    assert ((near - shown).abs().amin(1, keepdim=True)[hidden > 0] == 0).all()


@pytest.mark.parametrize("how", NOISY)
def test_batches_are_functions_of_seed_and_step(how: str, folder: Path) -> None:
    one, other = (NoisySampler(recipe(how), folder) for _ in range(2))
    for step in (4, 0):
        for a, b in zip(one.batch(step), other.batch(step), strict=True):
            assert torch.equal(a, b)
            assert a.shape == (2, 1, 32, 32)
    assert not torch.equal(one.batch(0)[0], one.batch(1)[0])
    assert len(one) == 8


def test_pairs_show_the_same_place(folder: Path) -> None:
    for how in ("repeats", "neighbours"):
        a, b = NoisySampler(recipe(how), folder).batch(0)
        assert not torch.equal(a, b)
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.4


def test_the_measured_noise_is_the_cameras(folder: Path) -> None:
    noise = NoisySampler(recipe("sure", patch=32), folder).trained[0].noise
    stack = tifffile.imread(folder / "0.ome.tif").astype(float)
    width = np.ptp(stack)
    low = (stack.min() - 3000) / 10000
    assert noise.gain == pytest.approx(GAIN * 10000 / width, rel=0.25)
    expected = (GAIN * low + READ**2) * (10000 / width) ** 2  # at the darkest pixel, which is 0 for the network
    middle = noise.gain * 0.5 + noise.offset
    assert middle == pytest.approx(expected + GAIN * 10000 / width * 0.5, rel=0.2)


def test_held_out_patches_share_no_pixel_with_the_others(folder: Path) -> None:
    sampler = NoisySampler(recipe("repeats"), folder)
    trained, held = sampler.trained[0].planes, sampler.held[0].planes
    assert trained.shape[-2] + held.shape[-2] == 160
    assert held.shape[-2] == 32
    small = NoisySampler(recipe("blind", patch=64), folder)  # too small to be divided: the second file is held out
    assert (len(small.trained), len(small.held)) == (1, 1)


# --- images ---------------------------------------------------------------------------------------


def test_sequences_of_archives_stacks_and_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(100, 3000, (3, 2, 5, 40, 50), dtype="u2")  # T C Z
    path = tmp_path / "a.ome.zarr"
    root = zarr.open_group(path, mode="w")
    root.create_array("0", data=pixels)
    axes = [{"name": n, "type": {"t": "time", "c": "channel"}.get(n, "space")} for n in "tczyx"]
    scale = [{"type": "scale", "scale": [1.0] * 5}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    root.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}
    found = load_sequences(path, 1)
    assert [s.shape for s in found] == [(3, 1, 40, 50)] * 10
    first = pixels[:, 0].astype("f4")
    expected = (first - first.min()) / np.ptp(first)
    np.testing.assert_allclose(found[0][:, 0], expected[:, 0], atol=1e-6)
    tifffile.imwrite(tmp_path / "b.tif", pixels[0, 0], metadata={"axes": "ZYX"})
    assert [s.shape for s in load_sequences(tmp_path / "b.tif", 1)] == [(5, 1, 40, 50)]
    tifffile.imwrite(tmp_path / "c.tif", (pixels[0, 0, 0] // 12).astype("u1"))
    (plane,) = load_sequences(tmp_path / "c.tif", 1)
    np.testing.assert_allclose(plane[0, 0] * 255, pixels[0, 0, 0] // 12, atol=1e-4)
    assert load_sequences(tmp_path / "c.tif", 3) == []
    (tmp_path / "d.tif").write_bytes(b"II*\0")
    with pytest.raises(FormatError, match=r"d\.tif cannot be used for training"):
        load_sequences(tmp_path / "d.tif", 1)


def test_luma_of_integers_is_rounded_as_for_clean_images(tmp_path: Path) -> None:
    colour = np.random.default_rng(3).integers(0, 4000, (3, 20, 30, 3), dtype="u2")
    tifffile.imwrite(tmp_path / "a.ome.tif", colour, metadata={"axes": "TYXS"}, photometric="rgb", ome=True)
    (noisy,) = load_sequences(tmp_path / "a.ome.tif", 1)
    luma = np.rint(colour.astype("f4") @ np.array([0.299, 0.587, 0.114], "f4"))
    expected = (luma - luma.min()) / np.ptp(luma)
    np.testing.assert_allclose(noisy[:, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(np.stack(load_images(tmp_path / "a.ome.tif", 1)), noisy)


def test_pixels_that_are_not_finite_are_named_with_their_file(tmp_path: Path) -> None:
    image = np.ones((3, 40, 40), "f4")
    image[1, 3, 4] = np.nan
    (tmp_path / "noisy").mkdir()
    (tmp_path / "clean").mkdir()
    five = np.stack([*image, *image[:2]])
    for axes, pixels, channels in (("ZYX", image, 1), ("YX", image[1], 1), ("CYX", five, 5)):
        file = tmp_path / f"{axes}.tif"
        tifffile.imwrite(file, pixels, photometric="minisblack", metadata={"axes": axes})
        for load in (load_images, load_sequences) if channels == 1 else (load_images,):
            with pytest.raises(FormatError, match=rf"{axes}\.tif has pixels that are not finite: set them to a number"):
                load(file, channels)
    for broken in ("noisy", "clean"):
        for folder in ("noisy", "clean"):
            pixels = image if folder == broken else np.ones_like(image)
            tifffile.imwrite(tmp_path / folder / "a.tif", pixels, photometric="minisblack")
        with pytest.raises(FormatError, match=rf"{broken}.a\.tif has pixels that are not finite"):
            load_pairs(tmp_path, 1, 1)


def test_an_archive_is_an_image_whatever_its_folder_is_called(tmp_path: Path) -> None:
    zarr.save_array(tmp_path / "named.zarr", np.zeros((40, 50), "u2"))
    zarr.save_array(tmp_path / "plain", np.zeros((40, 50), "u2"))
    (tmp_path / "folder").mkdir()
    tifffile.imwrite(tmp_path / "folder" / "a.tif", np.zeros((40, 50), "u2"))
    assert [is_image(tmp_path / name) for name in ("named.zarr", "plain", "folder")] == [True, True, False]
    assert find_noisy(tmp_path / "plain", {"x": 1.0}) == [tmp_path / "plain"]
    places = [tmp_path / "folder" / "a.tif", tmp_path / "named.zarr"]
    assert find_noisy(tmp_path, {"folder": 1.0, "named.zarr": 1.0}) == places


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "list"])
def test_an_array_is_an_image(kind: str, folder: Path, tmp_path: Path) -> None:
    """The same batches as those of the file with the same pixels, and the same run through the public function."""
    stack = tifffile.imread(folder / "0.ome.tif")
    array: Any = stack
    if kind == "dask":
        array = da.from_array(stack, chunks=(1, 80, 80))
    elif kind == "zarr":
        array = zarr.create_array(tmp_path / "a.zarr", data=stack)
    elif kind == "list":
        array = stack.astype("f4").tolist()
    of_file = NoisySampler(recipe("repeats"), folder / "0.ome.tif")
    of_array = NoisySampler(recipe("repeats"), image_of(array, "TYX"))
    for a, b in zip(of_file.batch(3), of_array.batch(3), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    if kind == "dask":
        trainer = train(recipe("repeats", steps=1), data=array, axes="TYX", out=tmp_path / "run", log=lambda _: None)
        assert trainer.step == 1


def test_colour_of_an_array_comes_last(tmp_path: Path) -> None:
    colour = np.random.default_rng(3).integers(0, 255, (50, 60, 3), dtype="u1")
    assert load_sequences(image_of(colour), 3)[0].shape == (1, 3, 50, 60)
    clean = replace(recipe("blind"), noisy="")
    with pytest.raises(RequestError, match="An array trains on noisy images only"):
        train(clean, data=colour, out=tmp_path / "run")
    with pytest.raises(RequestError, match="does not fit an array of shape"):
        image_of(colour, "YX")


# --- runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", NOISY)
def test_it_learns_to_denoise(how: str, folder: Path, tmp_path: Path) -> None:
    """In 60 steps a network that begins as the identity loses a fifth of the error or more, without a clean image."""
    trainer = Trainer(recipe(how), folder, tmp_path / "run")
    trainer.run(save_every=20, log=lambda _: None)
    assert trainer.watch.first is not None
    assert trainer.watch.best < trainer.watch.first
    held = np.random.default_rng(9)
    stack = sixteen(recorded(held, 1)[0]).astype("f4")
    low, width = stack.min(), np.ptp(stack)
    net = trainer._averaged()
    net.load_state_dict(trainer.averaged_state())
    given = torch.from_numpy((stack - low) / width)[None, None]
    with torch.no_grad():
        result = net(given)[0, 0].numpy() * width + low
    truth = clean() * 10000 + 3000
    before, after = (float(np.mean((image - truth) ** 2)) for image in (stack, result))
    assert after < 0.8 * before


def test_a_run_stops_when_the_risk_no_longer_falls(folder: Path, tmp_path: Path) -> None:
    """The weights of the smallest risk are the result, also after a kill; a stopped run stays stopped."""
    lines: list[str] = []
    asked = recipe("blind", patience=2, lr=0.0, lr_min=0.0, steps=200)  # nothing is learned: the risk stays
    trainer = Trainer(asked, folder, tmp_path / "run")
    trainer.run(save_every=5, log=lines.append)
    assert trainer.step == 10
    assert "stopped: the risk has not fallen for 2 saves; step 0 is kept" in lines[-1]
    again = Trainer(asked, folder, tmp_path / "run")
    again.run(save_every=5, log=lines.append)
    assert again.step == 10
    for name, value in trainer.averaged_state().items():
        assert torch.equal(value, again.averaged_state()[name])
    unseen = Trainer(asked, folder, tmp_path / "unseen")
    for _ in range(4):  # stopped before the first step, each time
        with pytest.raises(Stopped):
            unseen.run(log=lines.append, stop=lambda: True)
        unseen = Trainer(asked, folder, tmp_path / "unseen")
    assert (unseen.watch.first, unseen.watch.waited) == (trainer.watch.first, 0)
    header = (tmp_path / "run" / "log.csv").read_text().splitlines()[0]
    assert header.endswith(",risk")


def test_a_stopped_run_resumes_at_its_step(folder: Path, tmp_path: Path) -> None:
    asked, done = recipe("sure", steps=8), []
    whole = Trainer(asked, folder, tmp_path / "a")
    whole.run(save_every=4, log=lambda _: None)
    again = Trainer(asked, folder, tmp_path / "b")
    with pytest.raises(Stopped):
        again.run(save_every=4, log=lambda _: None, progress=done.append, stop=lambda: len(done) == 3)
    assert [(event.kind, event.done, event.total) for event in done] == [("step", n, 8) for n in (1, 2, 3)]
    again = Trainer(asked, folder, tmp_path / "b")
    assert again.step == 3
    again.run(save_every=4, log=lambda _: None)
    for name, value in whole.averaged_state().items():
        assert torch.equal(value, again.averaged_state()[name]), name


def test_a_recipe_says_itself_that_it_is_noisy(folder: Path, tmp_path: Path) -> None:
    """With data of one file: as a TOML file, with the shipped model where it has none, and as a `Recipe`."""
    file = tmp_path / "own.toml"
    file.write_text('noisy = "blind"\nsteps = 0\nbatch = 1\npatch = 32\n')
    options: dict[str, Any] = {"data": folder / "0.ome.tif", "log": lambda _: None}
    trainer = train(file, out=tmp_path / "a", **options)
    assert trainer.recipe.init["name"] == "small-x1-gray"
    assert train(recipe("blind", steps=0), out=tmp_path / "b", **options).step == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"folders": {"a": 0.7, "b": 0.3}}, "drawn alike from all folders: give the folders equal shares"),
        ({"model": MODEL | {"channels": 5}}, "train models of 1 or 3 channels, and this one has 5"),
    ],
)
def test_what_noisy_runs_do_not_do_is_said(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        recipe("blind", **changes)
    assert recipe("blind", folders={"a": 2.0, "b": 2.0}).folders


def test_a_killed_run_ends_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    asked = recipe("sure", steps=12)
    whole = Trainer(asked, folder, tmp_path / "a")
    whole.run(save_every=4, log=lambda _: None)
    Trainer(asked, folder, tmp_path / "b").run(save_every=4, until=8, log=lambda _: None)
    again = Trainer(asked, folder, tmp_path / "b")
    again.run(save_every=4, log=lambda _: None)
    assert again.watch.best == whole.watch.best
    for name, value in whole.averaged_state().items():
        assert torch.equal(value, again.averaged_state()[name]), name


def test_the_watch_keeps_the_best() -> None:
    watch = Watch(2)
    for step, risk in enumerate((3.0, 1.0, 2.0, 1.5)):
        watch.see([risk], step, {"w": torch.tensor([float(step)])})
    assert (watch.first, watch.best, watch.seen, watch.step, watch.stops) == (3.0, 1.0, 1.5, 1, True)
    assert watch.weights["w"].item() == 1


# --- structured noise -----------------------------------------------------------------------------


def test_structured_noise_is_detected() -> None:
    rng = np.random.default_rng(4)
    white = rng.standard_normal((3, 1, 96, 96))
    rows = white + rng.standard_normal((3, 1, 96, 1))
    blurred = white[..., 1:] + white[..., :-1]
    assert not structure_of([white]).found
    found = structure_of([rows])
    assert found.found
    assert found.along_rows == pytest.approx(0.5, abs=0.1)
    assert found.along_columns < 0.1
    assert structure_of([blurred]).along_rows == pytest.approx(0.5, abs=0.05)
    assert "structured noise" in str(found)
    assert not structure_of([np.zeros((1, 8, 8))]).found


def test_structured_noise_is_said(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    data = tmp_path / "stripes"
    data.mkdir()
    stripes = recorded(rng, 4) + 0.15 * rng.standard_normal((4, 160, 1))
    tifffile.imwrite(data / "a.ome.tif", sixteen(stripes), metadata={"axes": "TYX"}, ome=True)
    said: list[str] = []
    options: dict[str, Any] = {"steps": 1, "batch": 1, "patch": 32, "log": said.append}
    train(data=data, out=tmp_path / "a", noisy="blind", **options)
    assert "(structured noise): 'blind' keeps such noise; use --noisy repeats or neighbours" in said[0]
    train(data=data, out=tmp_path / "b", noisy="repeats", **options)
    assert any("structured noise" in line for line in said[1:])
    said.clear()
    train(data=folder, out=tmp_path / "c", noisy="repeats", **options)
    assert "as good as none" in said[0]


def test_the_noise_of_a_run_from_random_weights_is_judged_by_a_trained_network(folder: Path, tmp_path: Path) -> None:
    """What random weights remove is no noise: it looks structured, whatever the images are."""
    fresh = Trainer(recipe("blind"), folder, tmp_path / "a")
    assert fresh.structure() is None
    said: list[str] = []
    train(recipe("blind", steps=1), data=folder, out=tmp_path / "b", log=said.append)
    assert "as good as none" in said[0]


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_a_model_and_its_card(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On one file, from the shipped model, with a licence of the user's own."""
    out = tmp_path / "mine.safetensors"
    words = ["train", "--noisy", "sure", "--data", str(folder / "0.ome.tif"), "--out", str(tmp_path / "run")]
    words += ["--export", str(out), "--name", "mine", "--licence", "CC-BY-4.0"]
    assert main([*words, "--steps", "2", "--save-every", "1", "--batch", "1", "--patch", "32"]) == 0
    assert "risk" in capsys.readouterr().out
    card = (tmp_path / "mine.md").read_text()
    assert card.startswith("# mine\n")
    assert "from small-x1-gray" in card
    assert "Licence: CC-BY-4.0." in card
    assert "Risk on the held-out parts (mean square error plus the variance of the noise, of 0..1)" in card
    spec = swin2sr_ops.Restorer(out).spec
    assert (spec.licence, spec.name, spec.advice) == ("CC-BY-4.0", "mine", "")
    assert spec.provenance["loss"] == "sure"
    image = tifffile.imread(folder / "0.ome.tif")[0]
    assert swin2sr_ops.restore(image, model=out, axes="YX").compute().shape == image.shape


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--noisy loud", "noisy='loud' must be one of blind, repeats, neighbours, sure"),
        ("--noisy --init tiny-x2-gray", "train models that keep the size of an image, and this one's scale is 2"),
        ("--noisy --paired", "neither degraded nor compared: omit paired"),
        ("--noisy --validate DATA", "holds out a part of them itself"),
        ("--noisy --patch 400", "contains no image of at least 400 x 400 px with 1 channel"),
        ("--noisy --channels 3", "with 3 channel"),
        ("--noisy --channels 2", "models of 1 or 3 channels, and this one has 2"),
    ],
)
def test_errors(words: str, says: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["train", *words.replace("DATA", str(folder)).split(), "--data", str(folder), "--out", str(tmp_path / "r")]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_single_planes_have_no_repeats(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", sixteen(recorded(np.random.default_rng(0))[0]))
    with pytest.raises(RequestError, match="and several frames or planes: --noisy blind needs one only"):
        NoisySampler(recipe("repeats"), tmp_path)


def test_images_without_noise_have_no_sure(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((160, 160), 7, "u1"))
    with pytest.raises(RequestError, match="No noise was measured in an image, which has none or is too small: train"):
        NoisySampler(recipe("sure"), tmp_path)


def test_only_noisy_runs_have_patience() -> None:
    with pytest.raises(RequestError, match="patience is for runs on noisy images"):
        replace(recipe("blind"), noisy="", patience=3)


def test_the_noise_of_a_small_image_is_that_of_the_whole(tmp_path: Path) -> None:
    """Its training and held-out parts alone have too few flat squares for a measure."""
    tifffile.imwrite(tmp_path / "a.tif", sixteen(recorded(np.random.default_rng(0), 1, 80)[0]))
    sampler = NoisySampler(recipe("sure", patch=24), tmp_path)
    assert sampler.trained[0].noise == sampler.held[0].noise
    assert sampler.trained[0].planes.shape[-2] + sampler.held[0].planes.shape[-2] == 80
