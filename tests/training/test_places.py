"""Bad settings and places of a training: one sentence, before the images are read."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from swin2sr_ops.cli import main
from swin2sr_ops.errors import OutputError, RequestError
from swin2sr_ops.training import train
from swin2sr_ops.training.data import PatchSampler
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.places import check_out, make_folder
from swin2sr_ops.training.recipe import Recipe
from tests.training.conftest import RECIPE
from tests.training.test_training import assert_same, quiet

HUGE = 10**400


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 99999999999999999999999}, "seed=99999999999999999999999 must be a whole number of at least 0 and at"),
        ({"warmup": HUGE}, "warmup=1000"),
        ({"levels": 2**31}, "levels=2147483648 must be a whole number"),
        ({"steps": True}, "steps=True must be a whole number"),
        ({"lr": True}, "lr=True must lie between 0 and 1"),
        ({"lr": math.nan}, "lr=nan must lie between 0 and 1"),
        ({"folders": {".": math.inf}}, "a table of names and finite shares"),
        ({"folders": {".": HUGE}}, "a table of names and finite shares"),
        ({"folders": {".": True}}, "a table of names and finite shares"),
        ({"loss": {"l1": math.inf}}, "a table of finite weights"),
        ({"loss": {"l1": math.nan}}, "a table of finite weights"),
        ({"loss": {"l1": True}}, "a table of finite weights"),
        ({"milestones": [True]}, "ascending shares"),
        ({"degrade": {"noise": {"sigma": [0, 5], "share": True}}}, "share=True must lie between 0 and 1"),
        ({"degrade": {"noise": {"sigma": [False, True]}}}, "two ascending numbers"),
        ({"model": {"name": "a", "scale": 1}, "camera": {"photons": [1, 2], "share": True}}, "share=True must lie"),
        ({"teacher": {"model": "good", "ensemble": True}}, "must be 1 or 8"),
        ({"teacher": {"model": "good"}, "loss": {"l1": 1, "teacher": True}}, "must be a share above 0"),
    ],
)
def test_numbers_that_are_none(changes: dict[str, Any], says: str, recipe: Recipe) -> None:
    with pytest.raises(RequestError, match=says):
        replace(recipe, **changes)


def test_the_largest_seed(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    trainer = Trainer(replace(recipe, seed=2**64 - 1), data, tmp_path / "run")
    trainer.run(until=1, log=quiet)
    assert trainer.step == 1


@pytest.mark.parametrize("options", [{"until": 2.5}, {"until": True}, {"until": -1}, {"save_every": 1.5}])
def test_steps_that_no_run_reaches(options: dict[str, Any], recipe: Recipe, tmp_path: Path) -> None:
    (name,) = options
    with pytest.raises(RequestError, match=f"{name}={options[name]} must be a whole number of at least"):
        train(recipe, data=tmp_path, out=tmp_path / "run", **options)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image may be read before the error."""

    def read(*_: object) -> None:
        raise AssertionError("the images are read")

    monkeypatch.setattr(PatchSampler, "__init__", read)


@pytest.mark.parametrize(
    ("export", "says"),
    [
        ("folder.safetensors", "is a folder: name a file for the model"),
        ("link.safetensors", "nowhere' of --export does not exist: create it first"),
    ],
)
def test_an_export_that_cannot_be_written(
    export: str, says: str, recipe: Recipe, data: Path, tmp_path: Path, unread: None
) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    os.symlink(tmp_path / "nowhere" / "model.safetensors", tmp_path / "link.safetensors")
    with pytest.raises(RequestError, match=says):
        train(recipe, data=data, out=tmp_path / "run", export_to=tmp_path / export)
    assert not (tmp_path / "run").exists()


def test_a_card_that_cannot_be_written(recipe: Recipe, data: Path, tmp_path: Path, unread: None) -> None:
    os.symlink(tmp_path / "nowhere" / "card.md", tmp_path / "mine.md")
    asked = replace(recipe, teacher={"model": "nano-x2-gray"})
    with pytest.raises(RequestError, match=r"is a link into .*nowhere', which is not a folder"):
        train(asked, data=data, out=tmp_path / "run", export_to=tmp_path / "mine.safetensors")


@pytest.mark.parametrize("out", ["file", "file/run", "link"])
def test_a_run_in_no_folder(out: str, recipe: Recipe, data: Path, tmp_path: Path, unread: None) -> None:
    (tmp_path / "file").write_text("in the way")
    os.symlink(tmp_path / "nowhere", tmp_path / "link")
    with pytest.raises(RequestError, match=f"{out.split('/', maxsplit=1)[0]}' is not a folder: choose another"):
        train(recipe, data=data, out=tmp_path / out)
    with pytest.raises(OutputError, match="of the run cannot be made"):
        make_folder(tmp_path / out)


def test_places_without_permission(
    recipe: Recipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unread: None
) -> None:
    """The answer of the system is replaced, since root may write everywhere."""
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(RequestError, match="you may not write to"):
        check_out(tmp_path / "run")
    (tmp_path / "run").mkdir()
    with pytest.raises(RequestError, match="you may not write to the folder"):
        train(recipe, data=data, out=tmp_path / "run", export_to=tmp_path / "model.safetensors")


def test_a_loss_that_is_not_finite_stops_the_run(
    recipe: Recipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its step, before it changes a weight; the last save stays."""
    from swin2sr_ops.training import loop

    compute, count = loop.loss_of, [0]

    def broken(*given: Any) -> torch.Tensor:
        count[0] += 1
        return compute(*given) * (math.nan if count[0] == 4 else 1.0)

    monkeypatch.setattr(loop, "loss_of", broken)
    trainer = Trainer(recipe, data, tmp_path / "run")
    with pytest.raises(RequestError, match=r"The loss of step 4 is nan, so the run stops there; .* lower --lr"):
        trainer.run(save_every=2, log=quiet)
    assert trainer.step == 3
    assert all(torch.isfinite(value).all() for value in trainer.net.state_dict().values())
    assert Trainer(recipe, data, tmp_path / "run").step == 2


def test_a_gradient_that_is_not_finite_stops_the_run(
    recipe: Recipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swin2sr_ops.training import loop

    def steep(outputs: dict[str, torch.Tensor], *_: Any) -> torch.Tensor:
        return (outputs["image"] * 0).sum().abs().sqrt()  # its derivative at 0 is infinite

    monkeypatch.setattr(loop, "loss_of", steep)
    for clip in (0.0, 1.0):
        trainer = Trainer(replace(recipe, clip=clip), data, tmp_path / f"run{clip}")
        before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
        with pytest.raises(RequestError, match="The gradient of step 1 is nan"):
            trainer.run(log=quiet)
        assert_same(dict(trainer.net.state_dict()), before)


def test_the_command_says_it_in_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE.replace("blobs = 0.75", "blobs = inf"))
    words = ["train", str(file), "--data", str(data), "--out", str(tmp_path / "run")]
    assert main(words) == 2
    file.write_text(RECIPE)
    assert main([*words, "--seed", "9" * 23]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 2
    assert "Traceback" not in error
