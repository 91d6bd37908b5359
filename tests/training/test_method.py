"""The method of a run on noisy images that names none: SURE where its measure of the noise can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops.cli import main
from swin2sr_ops.training import method, train
from swin2sr_ops.training.loop import Trainer
from tests.training.test_noisy import recipe, recorded, sixteen

OPTIONS: dict[str, Any] = {"steps": 0, "batch": 1, "patch": 24}


def chosen(pixels: np.ndarray, folder: Path, **changes: Any) -> tuple[Trainer, list[str]]:
    said: list[str] = []
    given = {"init": "tiny-x1-gray", "noisy": "auto"} | OPTIONS | changes
    return train(data=pixels, out=folder / "run", log=said.append, **given), said


def test_noise_that_is_measured_is_learned_by_sure(tmp_path: Path) -> None:
    trainer, said = chosen(sixteen(recorded(np.random.default_rng(0))[0]), tmp_path)
    assert (trainer.recipe.noisy, trainer.recipe.lr) == ("sure", 1e-4)
    assert said[0] == "method: sure"
    assert chosen(sixteen(recorded(np.random.default_rng(0))[0]), tmp_path / "b", lr=3e-4)[0].recipe.lr == 3e-4


def test_the_command_chooses_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", sixteen(recorded(np.random.default_rng(0))[0]))
    words = ["train", "--noisy", "--init", "tiny-x1-gray", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*words, "--steps", "0", "--batch", "1", "--patch", "24"]) == 0
    assert "method: sure\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.full((160, 160), 7, "u1"), id="none"),
        pytest.param(sixteen(recorded(np.random.default_rng(0), 1, 30)[0]), id="too small to measure"),
    ],
)
def test_noise_that_cannot_be_measured_is_left_to_blind(pixels: np.ndarray, tmp_path: Path) -> None:
    trainer, said = chosen(pixels, tmp_path)
    assert (trainer.recipe.noisy, trainer.recipe.lr) == ("blind", 2e-4)
    assert said[0].startswith("method: blind, since sure needs noise that can be measured")


def test_a_model_that_sees_no_noise_refutes_the_measure(tmp_path: Path) -> None:
    """Fine texture is measured as noise; a denoiser leaves it, as this model leaves all."""
    pixels, same = sixteen(recorded(np.random.default_rng(0))[0]), tmp_path / "same.safetensors"
    train(recipe("blind", **OPTIONS), data=pixels, out=tmp_path / "a", export_to=same, log=lambda _: None)
    assert chosen(pixels, tmp_path / "b", init=same)[0].recipe.noisy == "blind"


def test_networks_that_cannot_judge_learn_by_blind(tmp_path: Path) -> None:
    """Random weights, and networks of several planes."""
    stack = sixteen(recorded(np.random.default_rng(0), 3))
    own = recipe("blind", **OPTIONS)
    assert chosen(stack, tmp_path / "a", init=None, recipe=own)[0].recipe.noisy == "blind"
    assert chosen(stack, tmp_path / "b", planes=3, along="T", axes="TYX")[0].recipe.noisy == "blind"


@pytest.mark.parametrize(
    ("share", "how"), [(None, "blind"), (0.7, "blind"), (0.8, "sure"), (1.2, "sure"), (1.3, "blind")]
)
def test_the_model_has_to_confirm_the_measure(
    share: float | None, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little is left: it was texture; too much is changed: the measured noise is next to none."""
    monkeypatch.setattr(method, "removed_share", lambda *_: share)
    assert chosen(sixteen(recorded(np.random.default_rng(0))[0]), tmp_path)[0].recipe.noisy == how
