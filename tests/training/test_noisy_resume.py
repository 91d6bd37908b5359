"""Runs on noisy images that are stopped and resumed: the risk is estimated at the same steps, so the result stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from swin2sr_ops.errors import RequestError
from swin2sr_ops.training import train
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.recipe import Recipe
from tests.training.test_noisy import recipe as noisy_recipe, recorded, sixteen
from tests.training.test_training import assert_same, quiet

OWN: dict[str, Any] = {"steps": 10, "batch": 1, "patch": 24, "lr": 2e-2, "warmup": 0, "seed": 1}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    tifffile.imwrite(tmp_path / "data" / "a.tif", sixteen(recorded(np.random.default_rng(1), 1, 100)[0]))
    return tmp_path / "data"


def run(asked: Recipe, data: Path, out: Path, **options: Any) -> Trainer:
    trainer = Trainer(asked, data, out)
    trainer.run(log=quiet, **options)
    return trainer


@pytest.mark.parametrize("patience", [0, 1])
def test_stopping_changes_nothing(image: Path, tmp_path: Path, patience: int) -> None:
    """Neither the weights nor the patience: the risk is estimated at multiples of save_every and at the end."""
    asked = noisy_recipe("blind", **(OWN | {"patience": patience}))
    whole = run(asked, image, tmp_path / "whole", save_every=4)
    for until in (1, 2, 3, 5, 6, 7, 9):
        run(asked, image, tmp_path / "parts", save_every=4, until=until)
    parts = run(asked, image, tmp_path / "parts", save_every=4)
    assert parts.step == whole.step
    assert_same(parts.watch.state_dict(), whole.watch.state_dict())
    assert_same(parts.averaged_state(), whole.averaged_state())
    risks = {row.split(",")[0]: row.split(",")[-1] for row in (tmp_path / "parts" / "log.csv").read_text().split()}
    assert risks["3"] == ""  # no estimate, and not that of the start again
    assert float(risks["4"]) > 0


def test_another_interval_of_saves_is_refused(image: Path, tmp_path: Path) -> None:
    """It would choose among other weights; a run of an earlier version does not know its own."""
    asked = noisy_recipe("blind", **OWN)
    run(asked, image, tmp_path / "run", save_every=4, until=5)
    with pytest.raises(RequestError, match=r"save_every=4, not 3, and on noisy images .* give --save-every 4"):
        run(asked, image, tmp_path / "run", save_every=3)
    file = tmp_path / "run" / "state.pt"
    state = torch.load(file, weights_only=True)
    del state["save_every"], state["watch"]["at"]
    torch.save(state, file)
    trainer = run(asked, image, tmp_path / "run", save_every=3, until=5)
    assert (trainer.step, trainer.watch.at) == (5, 5)
    assert run(asked, image, tmp_path / "run", save_every=3).step == 10


def test_an_export_between_two_estimates_says_so(image: Path, tmp_path: Path) -> None:
    said: list[str] = []
    model = tmp_path / "mine.safetensors"
    asked = noisy_recipe("blind", **OWN)
    train(asked, data=image, out=tmp_path / "run", save_every=4, until=3, export_to=model, log=said.append)
    assert any("step 3 is between two estimates of the risk" in line and "weights of step 0" in line for line in said)
    assert "the risk of trained ones has not been estimated yet" in (tmp_path / "mine.md").read_text()
    said.clear()
    train(asked, data=image, out=tmp_path / "run", save_every=4, export_to=model, log=said.append)
    assert not any("between two estimates" in line for line in said)
