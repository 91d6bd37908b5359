"""The risk of a run on noisy images: that of the network in use, on single recordings; what is kept, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.pixels.noise import Noise
from swin2sr_ops.training import train
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.noisy import NoisySampler, noisy_loss
from swin2sr_ops.training.risk import Trial, clipped_ends, counted_of, risks, share_of, trial_of, variance_of
from swin2sr_ops.training.watch import Watch
from tests.training.test_noisy import GAIN, READ, clean, folder, recipe, recorded, sixteen

__all__ = ["folder"]  # a fixture

CPU = torch.device("cpu")
_BLUR = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None] / 16
_AROUND = torch.tensor([[1.0, 2, 1], [2, 0, 2], [1, 2, 1]])[None, None] / 12


def filtered(kernel: torch.Tensor) -> Any:
    return lambda x: F.conv2d(F.pad(x, (1,) * 4, mode="reflect"), kernel)


def error(result: np.ndarray, x: np.ndarray) -> float:
    """Mean square error after the best scale and shift."""
    scale, shift = np.polyfit(result.ravel().astype("f8"), x.ravel().astype("f8"), 1)
    return float(np.mean((scale * result + shift - x) ** 2))


@pytest.mark.parametrize("excess", [1.0, 2.0])
def test_the_risk_is_the_error_plus_the_noise_with_few_photons(excess: float) -> None:
    """For curved functions, too, and any scale and shift; for Poisson noise, and behind a multiplying register."""
    rng, gain = np.random.default_rng(0), 0.1
    x = clean(1000)[None]
    electrons = rng.poisson(x / gain)
    y = (electrons if excess == 1 else rng.gamma(np.maximum(electrons, 1e-9))) * gain
    y = (y + 0.05 * rng.standard_normal(y.shape)).astype("f4")
    noise = Noise(excess * gain, 0.05**2)
    share = share_of(y, noise)
    assert share == pytest.approx({1.0: 0.48, 2.0: 0.74}[excess], abs=0.05)
    trial = trial_of(y, 1, variance_of(y, noise, share), rng)
    for function in (filtered(_BLUR), lambda z: 3 * filtered(_BLUR)(z) + 2, lambda z: z**2, torch.sigmoid):
        found = risks(function, [trial], CPU)[0] - ((y - x) ** 2).mean()
        assert found == pytest.approx(error(function(torch.from_numpy(y)[None])[0].numpy(), x), rel=0.05)


def test_clipped_noise_does_not_count() -> None:
    """A saturated detector has less noise than the line says: the rest of the image is judged without bias."""
    rng, noise = np.random.default_rng(0), Noise(GAIN, READ**2)
    x = 1.4 * clean(512)[None]
    y = (rng.poisson(x / GAIN) * GAIN + READ * rng.standard_normal(x.shape)).astype("f4")
    assert clipped_ends(y, noise) == (-np.inf, np.inf)
    assert counted_of(y, noise, clipped_ends(y, noise)).all()
    y = np.minimum(y, 1)
    ends = clipped_ends(y, noise)
    counted = counted_of(y, noise, ends)
    assert ends == (-np.inf, 1)
    assert 0.2 < counted.mean() < 0.8
    blurred, inside = filtered(_BLUR)(torch.from_numpy(y)[None])[0].numpy(), counted > 0
    expected = error(blurred[inside], x[inside])
    found = []
    for weight in (counted, None):
        trial = trial_of(y, 1, variance_of(y, noise, 0.5), np.random.default_rng(1), weight)
        found.append(risks(filtered(_BLUR), [trial], CPU)[0] - ((y - x)[inside] ** 2).mean())
    assert found[0] == pytest.approx(expected, rel=0.15)
    assert found[1] != pytest.approx(expected, rel=0.5)


def test_sure_learns_nothing_from_clipped_pixels(tmp_path: Path) -> None:
    variance = torch.tensor([[1.0, 5.0]]).expand(4, 2)[None, None]
    counted = torch.tensor([[1.0, 0.0]]).expand(4, 2)[None, None]
    probe = torch.ones(1, 1, 4, 2)
    assert noisy_loss("sure", lambda z: z, (probe, variance, probe, counted)).item() == pytest.approx(1, rel=1e-3)
    assert noisy_loss("sure", lambda z: z, (probe, variance, probe, 0 * counted)).item() == 0
    stack = recorded(np.random.default_rng(5), 2)
    tifffile.imwrite(tmp_path / "a.tif", (stack * 300).clip(0, 200).astype("u1"), metadata={"axes": "TYX"})
    sampler = NoisySampler(recipe("sure", batch=8), tmp_path)
    y, _, _, shown = sampler.batch(0)
    assert shown.shape == y.shape
    assert y[shown > 0].mean() < 0.8 * y[shown == 0].mean()
    assert all((trial.weight == trial.counted).all() for trial in sampler.trials())


def test_the_risk_of_pairs_needs_no_noise_to_be_known() -> None:
    rng = np.random.default_rng(0)
    x, (y, other) = clean(512), recorded(rng, 2, 512)[:, None]
    blurred = filtered(_BLUR)(torch.from_numpy(y)[None])[0].numpy()
    found = risks(filtered(_BLUR), [Trial(y, other)], CPU)[0] - ((other - x) ** 2).mean()
    assert found == pytest.approx(error(blurred, x), rel=0.1)


def textured(rng: np.random.Generator, side: int = 192) -> np.ndarray:
    """Grain of about a pixel, which fades to one side: noise is measured there."""
    grain = gaussian_filter(rng.standard_normal((side, side)), 0.8)
    return (0.5 + 0.2 * grain / grain.std() * np.linspace(-1, 1, side).clip(0)).astype("f4")


@pytest.mark.parametrize("how", ["blind", "sure", "repeats"])
def test_the_risk_is_that_of_the_network_in_use(how: str, tmp_path: Path) -> None:
    """A filter that ignores the pixel itself is better at hidden pixels and worse in use."""
    rng = np.random.default_rng(4)
    x = textured(rng)
    stack = x + 0.05 * rng.standard_normal((4, *x.shape)).astype("f4")
    tifffile.imwrite(tmp_path / "a.ome.tif", sixteen(stack), metadata={"axes": "TYX"}, ome=True)
    sampler = NoisySampler(recipe(how, batch=12), tmp_path)
    given = torch.from_numpy(stack[:1])[None]
    assert error(filtered(_BLUR)(given)[0].numpy(), x[None]) < error(filtered(_AROUND)(given)[0].numpy(), x[None])
    blur, around = (sampler.risks(filtered(kernel), CPU).mean() for kernel in (_BLUR, _AROUND))
    assert blur < around
    if how == "blind":
        hidden = [[noisy_loss(how, filtered(k), b).item() for b in sampler.held_out()] for k in (_BLUR, _AROUND)]
        assert np.mean(hidden[0]) > np.mean(hidden[1])


def test_the_plane_itself_is_probed_wherever_it_is_shown() -> None:
    """At the end of a stack, reflection shows its noise again; noise of other planes does not count."""
    rng = np.random.default_rng(2)
    y = recorded(rng, 3, 64)
    y[2] = y[0]
    noise = Noise(GAIN, READ**2)
    trial = trial_of(y, 1, variance_of(y[:1], noise, 0.5), rng)
    np.testing.assert_array_equal(trial.probe[2], trial.probe[0])
    assert not trial.probe[1].any()
    x = clean(64)[None]
    found = risks(lambda z: (z[:, :1] + z[:, 2:]) / 2, [trial], CPU)[0]  # the plane itself, with all its noise
    assert found == pytest.approx(error(y[:1], x) + ((y[:1] - x) ** 2).mean(), rel=0.1)


def test_without_known_noise_the_risk_is_at_hidden_pixels_and_the_run_says_so(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((160, 160), 7, "u1"))
    said: list[str] = []
    trainer = train(recipe("blind", steps=1), data=tmp_path, out=tmp_path / "run", log=said.append)
    assert trainer.watch.first is not None
    assert any("no noise was measured in the held-out parts" in line for line in said)


# --- what is kept ---------------------------------------------------------------------------------


def test_a_difference_within_its_uncertainty_keeps_the_first_weights() -> None:
    watch = Watch(3)
    weights = [{"w": torch.tensor([float(i)])} for i in range(5)]
    watch.see([1.0, 2.0, 3.0], 0, weights[0])
    watch.see([1.9, 1.0, 3.0], 10, weights[1])  # lower by 0.03, plus or minus 0.5
    assert (watch.step, watch.waited, watch.lowest) == (0, 0, pytest.approx(5.9 / 3))
    assert watch.keeps_first
    assert "the initial weights are kept" in watch.verdict("blind")
    assert "--noisy repeats" in watch.verdict("blind")
    assert "--noisy repeats" not in watch.verdict("repeats")
    watch.see([0.9, 1.8, 2.9], 20, weights[2])
    assert (watch.step, watch.weights["w"].item(), watch.keeps_first) == (20, 2, False)
    watch.see([0.95, 1.85, 2.9], 30, weights[3])
    again = Watch(3)
    again.load_state_dict(watch.state_dict())
    assert (again.step, again.waited, again.parts) == (20, 1, [1.0, 2.0, 3.0])


def test_a_run_of_an_earlier_version_measures_its_risk_anew(folder: Path, tmp_path: Path) -> None:
    asked = recipe("blind", steps=2)
    Trainer(asked, folder, tmp_path).run(save_every=1, until=1, log=lambda _: None)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    state["watch"] = {"first": 1e-9, "seen": 1e-9, "best": 1e-9, "step": 0, "waited": 0, "weights": state["average"]}
    torch.save(state, tmp_path / "state.pt")
    again = Trainer(asked, folder, tmp_path)
    again.run(save_every=1, log=lambda _: None)
    assert again.watch.first > 1e-6


@pytest.mark.parametrize("how", ["blind", "repeats"])
def test_a_run_that_only_harms_exports_the_initial_model_and_says_so(
    how: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.safetensors"
    words = ["train", "--noisy", how, "--data", str(folder), "--out", str(tmp_path / "run"), "--export", str(out)]
    words += ["--init", "tiny-x1-gray", "--lr", "0.5", "--steps", "2", "--save-every", "1", "--batch", "1"]
    assert main([*words, "--patch", "24"]) == 0
    said = "the initial weights are kept: no trained ones had a risk"
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "mine.md").read_text()
    pixels = sixteen(recorded(np.random.default_rng(3), 1, 40)[0])
    results = [swin2sr_ops.restore(pixels, model=model, axes="YX").compute() for model in ("tiny-x1-gray", out)]
    assert np.abs(results[0].astype(int) - results[1]).max() <= 2
